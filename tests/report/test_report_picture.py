"""Pictures: what is drawn where, and the lines of values below."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from report_samples import part10, source
from shape_samples import COLUMNS, ROWS, SPACING_MM, en_face, fundus, measured, outlined, shape_in

from oculard.report.picture import GROUND, HEAD_PX, IMAGE_PX_MAX, INK, LINE_PX, MARGIN_PX, OUTLINE, SOFT, WARNING, draw
from oculard.report.picture import outlined as image_of
from oculard.report.request import ReportRequest
from oculard.report.rows import rows_of
from oculard.report.shape import FoundShape
from oculard_models.contract import Qualifier, Shape
from oculard_models.manifest import Structure

Pixels = npt.NDArray[np.uint8]


def coloured(picture: Image.Image, colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """Where a picture has just this colour."""
    return np.asarray(np.asarray(picture) == colour).all(axis=2)


def shape_like(shape: FoundShape, **changes: Any) -> FoundShape:
    """The same shape in a black image, with some fields changed."""
    return replace(shape, **({"pixels": np.zeros_like(shape.pixels)} | changes))


def request_with(shape: FoundShape) -> ReportRequest:
    """A request about this shape."""
    return outlined(shape=shape)


def test_outline_is_drawn_where_it_lies() -> None:
    """The line follows the outline within two pixels, all around it, and nothing is drawn inside or outside."""
    shape = shape_like(shape_in(source(part10(en_face()))), spacing_mm=None)

    image = image_of(shape)

    scale = image.width / COLUMNS
    drawn = np.argwhere(coloured(image, OUTLINE))[:, ::-1] + 0.5
    wanted = shape.shape.outline * scale
    distance = np.hypot(*(drawn[:, None] - wanted[None]).transpose(2, 0, 1))
    step = np.hypot(*(wanted - np.roll(wanted, 1, axis=0)).T).max()
    assert distance.min(axis=1).max() <= step / 2 + 2.0
    assert distance.min(axis=0).max() <= step / 2 + 2.0
    assert np.asarray(image)[round(ROWS * 0.55 * scale), round(COLUMNS * 0.45 * scale)].max() == 0


def test_outline_shows_on_white_too() -> None:
    """On an image as bright as the line itself a dark edge sets it apart."""
    shape = shape_in(source(part10(en_face())))
    white = shape_like(shape, pixels=np.full_like(shape.pixels, 255), spacing_mm=None)

    image = np.asarray(image_of(white)).astype(int)

    assert image.sum(axis=2).min() < 400
    assert coloured(image_of(white), OUTLINE).any()


@pytest.mark.parametrize(
    ("spacing_mm", "there"),
    [((SPACING_MM, SPACING_MM), True), (None, False), ((SPACING_MM, 2 * SPACING_MM), False), ((1e-6, 1e-6), False)],
)
def test_bar_is_as_long_as_it_says(spacing_mm: tuple[float, float] | None, there: bool) -> None:
    """A bar of a round length is drawn where a pixel's size is known and one bar is true in all directions."""
    shape = shape_like(shape_in(source(part10(en_face()))), spacing_mm=spacing_mm)

    image = image_of(shape)

    bar = coloured(image, INK)[image.height - 20]
    assert bar.any() is np.bool_(there)
    if there:
        assert bar.sum() == pytest.approx(0.5 / SPACING_MM * image.width / COLUMNS, abs=2)


@pytest.mark.parametrize("size", [(16, 16), (512, 512), (60, 900), (900, 60), (1000, 1500)])
def test_picture_keeps_its_size(size: tuple[int, int]) -> None:
    """Images of all sizes give a picture at most 960 pixels wide, with the whole image and a legend below."""
    image = source(part10(en_face()))
    shape = shape_in(image, rows=size[0], columns=size[1])

    picture = draw(request_with(shape))

    assert picture.mode == "RGB"
    assert 680 <= picture.width <= IMAGE_PX_MAX[0]
    assert HEAD_PX + 200 < picture.height <= HEAD_PX + IMAGE_PX_MAX[1] + 320
    assert tuple(np.asarray(picture)[-1, -1]) == GROUND


def test_warning_is_drawn_whatever_the_model() -> None:
    """A research model and a demonstration both carry a warning, and not the same one."""
    asked = outlined()
    shown = replace(asked, origin=replace(asked.origin, demonstration=True))

    research, demonstration = (coloured(draw(one), WARNING) for one in (asked, shown))

    assert research.sum() > 200
    assert demonstration.sum() > 200
    assert (research != demonstration).any()


