"""What one photograph costs before a network sees it: decoding, the field, the quality gate, preparing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.tables import Table, median_ms
from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, painted_uid, wrap_fundus
from oculard_models.data.person import sample_people
from oculard_models.dicom_pixels import read_rgb
from oculard_models.manifest import InputSpec
from oculard_models.preprocess import find_field, prepare
from oculard_models.quality import SHIPPED_GATE, load_gate
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import choose_providers

DATA = Path(os.environ.get("OCULARD_DATA", Path(__file__).parents[3] / "shared" / "data"))
REAL = ("fundus/hrf/01_h.jpg", "fundus/idrid/IDRiD_01.jpg", "fundus/csdi/csdi_p08_1.jpg")
ROUNDS = 5
STAGES = ("decode", "find field", "quality gate", "prepare 224", "prepare 600")
Pixels = npt.NDArray[np.uint8]


def measure() -> Table:
    """Median milliseconds of every stage, one thread, for a painted photograph and real ones where they are there."""
    gate = load_gate(read_bundle(BUNDLES / SHIPPED_GATE), choose_providers(["cpu"], ["CPUExecutionProvider"]), 1)
    rows, raw = [], {}
    with TemporaryDirectory() as folder:
        for name, pixels in _photographs():
            path = Path(folder) / "one.dcm"
            visit = Visit(study_uid=painted_uid("bench"), series_uid=painted_uid("bench", "series"))
            wrap_fundus(pixels, visit, eye="R", uid=painted_uid(name)).save_as(path, enforce_file_format=True)
            seen = ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels)
            work: dict[str, Callable[[], object]] = {
                "decode": lambda path=path: read_rgb(path, pixels_max=10**9),
                "find field": lambda pixels=pixels: find_field(pixels),
                "quality gate": lambda pixels=pixels: gate.assess(pixels),
                "prepare 224": lambda seen=seen: prepare(seen, _spec(224)),
                "prepare 600": lambda seen=seen: prepare(seen, _spec(600)),
            }
            took = {stage: round(median_ms(work[stage], rounds=ROUNDS), 2) for stage in STAGES}
            size = f"{pixels.shape[1]} x {pixels.shape[0]}"
            rows.append([name, size, f"{path.stat().st_size / 1e6:.2f}", *(f"{took[stage]:.1f}" for stage in STAGES)])
            raw[name] = {"pixels": size, "bytes": path.stat().st_size, "ms": took}
    return Table(
        title="One photograph on one core, milliseconds by stage (JPEG in DICOM)",
        heads=["photograph", "pixels", "MB", *STAGES],
        rows=rows,
        remarks=["find field is part of the gate and of prepare, too."],
        raw=raw,
    )


def _spec(size_px: int) -> InputSpec:
    return InputSpec(kind="fundus", tensor="image", size_px=(size_px, size_px))


def _photographs() -> Iterator[tuple[str, Pixels]]:
    """A painted photograph, and those real ones that are there."""
    yield "painted", paint(sample_people(1, 3)[0], "R", 3, 2048)
    for name in REAL:
        if (DATA / name).is_file():
            with Image.open(DATA / name) as picture:
                yield Path(name).stem, np.asarray(picture.convert("RGB"))
