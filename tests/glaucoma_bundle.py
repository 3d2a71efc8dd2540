"""A small bundle that classifies views by their mean brightness: for tests of the way from a volume to the PACS.

It is no model. Each view alone says a class by how bright it is, all together say the mean of that, and the activation
is the view itself, coarse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from oculard_models.registry import Bundle, read_bundle
from oculard_models.volumes.types import DISC_TYPES

SIDE_PX, CELLS = 32, 8
VIEWS = ("rnfl-thickness", "gcc-thickness", "en-face", "bscan-disc")
CONCEPTS = ("GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS")
WEIGHTS = (-4.0, -2.0, 0.0, 2.0, 4.0)  # of the mean, by class: a dark view says normal, a bright one senile sclerosis
BIAS = (2.0, 1.0, 0.0, -1.0, -2.0)
MANIFEST = """\
name = "{name}"
family = "glaucoma"
version = "1.0.0"
title = "Brightness of views"
manufacturer = "oculard tests"
licence = "Apache-2.0"
demonstration = true

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
kind = "oct-volume"
views = [{views}]
tensor = "images"
size_px = [{side}, {side}]

[[output]]
name = "class"
concept = "GL-CLASS"
tensor = "probability"
kind = "class"
choices = [{choices}]

{outputs}
[golden]
image = "golden.png"
tolerance = 0.001
[golden.expected]
{expected}
"""


def glaucoma_bundle(folder: Path, *, name: str = "glaucoma-test", views: Sequence[str] = VIEWS) -> Bundle:
    """Write the bundle into `folder`/`name` and read it."""
    onnx = pytest.importorskip("onnx", reason="making a tiny network needs the extra `lab` (onnx)")
    bundle = folder / name
    bundle.mkdir(parents=True)
    content = _model(onnx, len(views)).SerializeToString()
    golden = np.random.default_rng(5).integers(0, 256, (SIDE_PX, len(views) * SIDE_PX)).astype(np.uint8)
    probability = _run(content, golden, len(views))
    outputs = "".join(
        f'[[output]]\nname = "{choice}"\nconcept = "{concept}"\ntensor = "probability"\n'
        f'kind = "probability"\nindex = {index}\n\n'
        for index, (choice, concept) in enumerate(zip(DISC_TYPES, CONCEPTS, strict=True))
    )
    expected = {"class": probability.max()} | dict(zip(DISC_TYPES, probability, strict=True))
    manifest = MANIFEST.format(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        views=", ".join(f'"{view}"' for view in views),
        side=SIDE_PX,
        choices=", ".join(f'"{choice}"' for choice in DISC_TYPES),
        outputs=outputs,
        expected="\n".join(f"{key} = {float(value):.6f}" for key, value in expected.items()),
    )
    (bundle / "model.onnx").write_bytes(content)
    (bundle / "card.md").write_text(f"# {name}\n\nBrightness, trained on nothing.\n", encoding="utf-8")
    (bundle / "manifest.toml").write_text(manifest, encoding="utf-8")
    Image.fromarray(golden).save(bundle / "golden.png")
    return read_bundle(bundle)


def expected(views: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What the bundle must say of views x height x width: the probability of each class, together and by view."""
    logits = views.mean(axis=(1, 2))[:, None] * 10.0 * np.array(WEIGHTS) + 2.0 * np.array(BIAS)
    by_view = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return by_view.mean(axis=0), by_view


def _model(onnx: Any, views: int) -> Any:
    """The by-view classes are softmax(10 * mean * weights + 2 * bias); the activation is what was pooled, to max 1."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    step = SIDE_PX // CELLS
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[step, step], strides=[step, step]),
        helper.make_node("ReduceMax", ["pooled"], ["largest"], axes=[2, 3], keepdims=1),
        helper.make_node("Max", ["largest", "least"], ["divisor"]),
        helper.make_node("Div", ["pooled", "divisor"], ["activation"]),
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "column"], ["means"]),
        helper.make_node("Mul", ["means", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["by_view"], axis=2),
        helper.make_node("ReduceMean", ["by_view"], ["probability"], axes=[1], keepdims=0),
    ]
    shapes = {"probability": ["eyes", 5], "by_view": ["eyes", views, 5], "activation": ["eyes", views, CELLS, CELLS]}
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", floats, ["eyes", views, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info(name, floats, shape) for name, shape in shapes.items()],
        [
            helper.make_tensor("least", floats, [1], [1e-6]),
            helper.make_tensor("column", onnx.TensorProto.INT64, [3], [-1, views, 1]),
            helper.make_tensor("weights", floats, [1, 1, 5], [10.0 * weight for weight in WEIGHTS]),
            helper.make_tensor("bias", floats, [1, 1, 5], [2.0 * bias for bias in BIAS]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _run(content: bytes, golden: npt.NDArray[np.uint8], views: int) -> npt.NDArray[np.float32]:
    """The probabilities of the golden picture."""
    import onnxruntime

    batch = golden.astype(np.float32).reshape(SIDE_PX, views, SIDE_PX).transpose(1, 0, 2)[None] / 255.0
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(["probability"], {"images": batch})[0][0]
    return found
