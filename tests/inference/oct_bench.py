"""A bench for OCT volumes: small painted ones as a device sends them, and a bundle that goes by brightness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from worker_bench import Bench

from glaucoma_bundle import VIEWS, glaucoma_bundle
from oculard.settings import OPHTHALMIC_TOMOGRAPHY, Rule
from oculard.settings import Worker as WorkerSettings
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.data.painted_study import MORNING, Visit, painted_uid
from oculard_models.data.painted_volume import wrap_volume
from oculard_models.volumes.volume import Scan

RULES = [Rule(sop_class_uid=OPHTHALMIC_TOMOGRAPHY, families=["glaucoma"])]
FRAMES, DEPTH, COLUMNS = 40, 256, 96
MACULA = ("82859000", "SCT", "Macula lutea")
Change = Callable[[FileDataset], None]


class OctBench(Bench):
    """A worker that serves the family `glaucoma`, without any quality gate that could grade a volume."""

    def __init__(self, folder: Path, *, views: tuple[str, ...] = VIEWS, **settings: Any) -> None:
        bundle = glaucoma_bundle(folder / "bundles", views=views)
        serving = {"glaucoma": bundle.manifest.name}
        worker = WorkerSettings(estimators=serving)
        super().__init__(folder, [bundle], serving=serving, worker=worker, plan=RULES, **settings)

    def job(self) -> dict[str, Any]:
        """The newest job as `oculard jobs` shows it."""
        return dict(self.shelf.trace.jobs(state=None, limit=1)[0])


@cache
def painted(eye: str = "R", scan: Scan = Scan.DISC) -> PaintedVolume:
    """A small painted volume, painted once."""
    drawn = draw_eye(3, "focal-ischemia", eye=eye)
    return paint_volume(drawn, frames=FRAMES, depth=DEPTH, columns=COLUMNS, side_mm=6.0, scan=scan)


def visit(at_s: float = 0.0) -> Visit:
    """The one visit of the one patient, some seconds later."""
    return Visit(
        study_uid=painted_uid("s"),
        series_uid=painted_uid("s", "series"),
        taken=MORNING + timedelta(seconds=at_s),
    )


def scan(
    name: str,
    eye: str = "R",
    *,
    shown: PaintedVolume | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
    at_s: float = 0.0,
    change: Change | None = None,
) -> FileDataset:
    """A volume of an eye as a device sends it; `change` is made to its dataset."""
    volume = shown or painted(eye)
    if pixels is not None:
        volume = replace(volume, volume=replace(volume.volume, pixels=pixels))
    ds = wrap_volume(volume, visit(at_s), uid=painted_uid(name))
    ds.FrameOfReferenceUID = painted_uid(name, "frame")
    if change is not None:
        change(ds)
    return ds
