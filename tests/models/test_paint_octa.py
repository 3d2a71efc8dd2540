"""Painted angiographies are repeatable, what is said of them is true, and they are like real ones."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from oculard_models import structures
from oculard_models.contract import Measured
from oculard_models.data.paint_octa import PLEXUSES, PaintedOcta, paint_octa
from oculard_models.manifest import Mask, Structure

SEEDS = range(12)
FAZ = Mask(structure=Structure.FAZ, tensor="mask")


def measured(octa: PaintedOcta) -> Measured:
    """Measure the true mask as the daemon measures a network's."""
    rows, columns = octa.mask.shape
    side = octa.side_mm / columns
    return structures.measure(
        octa.mask.astype(np.float32),
        mask=FAZ,
        box=(0, 0, columns, rows),
        image_size=(rows, columns),
        spacing_mm=(side, side),
    )


def around(octa: PaintedOcta) -> np.ndarray:
    """Return the ring around the zone."""
    size = octa.mask.shape[0]
    near = ndimage.binary_dilation(octa.mask, iterations=size // 100)
    return np.asarray(ndimage.binary_dilation(octa.mask, iterations=size // 25) & ~near)


def real_table() -> list[dict[str, str]]:
    """Return the rows of the real scans' table, or skip."""
    folder = Path(os.environ.get("OCULARD_DATA") or Path(__file__).parents[3] / "shared" / "data") / "octa-faz"
    if not folder.is_dir():
        pytest.skip(f"no real angiographies at {folder}; set OCULARD_DATA to the folder that holds octa-faz/")
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [row | {"folder": str(folder)} for row in csv.DictReader(file)]


def look(pixels: np.ndarray, mask: np.ndarray) -> list[float]:
    """Say how a scan looks: brightness and contrast, darkness of the zone, size of the zone, grain, fine detail."""
    grey = pixels.astype(np.float64)
    fine = grey - ndimage.gaussian_filter(grey, 2.0)
    return [grey.mean(), grey.std(), grey[mask].mean(), grey[mask].std(), float(mask.sum()), fine.std()]


def test_same_seed_gives_the_same_bytes():
    """A scan that is painted twice is the same scan; another seed is another eye."""
    first, again, other = paint_octa(7, 128), paint_octa(7, 128), paint_octa(8, 128)

    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.area_mm2 == again.area_mm2
    assert (first.pixels != other.pixels).any()


def test_both_slabs_are_painted_where_none_is_asked_for():
    """The slab is drawn, too."""
    assert {paint_octa(seed, 64).plexus for seed in SEEDS} == set(PLEXUSES)


@pytest.mark.parametrize("seed", SEEDS)
def test_stated_area_and_perimeter_are_those_of_the_mask(seed: int):
    """What is measured on the mask is what is said: the area closely, the perimeter less where the edge is ragged."""
    octa = paint_octa(seed, 512)
    values = measured(octa).values

    assert octa.pixels.shape == octa.mask.shape == (512, 512)
    assert octa.pixels.dtype == np.uint8
    assert octa.mask.sum() * (octa.side_mm / 512) ** 2 == pytest.approx(octa.area_mm2, rel=0.01)
    assert values["area"] == pytest.approx(octa.area_mm2, rel=0.01)
    assert values["perimeter"] == pytest.approx(octa.perimeter_mm, rel=0.06)


@pytest.mark.parametrize("plexus", PLEXUSES)
@pytest.mark.parametrize("seed", SEEDS)
def test_zone_is_darker_than_what_lies_around_it(plexus: str, seed: int):
    """The mask lies where the picture is dark: motion never moves one without the other."""
    octa = paint_octa(seed, 256, plexus=plexus)

    assert octa.plexus == plexus
    assert octa.pixels[octa.mask].mean() < 0.75 * octa.pixels[around(octa)].mean()


@pytest.mark.parametrize("circularity", [0.45, 0.7, 0.95])
def test_asked_area_and_circularity_are_obeyed(circularity: float):
    """A zone that is asked for is painted."""
    octa = paint_octa(5, 256, area_mm2=0.4, circularity=circularity)

    assert octa.area_mm2 == pytest.approx(0.4, rel=1e-6)
    assert octa.circularity == pytest.approx(circularity, abs=1e-3)


def test_no_irregularity_is_a_circle():
    """At 0 the zone is round, and the more irregular the less so."""
    drawn = [paint_octa(5, 128, irregularity=how).circularity for how in (0.0, 0.5, 1.5)]

    assert drawn[0] == pytest.approx(1.0, abs=1e-3)
    assert drawn[0] > drawn[1] > drawn[2]


def test_another_size_shows_the_same_zone():
    """The same seed has the same zone in mm at every size."""
    small, large = paint_octa(3, 128), paint_octa(3, 512)

    assert small.area_mm2 == pytest.approx(large.area_mm2)
    assert small.mask.mean() == pytest.approx(large.mask.mean(), rel=0.03)


def test_without_faults_the_zone_is_the_same():
    """Faults are laid over the scan; what is planted does not depend on them."""
    clean, faulty = paint_octa(4, 256, faults=False), paint_octa(4, 256)

    np.testing.assert_array_equal(clean.mask, faulty.mask)
    assert (clean.pixels != faulty.pixels).any()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"size_px": 32}, "at least 64"),
        ({"plexus": "outer"}, "plexus of"),
        ({"area_mm2": 0.0}, "at most 2 mm2"),
        ({"area_mm2": 5.0}, "at most 2 mm2"),
        ({"circularity": 1.2}, "circularity from"),
    ],
)
def test_what_cannot_be_painted_is_refused(wanted: dict[str, object], words: str):
    """Wrong arguments end in words, not in a picture."""
    with pytest.raises(ValueError, match=words):
        paint_octa(1, **({"size_px": 64} | wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize("plexus", PLEXUSES)
def test_painted_scans_look_like_real_ones(plexus: str):
    """The median real scan is no outlier among painted ones: brightness, contrast, zone, grain, detail."""
    rows = [row for row in real_table() if row["plexus"] == plexus]
    real = [
        look(np.asarray(Image.open(Path(row["folder"]) / row["image"]).convert("L")), mask)
        for row in rows
        for mask in [np.asarray(Image.open(Path(row["folder"]) / row["mask"]).convert("L")) > 127]
    ]
    painted = [look(octa.pixels, octa.mask) for octa in (paint_octa(100 + k, plexus=plexus) for k in range(16))]
    low, high = np.min(painted, axis=0), np.max(painted, axis=0)
    middle = np.median(real, axis=0)

    assert (low <= middle).all(), (low, middle)
    assert (middle <= high).all(), (middle, high)
