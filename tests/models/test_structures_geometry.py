"""What is measured of an outline is right: against known shapes, and under shift, turn, mirror and scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipe
from structure_samples import PX, disc, ellipse, measured

from oculard_models.structures.geometry import contains, ferets, measure_polygon
from oculard_models.structures.magnification import littmann_bennett
from oculard_models.structures.raster import paint_polygon

MM = 0.01  # a pixel of the samples
Points = npt.NDArray[np.float64]


def star(seed: int, corners: int) -> Points:
    """Make a simple polygon of so many corners around (20, 20), no nearer than 3 and no farther than 19."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    radii = random.uniform(3, 19, corners)
    return np.stack([20 + radii * np.cos(angles), 20 + radii * np.sin(angles)], axis=1)


stars = st.builds(star, st.integers(0, 10_000), st.integers(5, 40))


@pytest.mark.parametrize("edge", [0.0, 0.3, 1.0, 2.0], ids=lambda edge: f"edge {edge}")
@pytest.mark.parametrize("radius", [15, 30, 55])
def test_disc_has_the_measures_of_a_disc(radius: int, edge: float):
    """However soft the edge of the mask is; a mask of zeros and ones has stairs, which cost 2 % of the perimeter."""
    size, stairs = (160, 160), 2.0 if edge == 0 else 0.5
    found = measured(disc(radius, centre=(80.3, 79.6), edge=edge, size=size)).values

    assert found["area"] == pytest.approx(np.pi * (radius * MM) ** 2, rel=0.01)
    assert found["perimeter"] == pytest.approx(2 * np.pi * radius * MM, rel=0.01 * stairs)
    assert found["circularity"] == pytest.approx(1, rel=0.02 * stairs)
    assert found["feret-max"] == pytest.approx(2 * radius * MM, rel=0.03)
    assert found["feret-min"] == pytest.approx(2 * radius * MM, rel=0.015)
    assert found["axial-ratio"] == pytest.approx(1, rel=0.01)
    assert found["centroid-offset"] == pytest.approx(MM * np.hypot(0.3, 0.4), abs=0.05 * MM)


@pytest.mark.parametrize("edge", [0.0, 0.3, 1.0], ids=lambda edge: f"edge {edge}")
@pytest.mark.parametrize("turned", [0.0, 0.3, np.pi / 4, 1.2])
def test_ellipse_has_the_measures_of_an_ellipse(turned: float, edge: float):
    """At any angle: Ferets are the axes, the axial ratio is theirs, the perimeter is the elliptic integral."""
    a, b = 40, 25
    found = measured(ellipse((a, b), turned=turned, edge=edge)).values
    perimeter = 4 * a * ellipe(1 - (b / a) ** 2)
    stairs = 2.0 if edge == 0 else 0.5

    assert found["area-px"] == pytest.approx(np.pi * a * b, rel=0.01)
    assert found["perimeter-px"] == pytest.approx(perimeter, rel=0.01 * stairs)
    assert found["circularity"] == pytest.approx(4 * np.pi * np.pi * a * b / perimeter**2, rel=0.02 * stairs)
    assert found["feret-max"] == pytest.approx(2 * a * MM, rel=0.02)
    assert found["feret-min"] == pytest.approx(2 * b * MM, rel=0.02)
    assert found["axial-ratio"] == pytest.approx(a / b, rel=0.01)


def test_spacing_that_differs_makes_a_circle_of_an_ellipse():
    """An ellipse of pixels that are half as high as wide is a circle in mm."""
    found = measured(ellipse((20, 40)), spacing_mm=(0.01, 0.02)).values

    assert found["circularity"] == pytest.approx(1, rel=0.01)
    assert found["axial-ratio"] == pytest.approx(1, rel=0.01)
    assert found["area"] == pytest.approx(np.pi * 0.4**2, rel=0.01)
    assert found["perimeter-px"] > 1.05 * np.pi * 2 * 28  # in pixels it is what it is


def test_map_that_was_squeezed_is_stretched_again():
    """The network sees 128 x 128 cells of an image of 128 rows x 256 columns."""
    found = measured(ellipse((20, 40)), image_size=(128, 256), box=(0.0, 0.0, 256.0, 128.0)).values

    assert found["circularity"] == pytest.approx(1, rel=0.01)
    assert found["area-px"] == pytest.approx(np.pi * 40**2, rel=0.01)


def test_map_of_a_part_lies_where_the_part_lies():
    """Centroid and outline are in pixels of the image, not of what the network saw."""
    found = measured(disc(20), box=(100.0, 40.0, 228.0, 168.0), image_size=(200, 300))

    assert found.shape is not None
    assert found.shape.outline.mean(axis=0) == pytest.approx((164, 104), abs=0.01)
    assert found.values["centroid-offset"] == pytest.approx(MM * np.hypot(14, 4), rel=1e-3)
    assert tuple(np.argwhere(found.shape.mask).mean(axis=0) + 0.5) == pytest.approx((104, 164), abs=0.05)


