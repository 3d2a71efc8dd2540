"""Which structure is found in a map of probabilities, and what is said where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from structure_samples import DISC, FAZ, PX, Map, disc, measured

from oculard_models import structures
from oculard_models.contract import Measured, Qualifier
from oculard_models.manifest import Mask, Structure

IN_MM = {"area", "perimeter", "feret-max", "feret-min", "centroid-offset"}


def all_missing(found: Measured, why: Qualifier) -> bool:
    """Tell whether every measure has the same reason and no value."""
    return not found.values and found.missing == dict.fromkeys(structures.MEASURES[Structure.FAZ], why)


def test_every_measure_has_a_value_in_the_table_s_order():
    """With a spacing nothing is missing, and the notes say the spacing."""
    found = measured(disc(30))

    assert list(found.values) == list(structures.MEASURES[Structure.FAZ])
    assert (found.reason, dict(found.missing)) == ("", {})
    assert found.notes == ("Pixel spacing 0.01 x 0.01 mm.",)


def test_without_spacing_nothing_is_in_mm():
    """What has a unit of length was not attempted, the rest is there, and the notes say that pixels count as square."""
    found = measured(disc(30), spacing_mm=None)

    assert found.missing == dict.fromkeys(IN_MM, Qualifier.NOT_ATTEMPTED)
    assert set(found.values) == set(structures.MEASURES[Structure.FAZ]) - IN_MM
    assert found.notes == ("No pixel spacing: nothing in mm; pixels taken as square.",)


def test_largest_component_at_the_fovea_is_taken():
    """A larger gap between vessels far from the centre is none, nor is a smaller one at the centre beside a larger."""
    image = np.maximum(disc(20, centre=(70, 64)), disc(9, centre=(30, 64)))  # both within 0.5 mm of the centre
    outside = disc(30, centre=(200, 200), size=(256, 256))

    assert measured(image).values["area-px"] == pytest.approx(np.pi * 20**2, rel=0.01)
    centred = np.maximum(outside, disc(12, centre=(128, 128), size=(256, 256)))
    assert measured(centred).values["area-px"] == pytest.approx(np.pi * 12**2, rel=0.015)
    assert measured(outside).reason == structures.NO_STRUCTURE


@pytest.mark.parametrize(("distance", "reason"), [(69, ""), (72, structures.NO_STRUCTURE)])
def test_component_within_half_a_millimetre_counts(distance: int, reason: str):
    """The edge of a disc of 20 pixels is nearer than 50 pixels of 0.01 mm to the image's centre, or is not."""
    assert measured(disc(20, centre=(128 + distance, 128), size=(256, 256))).reason == reason


@pytest.mark.parametrize(("distance", "reason"), [(61, ""), (64, structures.NO_STRUCTURE)])
def test_without_spacing_a_sixth_of_the_width_counts(distance: int, reason: str):
    """The same with 42.7 pixels, of 256."""
    image = disc(20, centre=(128 + distance, 128), size=(256, 256))

    assert measured(image, spacing_mm=None).reason == reason


def test_optic_disc_may_lie_anywhere():
    """The largest component counts wherever it is."""
    image = np.maximum(disc(30, centre=(200, 60), size=(256, 256)), disc(26, centre=(128, 128), size=(256, 256)))

    found = measured(image, mask=DISC)
    assert found.shape is not None
    assert found.values["area-px"] == pytest.approx(np.pi * 30**2, rel=0.01)
    assert found.shape.outline.mean(axis=0) == pytest.approx((200, 60), abs=1)


def test_component_that_is_too_small_is_none():
    """0.02 mm2 are a disc of 8 pixels; without a spacing 0.2 % of the image are one of 3.2."""
    assert measured(disc(7)).reason == structures.NO_STRUCTURE
    assert measured(disc(9)).reason == ""
    assert measured(disc(3, edge=0), spacing_mm=None).reason == structures.NO_STRUCTURE
    assert measured(disc(4, edge=0), spacing_mm=None).reason == ""


