"""The short form: a few hundred hostile inputs for everything that reads bytes, the same ones every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.mutation import mutated
from fuzz.running import Target, run
from fuzz.targets import TARGETS

SEED = 4


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hostile_bytes_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    """Every input ends with an answer in time: read, or refused by name; nothing crashes and nothing hangs."""
    result = run(target, tmp_path, seed=SEED, numbers=iter(range(target.short)))

    assert result.crashes == []
    assert result.inputs == target.short
    assert len(result.outcomes) > 1, "all the same: the inputs do not reach what they are for"


def test_a_number_gives_the_same_bytes_again() -> None:
    """What was found once can be found again."""
    seeds = [b"0123456789", b"abcdefghij"]

    assert [mutated(seeds, f"4:x:{n}") for n in range(50)] == [mutated(seeds, f"4:x:{n}") for n in range(50)]
    assert len({mutated(seeds, f"4:x:{n}") for n in range(50)}) > 40
