"""A bench for masks: en face images as a device sends them, and a network that outlines what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset
from worker_bench import Bench

from oculard.inference.estimators import Served
from oculard.settings import Rule
from oculard.settings import Worker as WorkerSettings
from oculard_models.contract import EstimateFailed, ImageInput
from oculard_models.data.painted_enface import wrap_en_face
from oculard_models.data.painted_study import MORNING, Visit, painted_uid
from oculard_models.manifest import Manifest
from oculard_models.preprocess import prepare
from oculard_models.registry import Bundle

EN_FACE = "1.2.840.10008.5.1.4.1.1.77.1.5.7"
FLOW_VOLUME = "1.2.840.10008.5.1.4.1.1.77.1.5.8"
RULES = [Rule(sop_class_uid=EN_FACE, families=["faz"]), Rule(sop_class_uid=FLOW_VOLUME, families=["faz"])]
SIDE_PX, SIDE_MM = 160, 3.0
CELLS = 80  # a side of the network's input
RADIUS = 0.15  # of the zone, as a share of the side
MEASURES = {
    "area": ("FAZ-AREA", "mm2"),
    "area-px": ("FAZ-AREA-PX", "{pixels}"),
    "perimeter": ("FAZ-PERIM", "mm"),
    "circularity": ("FAZ-CIRC", "1"),
    "centroid-offset": ("FAZ-OFFSET", "mm"),
}
MANIFEST = Manifest.model_validate(
    {
        "name": "faz-staged",
        "family": "faz",
        "version": "1.0.0",
        "title": "Staged",
        "manufacturer": "oculard tests",
        "licence": "Apache-2.0",
        "demonstration": True,
        "weights": {"file": "model.onnx", "sha256": "0" * 64},
        "input": {
            "kind": "en-face",
            "slabs": ["128265", "128269"],
            "tensor": "image",
            "size_px": [CELLS, CELLS],
            "crop": "whole",
            "mirror_left": False,
        },
        "mask": {"structure": "faz", "tensor": "mask", "threshold": 0.5},
        "output": [
            {"name": name, "concept": concept, "kind": "measured", "unit": unit}
            for name, (concept, unit) in MEASURES.items()
        ],
        "golden": {"image": "golden.png", "expected": {"mask-mean": 0.1, "mask-share": 0.1}},
    }
)


class StagedSegmenter:
    """Outlines a disc at a wanted place of every image, or gives a wanted map, or fails."""

    def __init__(self, centre: tuple[float, float] = (0.5, 0.5), radius: float = RADIUS) -> None:
        self.centre, self.radius = centre, radius
        self.batches: list[int] = []
        self.gives: npt.NDArray[np.float32] | None = None
        self.fails_on: int | None = None  # a batch of so many
        self.breaks_after_first = False  # gives one map of a batch, and never works again

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """As the manifest says."""
        return prepare(image, MANIFEST.input)

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The same map for every image."""
        self.batches.append(len(batch))
        if len(batch) == self.fails_on:
            raise EstimateFailed("not so many")
        if self.breaks_after_first and len(self.batches) > 1:
            raise EstimateFailed("broken")
        rows, columns = (np.mgrid[:CELLS, :CELLS] + 0.5) / CELLS
        away = np.hypot(columns - self.centre[0], rows - self.centre[1])
        disc = 1.0 / (1.0 + np.exp(np.clip((away - self.radius) * 400, -50, 50)))
        maps = np.stack([disc.astype(np.float32) if self.gives is None else self.gives] * len(batch))
        return _broken_off(maps) if self.breaks_after_first else maps  # type: ignore[return-value]  # on purpose


def _broken_off(maps: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """The first map, then no memory."""
    yield maps[0]
    raise MemoryError


class FazBench(Bench):
    """A worker that serves the family `faz` with a staged network and no quality gate."""

    def __init__(self, folder: Path, manifest: Manifest = MANIFEST, **settings: Any) -> None:
        worker = WorkerSettings(estimators={"faz": MANIFEST.name})
        bundles = [Bundle(folder=folder, manifest=manifest, card="staged")]
        serving = {"faz": MANIFEST.name}
        super().__init__(folder, bundles, serving=serving, worker=worker, plan=RULES, **settings)
        self.network = StagedSegmenter()
        served = Served(manifest=manifest, estimator=self.network)  # type: ignore[arg-type]  # it segments
        self.estimators.get = lambda name: served  # type: ignore[method-assign]  # no weights are loaded

    def job(self) -> dict[str, Any]:
        """The newest job as `oculard jobs` shows it."""
        return dict(self.shelf.trace.jobs(state=None, limit=1)[0])


def texture(rows: int = SIDE_PX, columns: int = SIDE_PX) -> npt.NDArray[np.uint8]:
    """A grey picture with contrast."""
    return np.random.default_rng(1).integers(0, 256, (rows, columns)).astype(np.uint8)


def slab(
    name: str,
    eye: str = "R",
    *,
    plexus: str = "superficial",
    pixels: npt.NDArray[np.uint8] | None = None,
    side_mm: float | None = SIDE_MM,
    at_s: float = 0.0,
    **changes: Any,
) -> FileDataset:
    """An en face image as a device sends it; `changes` are set on its dataset."""
    visit = Visit(
        study_uid=painted_uid("s"),
        series_uid=painted_uid("s", "series"),
        taken=MORNING + timedelta(seconds=at_s),
    )
    shown = texture() if pixels is None else pixels
    ds = wrap_en_face(shown, visit, eye=eye, uid=painted_uid(name), plexus=plexus, side_mm=side_mm)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def flow_volume(name: str, eye: str = "R", *, frames: int = 2) -> FileDataset:
    """A flow cube of which no slab was made, without a coded image type."""
    ds = slab(name, eye, SOPClassUID=FLOW_VOLUME, NumberOfFrames=frames)
    ds.file_meta.MediaStorageSOPClassUID = FLOW_VOLUME
    ds.PixelData = ds.PixelData * frames
    del ds.OphthalmicImageTypeCodeSequence
    return ds
