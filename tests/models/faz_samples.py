"""A tiny bundle that measures the foveal avascular zone, and eyes of invented people, for tests."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from oculard_models.data.octa_cohort import FazEye

PX = 16
MANIFEST = """\
name = "faz-tiny"
family = "faz"
version = "1.0.0"
title = "Tiny zone"
manufacturer = "oculard tests"
licence = "Apache-2.0"
demonstration = false

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
kind = "en-face"
slabs = ["128265", "128269"]
tensor = "image"
size_px = [16, 16]
crop = "whole"
mirror_left = false

[mask]
structure = "faz"
tensor = "mask"

{outputs}
[golden]
image = "golden.png"
expected = {{ mask-mean = 0.497980, mask-share = 0.0 }}
tolerance = 0.01
"""
OUTPUT = '[[output]]\nname = "{name}"\nconcept = "{concept}"\nkind = "measured"\nunit = "{unit}"\n\n'
MEASURED = (("area", "FAZ-AREA", "mm2"), ("perimeter", "FAZ-PERIM", "mm"), ("circularity", "FAZ-CIRC", "1"))
COLUMNS = ("person", "eye", "glaucoma", "age", "area", "perimeter", "circularity")


def faz_bundle(folder: Path, measured: Sequence[tuple[str, str, str]] = MEASURED) -> Path:
    """Write a bundle whose network calls 1 - brightness the probability of the zone; the golden picture is grey."""
    onnx: Any = pytest.importorskip("onnx", reason="making a tiny network needs the extra `lab` (onnx)")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "grey"], ["mask"]),
    ]
    graph = helper.make_graph(
        nodes,
        "faz-tiny",
        [helper.make_tensor_value_info("image", floats, ["images", 3, PX, PX])],
        [helper.make_tensor_value_info("mask", floats, ["images", 1, PX, PX])],
        [helper.make_tensor("one", floats, [1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content = model.SerializeToString()
    bundle = folder / "faz-tiny"
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_bytes(content)
    (bundle / "card.md").write_text("# faz-tiny\n", encoding="utf-8")
    outputs = "".join(OUTPUT.format(name=name, concept=concept, unit=unit) for name, concept, unit in measured)
    text = MANIFEST.format(sha256=hashlib.sha256(content).hexdigest(), outputs=outputs)
    (bundle / "manifest.toml").write_text(text, encoding="utf-8")
    Image.fromarray(np.full((PX, PX, 3), 128, dtype=np.uint8)).save(bundle / "golden.png")
    return bundle


def rows_of(cohort: Sequence[FazEye]) -> list[dict[str, object]]:
    """Return the cohort as rows of the study's table."""
    return [{name: getattr(one, name) for name in COLUMNS} for one in cohort]


def write_eyes(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write rows as the study's table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
