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
    onnx = pytest.importorskip("onnx", reason="making a tiny network needs the extra `lab` (onnx)")
    bundle = folder / "tiny"
    bundle.mkdir(parents=True)
    content = model(onnx).SerializeToString()
    (bundle / "model.onnx").write_bytes(content)
    (bundle / "card.md").write_text("# tiny\n", encoding="utf-8")
    (bundle / "manifest.toml").write_text(TINY.format(sha256=hashlib.sha256(content).hexdigest()), encoding="utf-8")
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