def test_values_change_the_legend_only() -> None:
    """Another value gives another legend below the same image."""
    asked = outlined()
    other = replace(asked, findings=(replace(asked.findings[0], value=0.4), *asked.findings[1:]))

    one, two = np.asarray(draw(asked)), np.asarray(draw(other))

    below = HEAD_PX + image_of(asked.shape).height if asked.shape else 0
    assert np.array_equal(one[:below], two[:below])
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("rows", [ROWS, 4 * COLUMNS])
def test_names_and_values_stand_apart(rows: int) -> None:
    """In every line of the legend, on wide pictures and on narrow ones, names and values leave a gap between them."""
    asked = outlined(shape=shape_in(source(part10(en_face())), rows=rows))
    assert asked.shape is not None
    picture = draw(asked)
    top = HEAD_PX + image_of(asked.shape).height
    names, values = coloured(picture, SOFT)[top:], coloured(picture, INK)[top:]

    lines = [slice(at, at + LINE_PX) for at in range(MARGIN_PX, len(names) - 4 * LINE_PX, LINE_PX)]
    assert sum(values[line].any() for line in lines) >= 5
    for line in lines:
        kinds = [(x, 1) for x in np.flatnonzero(names[line].any(axis=0))]
        kinds += [(x, 2) for x in np.flatnonzero(values[line].any(axis=0))]
        kinds.sort()
        gaps = [there[0] - here[0] for here, there in pairwise(kinds) if here[1] != there[1]]
        assert min(gaps, default=MARGIN_PX) >= 12


def test_rows_say_values_in_units_and_both_languages() -> None:
    """A line has the measure's name without the structure's, its rounded value and its unit; pixels only without mm."""
    rows = {row.english: row for row in rows_of(outlined())}

    assert list(rows) == [
        "Area",
        "Perimeter",
        "Circularity",
        "Maximum Feret diameter",
        "Minimum Feret diameter",
        "Axial ratio",
        "Centroid offset from image center",
        "Estimated class by FAZ shape",
    ]
    area, shape = rows["Area"], rows["Estimated class by FAZ shape"]
    assert (area.japanese, area.value, area.unit) == ("面積", "0.312", "mm²")
    assert (shape.choice, shape.value, shape.unit) == (("緑内障型", "Glaucomatous pattern"), "73.2", "%")


def test_rows_without_spacing_are_in_pixels() -> None:
    """Where nothing is known in mm the pixels are shown, and each measure in mm says that it was not attempted."""
    image = source(part10(en_face()))
    found = tuple(
        replace(one, value=None, qualifier=Qualifier.NOT_ATTEMPTED) if one.unit in ("mm", "mm2") else one
        for one in measured(image, Structure.FAZ)
    )
    rows = {row.english: row for row in rows_of(replace(outlined(), findings=found))}

    assert (rows["Area in pixels"].value, rows["Area in pixels"].unit) == ("48.8", "px")
    assert rows["Area"].missing == ("推定せず", "not attempted")


def test_real_images_are_drawn(data: Path) -> None:
    """Real en face images and photographs with their masks give pictures with their outline."""
    for image, mask, structure in (
        ("octa-faz/images/superficial_233", "octa-faz/masks/superficial_233.png", Structure.FAZ),
        ("fundus/idrid/IDRiD_01", "fundus/idrid/IDRiD_01_disc.png", Structure.OPTIC_DISC),
    ):
        (path,) = data.glob(f"{image}.*")
        pixels = np.asarray(Image.open(path).convert("RGB"))
        covered = np.asarray(Image.open(data / mask).convert("L").resize(pixels.shape[1::-1])) > 0
        rows, columns = np.nonzero(covered)
        box = np.array([(columns.min(), rows.min()), (columns.max(), rows.min()), (columns.max(), rows.max())], float)
        base = outlined(part10(fundus()), structure)
        assert base.shape is not None
        shape = replace(base.shape, shape=Shape(mask=covered, outline=box), pixels=pixels)

        picture = draw(replace(base, shape=shape))

        assert coloured(picture, OUTLINE).sum() > 200


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pixels": np.zeros((ROWS, COLUMNS), np.uint8)}, "rows x columns x 3"),
        ({"pixels": np.zeros((ROWS, COLUMNS, 3), np.float32)}, "of uint8"),
        ({"pixels": np.zeros((ROWS, COLUMNS + 1, 3), np.uint8)}, "one bool for each pixel"),
        ({"shape": Shape(mask=np.zeros((ROWS, COLUMNS), bool), outline=np.zeros((3, 2)))}, "no shape"),
        ({"shape": Shape(mask=np.ones((ROWS, COLUMNS), bool), outline=np.zeros((2, 2)))}, "no shape"),
        ({"shape": Shape(mask=np.ones((ROWS, COLUMNS), np.uint8), outline=np.zeros((3, 2)))}, "one bool"),
        ({"spacing_mm": (0.0, 0.1)}, "above 0"),
    ],
)
def test_what_is_no_shape_is_refused(wrong: dict[str, Any], message: str) -> None:
    """A shape whose mask, outline, pixels or spacing contradict each other cannot be made."""
    with pytest.raises(ValueError, match=message):
        replace(shape_in(source(part10(en_face()))), **wrong)
