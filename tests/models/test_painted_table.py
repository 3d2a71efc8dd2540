"""Painted studies: pictures, and the table of what is planted in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from oculard_models.data.paint import paint
from oculard_models.data.painted_table import FIRST_SEED, PEOPLE_MAX, SEED_MAX, paint_table
from oculard_models.data.person import sample_person
from oculard_models.data.photographs import read_pixels
from oculard_models.data.table import TARGETS, read_table
from oculard_models.lab import painting

pytest.importorskip("polars", reason="polars is not installed (extra `lab`)")


def test_table_says_what_is_planted(tmp_path: Path):
    """Every row's picture is the eye of a person with the row's attributes."""
    table = read_table(paint_table(tmp_path, 3, 2, size_px=64))
    number = FIRST_SEED + 2 * PEOPLE_MAX + 1
    person = sample_person(np.random.default_rng([106, number]))
    left = table.photographs[3]

    assert [(p.person, p.eye) for p in table.photographs][2:4] == [("painted-000001", "R"), ("painted-000001", "L")]
    assert dict(left.values) == {name: getattr(person, name) for name in TARGETS[1:]} | {
        "sex": float(person.sex == "M")
    }
    np.testing.assert_array_equal(read_pixels(left.path), paint(person, "L", number, 64))


def test_same_arguments_give_the_same_bytes(tmp_path: Path):
    """And a smaller study is the beginning of a larger one."""
    small = paint_table(tmp_path / "small", 2, 1, size_px=48, eyes="R")
    again = paint_table(tmp_path / "again", 2, 1, size_px=48, eyes="R")
    large = paint_table(tmp_path / "large", 3, 1, size_px=48, eyes="R")

    assert small.read_bytes() == again.read_bytes() == large.read_bytes()[: small.stat().st_size]
    for path in small.parent.glob("*.png"):
        assert path.read_bytes() == (large.parent / path.name).read_bytes()


def test_seeds_meet_nobody_elses():
    """No study paints a person whom `oculard-lab paint` or a training of the demonstration paints."""
    assert FIRST_SEED > 1000 * painting.PEOPLE_MAX
    assert (FIRST_SEED + (SEED_MAX + 1) * PEOPLE_MAX) >> 32 < 2**32  # two words of numpy's, the upper one above 2
    assert FIRST_SEED >> 32 > 2


@pytest.mark.parametrize("wrong", [{"people": 0}, {"seed": -1}, {"seed": 1000}, {"eyes": "B"}, {"size_px": 8}])
def test_impossible_study_is_refused(tmp_path: Path, wrong: dict[str, object]):
    """A study has people, a seed and an eye."""
    with pytest.raises(ValueError, match="expected"):
        paint_table(tmp_path, **({"people": 1, "seed": 1, "size_px": 48} | wrong))  # type: ignore[arg-type]
