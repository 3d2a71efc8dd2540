"""Do the figures on masks say what the papers mean by them?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from oculard_models.evaluate.masks import agreement, dice, hausdorff95, summary

SQUARE = np.zeros((40, 60), dtype=bool)
SQUARE[10:20, 10:30] = True


def moved(rows: int) -> np.ndarray:
    """Return the square so many rows further down."""
    return np.roll(SQUARE, rows, axis=0)


def test_dice_counts_what_is_common():
    """Half in common is 0.5, nothing is 0, all is 1, and two empty masks agree."""
    assert dice(SQUARE, moved(5)) == 0.5
    assert dice(SQUARE, moved(10)) == 0.0
    assert dice(SQUARE, SQUARE) == 1.0
    assert dice(~(SQUARE | True), ~(SQUARE | True)) == 1.0


@given(st.integers(1, 15))
def test_hausdorff_is_the_shift(rows: int):
    """A mask that is moved by so many rows is so far away; percentiles leave out the farthest twentieth only."""
    assert hausdorff95(SQUARE, moved(rows)) == pytest.approx(rows, abs=0.5)


@given(*(arrays.arrays(bool, (12, 12)) for _ in range(2)))
def test_figures_do_not_depend_on_who_comes_first(one: np.ndarray, two: np.ndarray):
    """Both figures are symmetric; Dice lies within 0 and 1."""
    assert dice(one, two) == dice(two, one)
    assert 0.0 <= dice(one, two) <= 1.0
    if one.any() and two.any():
        assert hausdorff95(one, two) == hausdorff95(two, one)


def test_what_was_not_found_counts_as_nothing():
    """It lowers the mean Dice, has no distance, and is counted."""
    found = [agreement("a", "deep", SQUARE, SQUARE), agreement("b", "deep", SQUARE, None)]
    whole = summary(found)
    assert (whole.pictures, whole.dice_mean, whole.dice_least, whole.not_found) == (2, 0.5, 0.0, 1)
    assert whole.hausdorff95_px == 0.0


def test_limits_of_agreement_hold_bias_and_spread():
    """Areas that are always a tenth too large have that bias and no spread; correlation is that of the areas."""
    found = []
    for size in (8, 10, 12):
        truth = np.zeros((100, 100), dtype=bool)
        truth[:size, :10] = True
        larger = truth.copy()
        larger[50, :10] = True
        found.append(agreement(str(size), "", truth, larger))
    whole = summary(found)
    assert whole.area_bias == pytest.approx(0.001)
    assert whole.area_low == pytest.approx(whole.area_high) == pytest.approx(0.001)
    assert whole.pearson_r == pytest.approx(1.0)