@settings(max_examples=40, deadline=None)
@given(x=st.integers(-12, 12), y=st.integers(-12, 12))
def test_shift_changes_nothing_but_the_offset(x: int, y: int):
    """A structure that lies elsewhere has the same size and shape."""
    image = ellipse((30, 18), turned=0.4, centre=(62, 66))
    here, there = measured(image).values, measured(np.roll(image, (y, x), axis=(0, 1))).values

    assert dict(there) == pytest.approx(dict(here) | {"centroid-offset": there["centroid-offset"]}, rel=1e-5)
    assert there["centroid-offset"] == pytest.approx(MM * np.hypot(62 + x - 64, 66 + y - 64), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(quarters=st.integers(0, 3), mirrored=st.booleans(), seed=st.integers(0, 1000))
def test_turn_and_mirror_change_nothing(quarters: int, mirrored: bool, seed: int):
    """A quarter turn of the image, or its mirror, has the same measures."""
    random = np.random.default_rng(seed)
    bumps = [disc(random.uniform(8, 20), centre=tuple(random.uniform(50, 78, 2))) for _ in range(4)]
    image = np.max([*bumps, disc(10)], axis=0)
    turned = np.rot90(image, quarters)[:, :: -1 if mirrored else 1].copy()

    assert dict(measured(turned).values) == pytest.approx(dict(measured(image).values), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(0.6, 1.8), by_magnification=st.booleans())
def test_scale_multiplies_lengths_and_squares_areas(factor: float, by_magnification: bool):
    """Twice the spacing, or twice the magnification: twice the lengths, four times the area, the same shape."""
    image = ellipse((30, 20), turned=0.4, centre=(66, 61))
    changes = {"magnification": factor} if by_magnification else {"spacing_mm": (0.01 * factor, 0.01 * factor)}
    powers = {"area": 2, "perimeter": 1, "feret-max": 1, "feret-min": 1, "centroid-offset": 1}
    before, after = measured(image).values, measured(image, **changes).values

    assert dict(after) == pytest.approx({name: value * factor ** powers.get(name, 0) for name, value in before.items()})


def test_magnification_is_told():
    """Who reads the values must know that they were corrected."""
    assert measured(disc(30), magnification=1.08).notes[1:] == (
        "Lengths multiplied by 1.0800 for the eye's magnification.",
    )


@settings(max_examples=100, deadline=None)
@given(points=stars)
def test_ferets_are_what_trying_every_direction_finds(points: Points):
    """Rotating calipers against the distances of all corners, and against ten thousand widths."""
    largest, smallest = ferets(points)
    apart = points[:, None] - points[None]
    angles = np.linspace(0, np.pi, 10_000)
    shadows = points @ np.stack([np.cos(angles), np.sin(angles)])
    widths = shadows.max(axis=0) - shadows.min(axis=0)

    assert largest == pytest.approx(np.hypot(apart[..., 0], apart[..., 1]).max())
    assert smallest == pytest.approx(widths.min(), rel=2e-3)
    assert smallest <= widths.min() + 1e-9


def test_rectangle_has_the_measures_of_a_rectangle():
    """Corners, edges that are parallel, and a way round against the clock."""
    for points in (CORNERS, CORNERS[::-1]):
        found = measure_polygon(points + 1e6)

        assert (found.area, found.perimeter) == pytest.approx((12, 14))
        assert (found.feret_max, found.feret_min) == pytest.approx((5, 3))
        assert found.axial_ratio == pytest.approx(4 / 3)
        assert found.centroid == pytest.approx((1e6 + 2, 1e6 + 1.5))


CORNERS = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])


@settings(max_examples=30, deadline=None)
@given(points=stars, x=st.integers(-15, 15), y=st.integers(-15, 15))
def test_pixels_are_painted_whose_centre_is_inside(points: Points, x: int, y: int):
    """Every pixel agrees with the question asked of its centre alone, also where the polygon leaves the image."""
    moved = points + np.array([x, y])
    painted = paint_polygon(moved, 40, 36)

    assert [[contains(moved, c + 0.5, r + 0.5) for c in range(36)] for r in range(40)] == painted.tolist()


@pytest.mark.parametrize("away", [(0, -50), (0, 50), (-50, 0), (50, 0)], ids=["above", "below", "left", "right"])
def test_polygon_beyond_the_image_paints_nothing(away: tuple[int, int]):
    """On whichever side it lies."""
    assert not paint_polygon(CORNERS + np.array(away), 9, 9).any()


def test_pixel_centre_on_an_edge_belongs_to_one_side():
    """Two polygons that share an edge along pixel centres share no pixel, and leave none out."""
    left = np.array([[0.0, 0.0], [PX / 2 + 0.5, 0.0], [PX / 2 + 0.5, PX], [0.0, PX]])
    right = np.array([[PX / 2 + 0.5, 0.0], [PX, 0.0], [PX, PX], [PX / 2 + 0.5, PX]])

    assert (paint_polygon(left, PX, PX) ^ paint_polygon(right, PX, PX)).all()


def test_long_eye_has_a_larger_retina():
    """Littmann's formula in Bennett's form: (axial - 1.82) / (device's - 1.82)."""
    assert littmann_bennett(26.0, 24.0) == pytest.approx(24.18 / 22.18)
    assert littmann_bennett(24.0, 24.0) == 1


@pytest.mark.parametrize(("axial_mm", "device_mm"), [(17.9, 24), (40.1, 24), (24, 2.4), (float("nan"), 24), (24, 240)])
def test_axial_length_that_is_none_is_refused(axial_mm: float, device_mm: float):
    """Centimetres, tenths and nothing at all are typing errors."""
    with pytest.raises(ValueError, match="hint: is it mm"):
        littmann_bennett(axial_mm, device_mm)