def test_holes_are_filled():
    """A vessel that the network saw within the zone takes nothing away."""
    whole, holed = disc(30), disc(30) - disc(9)

    assert measured(holed).values == pytest.approx(measured(whole).values, rel=1e-3)
    found = measured(holed).shape
    assert found is not None
    assert found.mask[PX // 2, PX // 2]


def test_structure_cut_by_the_border_is_shown_but_not_measured():
    """Where a part is missing every figure would be wrong; the shape stays within the image."""
    found = measured(disc(30, centre=(20, 64)))

    assert found.reason == structures.TOUCHES_BORDER
    assert all_missing(found, Qualifier.INDETERMINATE)
    assert found.shape is not None
    assert found.shape.outline.min() == pytest.approx(0, abs=1e-3)
    assert found.shape.mask[64, 0]


def test_structure_cut_by_what_the_network_saw_is_not_measured():
    """The network sees the middle of the image only: what leaves its view is cut as well."""
    seen = disc(30, centre=(20, 64))
    found = measured(seen, box=(64.0, 64.0, 192.0, 192.0), image_size=(256, 256))

    assert found.reason == structures.TOUCHES_BORDER


def test_structure_beyond_the_image_is_none():
    """What a network sees in the black beyond the frame is not there."""
    seen = disc(28, centre=(30, 64))

    assert measured(seen, mask=DISC, box=(-64.0, 0.0, 64.0, 128.0), image_size=(128, 64)).reason == "no-structure"


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.01, 1.01, 1e30])
def test_what_is_no_probability_is_not_measured(wrong: float):
    """One number that is none is enough."""
    image = disc(30)
    image[3, 5] = wrong

    found = measured(image)
    assert (found.reason, found.shape) == (structures.NO_NUMBERS, None)
    assert all_missing(found, Qualifier.FAILURE)


def single(row: int, column: int) -> Map:
    """Make a map with one pixel."""
    image = np.zeros((PX, PX), dtype=np.float32)
    image[row, column] = 1
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((PX, PX)), structures.NO_STRUCTURE),
        (np.ones((PX, PX)), structures.TOUCHES_BORDER),
        (np.full((PX, PX), 0.5), structures.NO_STRUCTURE),
        (np.ones((1, 1)), structures.NO_STRUCTURE),  # a pixel of 0.01 mm
        (single(64, 64), structures.NO_STRUCTURE),
        (single(0, 0), structures.NO_STRUCTURE),
        (0.9 * (np.indices((PX, PX)).sum(axis=0) % 2), structures.NO_STRUCTURE),
        (np.indices((PX, PX))[0] % 2, structures.NO_STRUCTURE),
    ],
    ids=["zeros", "ones", "halves", "one cell", "pixel", "corner", "checkerboard", "stripes"],
)
def test_degenerate_maps_have_a_clear_outcome(image: Map, reason: str):
    """Nothing, everything, specks and patterns."""
    assert measured(image.astype(np.float32)).reason == reason


@settings(max_examples=200, deadline=None)
@given(
    image=shapes.arrays(
        np.float32, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.floats(width=32), fill=st.just(0.7)
    )
    | shapes.arrays(
        np.float32,
        st.tuples(st.integers(1, 24), st.integers(1, 24)),
        elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    ),
    mask=st.sampled_from([FAZ, DISC]),
    spacing=st.none() | st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)),
    image_size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_any_map_ends_in_values_or_reasons(
    image: Map, mask: Mask, spacing: tuple[float, float] | None, image_size: tuple[int, int]
):
    """Every measure has a finite value or a reason, never both, and a shape fits the image."""
    rows, columns = image_size
    found = measured(image, mask=mask, spacing_mm=spacing, image_size=image_size, box=(0.0, 0.0, columns, rows))

    assert set(found.values) | set(found.missing) == set(structures.MEASURES[mask.structure])
    assert not set(found.values) & set(found.missing)
    assert np.isfinite(list(found.values.values())).all()
    assert (found.shape is None) == (found.reason in (structures.NO_NUMBERS, structures.NO_STRUCTURE))
    if found.shape is not None:
        assert found.shape.mask.shape == image_size
        assert (found.shape.outline >= 0).all()
        assert (found.shape.outline <= (columns, rows)).all()


def test_outline_of_a_large_image_is_painted_whole():
    """A small map on an image of 4096 x 4096 pixels: as many pixels as the outline has area, to their edge."""
    found = measured(disc(40), image_size=(4096, 4096), box=(0.0, 0.0, 4096.0, 4096.0), spacing_mm=None)

    assert found.shape is not None
    assert found.shape.mask.shape == (4096, 4096)
    assert found.shape.mask.sum() == pytest.approx(found.values["area-px"], rel=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": (0.0, 0.01)},
        {"spacing_mm": (0.01, float("nan"))},
        {"magnification": -1.0},
        {"magnification": float("inf")},
        {"image_size": (0, 5)},
        {"box": (5.0, 0.0, 5.0, 9.0)},
        {"box": (0.0, float("nan"), 5.0, 9.0)},
    ],
    ids=str,
)
def test_caller_that_is_wrong_is_told(wrong: dict[str, object]):
    """A spacing of 0 is not a spacing: who gives it has not looked."""
    with pytest.raises(ValueError, match="expected"):
        measured(disc(30), **wrong)


def test_map_must_be_a_plane():
    """A batch is not measured by mistake."""
    with pytest.raises(ValueError, match="expected height x width"):
        structures.measure(
            disc(9)[None], mask=DISC, box=(0.0, 0.0, 9.0, 9.0), image_size=(9, 9), spacing_mm=None
        )  # fmt: skip
