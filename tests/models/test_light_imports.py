"""What serves a bundle must start without the laboratory."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIGHT = ["oculard_models"] + [
    f"oculard_models.{name}"
    for name in (
        "contract", "manifest", "registry", "runners", "runners.onnx", "runners.load", "preprocess", "quality",
        "findings", "lab", "dicom_pixels", "export", "importers", "nets", "train", "data.paint", "data.painted_study",
        "data.table", "data.split", "data.photographs", "data.scaling", "data.painted_table", "evaluate.measures",
        "evaluate.predictions", "evaluate.prediction_table", "evaluate.report", "structures",
        "structures.magnification",
    )
]  # fmt: skip


@pytest.mark.parametrize(
    "heavy", ["torch", "oculard", "onnxruntime", "polars", "matplotlib", "h5py", "scipy", "contourpy"]
)
def test_importing_light_modules_imports_nothing_heavy(heavy: str):
    """Neither torch nor the daemon nor a runtime is imported before it is used."""
    code = f"import sys, {', '.join(LIGHT)}; sys.exit(any(m.split('.')[0] == {heavy!r} for m in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
