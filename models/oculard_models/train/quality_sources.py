"""What the quality gate learns from: real photographs with their labels, painted eyes, and pictures of other things."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.contract import ImageInput
from oculard_models.data.degrade import Scene, scene_of
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person
from oculard_models.manifest import InputSpec
from oculard_models.nets.gate import SIZE_PX
from oculard_models.preprocess import Pixels, find_field, prepare

SPEC = InputSpec(kind="fundus", tensor="image", size_px=(SIZE_PX, SIZE_PX), mirror_left=False, max_images=1)
SCENE_PX = 448
PAINT_SEEDS = 2 * 10**9  # what the gate trains on is painted from here on: no other training or test goes there
PAINTED_DISC = (0.60, -0.05)  # of a right eye in radii, give or take 0.02: see data/paint.py
CLEAR = 2.0  # haze of a photograph that nobody scored and that has none to be seen: at most that of CSDI's clearest

# Read off the photographs by us where the data sets give no place of the disc: x, y in pixels.
OUR_DISCS: Mapping[str, tuple[float, float]] = {
    "01_dr.jpg": (852.0, 1177.0),
    "02_dr.jpg": (2735.0, 1140.0),
    "skimage_retina.jpg": (238.0, 648.0),
}


class DataWrong(ValueError):
    """The folder of photographs does not hold what the training needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One photograph or painted eye: whose it is, its field, where its disc lies, and its haze where it was scored."""

    name: str
    group: str  # the patient: nothing of one group is ever both learnt from and measured on
    scene: Scene
    seen: npt.NDArray[np.uint8]  # what the gate sees of it as it was taken: 3 x rows x columns
    disc: tuple[float, float] | None  # in radii from the field's centre, y downwards
    haze: float | None
    painted: bool = False

    @property
    def eye(self) -> str | None:
        """Which eye it is, where the disc tells."""
        if self.disc is None or abs(self.disc[0]) < 0.15:
            return None
        return "R" if self.disc[0] > 0 else "L"


def real_sources(folder: Path) -> list[Source]:
    """Read the photographs below `folder` (csdi, hrf, idrid, skimage_retina.jpg). Raises DataWrong."""
    found = [*_csdi(folder / "csdi"), *_hrf(folder / "hrf"), *_idrid(folder / "idrid")]
    alone = folder / "skimage_retina.jpg"
    return [*found, _source(alone, "skimage", OUR_DISCS[alone.name], None)]


def painted_source(seed: int) -> Source:
    """Paint one eye of an invented person at one of many sizes."""
    rng = np.random.default_rng([105, seed])
    eye = "RL"[seed % 2]
    size_px = int(np.exp(rng.uniform(np.log(160), np.log(1100))))
    pixels = paint(sample_person(rng), eye, PAINT_SEEDS + seed, size_px)
    x, y = PAINTED_DISC
    return Source(
        name=f"painted-{seed}",
        group=f"painted-{seed}",
        scene=scene_of(pixels, SCENE_PX),
        seen=seen(pixels),
        disc=(x if eye == "R" else -x, y),
        haze=None,
        painted=True,
    )


def seen(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Prepare a picture exactly as the daemon does: 3 x rows x columns, as bytes."""
    tensor = prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels), SPEC)
    return np.asarray(np.clip(np.rint(tensor * 255.0), 0, 255), dtype=np.uint8)


def _csdi(folder: Path) -> Iterator[Source]:
    """CSDI: haze scores of graders, boxes of the disc, one or two photographs a patient."""
    for row in _rows(folder / "labels.csv"):
        box = [_number(row, key, folder) for key in ("disc_x1", "disc_y1", "disc_x2", "disc_y2")]
        disc = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) if row["optic_disc_visible"] == "visible" else None
        haze = _number(row, "cataract_haze_score_0_10", folder)
        yield _source(folder / row["image"], f"csdi-{row['patient']}", disc, haze)


def _hrf(folder: Path) -> Iterator[Source]:
    """HRF: every photograph is of another person; the place of the disc is the first expert's, or ours."""
    for row in _rows(folder / "labels.csv"):
        name = row["image"]
        disc = OUR_DISCS.get(name) or (_number(row, "disc_x_expert1", folder), _number(row, "disc_y_expert1", folder))
        yield _source(folder / name, f"hrf-{Path(name).stem}", disc, None)


def _idrid(folder: Path) -> Iterator[Source]:
    """IDRiD: no patients are named; every photograph counts as a person."""
    for row in _rows(folder / "labels.csv"):
        disc = (_number(row, "disc_cx", folder), _number(row, "disc_cy", folder))
        yield _source(folder / row["image"], Path(row["image"]).stem.lower(), disc, None)


def _source(path: Path, group: str, disc: tuple[float, float] | None, haze: float | None) -> Source:
    """Decode one photograph and find its field."""
    pixels = _pixels(path)
    field = find_field(pixels)
    if field is None:
        raise DataWrong(f"{path} shows no field; hint: was it cropped or replaced?")
    (x, y), radius = field.centre, field.radius
    place = ((disc[0] - x) / radius, (disc[1] - y) / radius) if disc is not None else None
    return Source(
        name=path.name, group=group, scene=scene_of(pixels, SCENE_PX), seen=seen(pixels), disc=place, haze=haze
    )


def _pixels(path: Path) -> Pixels:
    """Decode one photograph to RGB."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as why:
        raise DataWrong(f"{path} cannot be read as a picture: {why}") from why


def _rows(path: Path) -> list[dict[str, str]]:
    """Read a table of labels."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as why:
        raise DataWrong(
            f"{path} cannot be read: {why}; hint: --data names the folder above fundus/csdi, fundus/hrf, fundus/idrid"
        ) from why


def _number(row: Mapping[str, str | None], key: str, folder: Path) -> float:
    """Read one number of a table."""
    text = row.get(key) or ""
    try:
        return float(text)
    except ValueError:
        raise DataWrong(f"{folder / 'labels.csv'}: `{key}` of {row.get('image')} is `{text}`, not a number") from None
