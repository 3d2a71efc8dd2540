"""Bundles for tests: copies of the shipped one with something wrong, and tiny ones made of a few ONNX nodes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oculard_models.registry import BUNDLES

TINY = """\
name = "tiny"
family = "systemic"
version = "1.0.0"
title = "Tiny"
manufacturer = "oculard tests"
licence = "Apache-2.0"
demonstration = true

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
kind = "fundus"
tensor = "image"
size_px = [16, 16]
crop = "whole"

[[output]]
name = "age"
concept = "EST-AGE"
tensor = "age"
kind = "value"
unit = "a"

[golden]
image = "golden.png"
expected = {{ age = 0.5 }}
"""

TINY_MASK = """\
name = "tiny-mask"
family = "faz"
version = "1.0.0"
title = "Tiny mask"
manufacturer = "oculard tests"
licence = "Apache-2.0"
demonstration = true

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
kind = "en-face"
slabs = ["128265"]
tensor = "image"
size_px = [16, 16]
crop = "whole"
mirror_left = false

[mask]
structure = "faz"
tensor = "mask"

[[output]]
name = "area-px"
concept = "FAZ-AREA-PX"
kind = "measured"
unit = "{{pixels}}"

[golden]
image = "golden.png"
expected = {{ mask-mean = 0.502, mask-share = 1.0 }}
"""


def shipped_copy(folder: Path) -> Path:
    """Copy the shipped demonstration bundle into `folder`, which its caller may then spoil."""
    return Path(shutil.copytree(BUNDLES / "systemic-demo", folder / "copy"))


def edit_manifest(bundle: Path, old: str, new: str) -> None:
    """Replace one text in a bundle's manifest, which must be there."""
    path = bundle / "manifest.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def tiny_bundle(folder: Path, model: Callable[[Any], Any]) -> Path:
    """Write a bundle around what `model(onnx)` returns: 16 x 16 pixels in, one number an image out, grey golden."""
    return _tiny(folder / "tiny", TINY, model)


def tiny_mask_bundle(folder: Path, model: Callable[[Any], Any]) -> Path:
    """Write a bundle that segments around what `model(onnx)` returns: 16 x 16 pixels in and out, grey golden."""
    return _tiny(folder / "tiny-mask", TINY_MASK, model)


def _tiny(bundle: Path, manifest: str, model: Callable[[Any], Any]) -> Path:
    """Write a bundle."""
    onnx = pytest.importorskip("onnx", reason="making a tiny network needs the extra `lab` (onnx)")
    bundle.mkdir(parents=True)
    content = model(onnx).SerializeToString()
    (bundle / "model.onnx").write_bytes(content)
    (bundle / "card.md").write_text("# tiny\n", encoding="utf-8")
    (bundle / "manifest.toml").write_text(manifest.format(sha256=hashlib.sha256(content).hexdigest()), encoding="utf-8")
    Image.fromarray(np.full((16, 16, 3), 128, dtype=np.uint8)).save(bundle / "golden.png")
    return bundle


def mean_model(onnx: Any, *, images: int | str = "images", output: str = "age", size: int | str = 16) -> Any:
    """Build a network that gives the mean of every image, images x 1."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Flatten", ["mean"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", floats, [images, 3, size, size])],
        [helper.make_tensor_value_info(output, floats, [images, 1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def model_with_initializer(onnx: Any, tensor: Any) -> Any:
    """Build a network that adds an initializer called `bias` to the mean of every image."""
    model = mean_model(onnx, output="flat")
    model.graph.node.append(onnx.helper.make_node("Add", ["flat", "bias"], ["age"]))
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, ["images", 1]))
    model.graph.initializer.append(tensor)
    return model


def mask_model(
    onnx: Any,
    *,
    gain: float = 1.0,
    shift: float = 0.0,
    repeats: tuple[int, ...] = (1, 1, 1, 1),
    stated: tuple[int | str, ...] = ("images", 1, 16, 16),
    output: str = "mask",
    kind: int = 1,
) -> Any:
    """Build a network that gives gain * the mean of each pixel's colours + shift as its mask, images x 1 x 16 x 16.

    It may repeat the mask along its axes, state another shape than it gives, or give another kind of numbers. How often
    it repeats is computed from the image, so that nobody knows before it runs.
    """
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["sum"]),
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nought"], ["zero"]),
        helper.make_node("Cast", ["zero"], ["whole"], to=onnx.TensorProto.INT64),
        helper.make_node("Add", ["repeats", "whole"], ["times"]),
        helper.make_node("Tile", ["sum", "times"], ["tiled"]),
        helper.make_node("Cast", ["tiled"], [output], to=kind),
    ]
    constants = {"gain": np.float32(gain), "shift": np.float32(shift), "nought": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        "mask",
        [helper.make_tensor_value_info("image", floats, ["images", 3, 16, 16])],
        [helper.make_tensor_value_info(output, kind, list(stated))],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in {**constants, "repeats": np.array(repeats, dtype=np.int64)}.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
