"""A small bundle that outlines the dark zone of an angiography by blur and threshold: for tests of the way to the PACS.

It is no model: it says where the blurred image is darker than a share of its mean. Real zones are found by it well
enough to be sent.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oculard_models.data.paint_octa import paint_octa
from oculard_models.registry import Bundle, read_bundle

SIDE_PX = 160
BLUR_PX = 15
SHARE = 0.55  # of the mean brightness
STEEPNESS = 40.0
MANIFEST = """\
name = "faz-test"
family = "faz"
version = "1.0.0"
title = "Blur and threshold"
manufacturer = "oculard tests"
licence = "Apache-2.0"
demonstration = true

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
kind = "en-face"
slabs = ["128265", "128269"]
tensor = "image"
size_px = [{side}, {side}]
crop = "whole"
mirror_left = false

[mask]
structure = "faz"
tensor = "mask"
threshold = 0.5

{outputs}
[golden]
image = "golden.png"
expected = {{ mask-mean = {mean}, mask-share = {share} }}
"""
OUTPUTS = (
    ("area", "FAZ-AREA", "mm2"),
    ("area-px", "FAZ-AREA-PX", "{pixels}"),
    ("perimeter", "FAZ-PERIM", "mm"),
    ("perimeter-px", "FAZ-PERIM-PX", "{pixels}"),
    ("circularity", "FAZ-CIRC", "1"),
)


def faz_bundle(folder: Path) -> Bundle:
    """Write the bundle into `folder`/faz-test and read it."""
    onnx = pytest.importorskip("onnx", reason="making a tiny network needs the extra `lab` (onnx)")
    bundle = folder / "faz-test"
    bundle.mkdir(parents=True)
    content = _model(onnx).SerializeToString()
    golden = paint_octa(3, SIDE_PX, plexus="superficial", faults=False).pixels
    mask = _run(content, golden)
    outputs = "".join(
        f'[[output]]\nname = "{name}"\nconcept = "{concept}"\nkind = "measured"\nunit = "{unit}"\n\n'
        for name, concept, unit in OUTPUTS
    )
    manifest = MANIFEST.format(
        sha256=hashlib.sha256(content).hexdigest(),
        side=SIDE_PX,
        outputs=outputs,
        mean=float(mask.mean()),
        share=float((mask > 0.5).mean()),
    )
    (bundle / "model.onnx").write_bytes(content)
    (bundle / "card.md").write_text("# faz-test\n\nBlur and threshold, trained on nothing.\n", encoding="utf-8")
    (bundle / "manifest.toml").write_text(manifest, encoding="utf-8")
    Image.fromarray(golden).save(bundle / "golden.png")
    return read_bundle(bundle)


def _model(onnx: Any) -> Any:
    """Probability = sigmoid(steepness * (share * mean - blurred))."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    pads = [BLUR_PX // 2] * 4
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("AveragePool", ["grey"], ["blurred"], kernel_shape=[BLUR_PX, BLUR_PX], pads=pads),
        helper.make_node("ReduceMean", ["grey"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "share"], ["limit"]),
        helper.make_node("Sub", ["limit", "blurred"], ["darker"]),
        helper.make_node("Mul", ["darker", "steepness"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["mask"]),
    ]
    numbers = {"share": SHARE, "steepness": STEEPNESS}
    graph = helper.make_graph(
        nodes,
        "blur",
        [helper.make_tensor_value_info("image", floats, ["images", 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info("mask", floats, ["images", 1, SIDE_PX, SIDE_PX])],
        [helper.make_tensor(name, floats, [1], [number]) for name, number in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _run(content: bytes, grey: Any) -> Any:
    """The mask of one picture of the network's own size."""
    import onnxruntime

    batch = np.repeat(grey[None, None].astype(np.float32) / 255.0, 3, axis=1)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["mask"], {"image": batch})[0]
