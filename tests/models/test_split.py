"""Splits: by person, seeded, written down, and refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import people, write_table

from oculard_models.data.split import PARTS, Split, SplitWrong, folds, read_split, split_persons, write_split
from oculard_models.data.table import Table, read_table

PERSONS = st.sets(st.text(min_size=1, max_size=6), min_size=4, max_size=30)
SEEDS = st.integers(0, 10_000)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A study of ten people."""
    pytest.importorskip("polars", reason="polars is not installed (extra `lab`)")
    return read_table(write_table(tmp_path, people(10)))


@settings(max_examples=40)
@given(persons=PERSONS, seed=SEEDS)
def test_everybody_is_in_one_part(persons: set[str], seed: int):
    """The parts hold everyone once, whatever the order in which people come, and nobody is without a part."""
    split = split_persons(sorted(persons), seed)
    parts = [split.of(part) for part in PARTS]

    assert sorted(person for part in parts for person in part) == sorted(persons)
    assert all(parts)
    assert split == split_persons(sorted(persons, reverse=True), seed)


@settings(max_examples=40)
@given(persons=PERSONS, seed=SEEDS, k=st.integers(2, 4))
def test_folds_hold_everybody_out_once(persons: set[str], seed: int, k: int):
    """Each fold's two sides are everyone, and the sides held out are everyone once."""
    pairs = folds(persons, k, seed)

    assert sorted(person for _, held in pairs for person in held) == sorted(persons)
    assert all(set(others) | set(held) == persons and not set(others) & set(held) for others, held in pairs)


@given(count=st.integers(4, 3000), cuts=st.tuples(*[st.floats(0.01, 1.0)] * 4))
def test_sizes_follow_the_shares(count: int, cuts: tuple[float, ...]):
    """A part is never further from its share than rounding, and the one person that it is owed, ask for."""
    shares = tuple(cut / sum(cuts) for cut in cuts)
    split = split_persons([str(n) for n in range(count)], 1, (shares[0], shares[1], shares[2], shares[3]))

    for part, share in zip(PARTS, shares, strict=True):
        assert abs(len(split.of(part)) - count * share) < 4


def test_seeds_differ_and_shares_of_nothing_stay_empty():
    """Another seed is another split; a share of 0 asks for nobody."""
    persons = [f"p{n}" for n in range(50)]

    assert split_persons(persons, 1) != split_persons(persons, 2)
    assert [len(split_persons(persons, 1).of(part)) for part in PARTS] == [30, 5, 5, 10]
    assert split_persons(persons, 1, (0.8, 0.2, 0.0, 0.0)).test == ()


def test_person_in_two_parts_is_refused():
    """Whoever trains must not test; the message says where, not who."""
    with pytest.raises(SplitWrong, match="person 2 of `test` is in `training` already") as caught:
        Split(1, ("ann", "bob"), ("cid",), (), ("dan", "bob"))

    assert "bob" not in str(caught.value)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5, 0.5), (1.2, -0.2, 0.0, 0.0), (float("nan"), 0.5, 0.25, 0.25)])
def test_impossible_shares_are_refused(shares: tuple[float, float, float, float]):
    """Shares are parts of one whole."""
    with pytest.raises(SplitWrong, match="shares that sum to 1"):
        split_persons(["a", "b", "c", "d"], 1, shares)


def test_too_few_persons_are_refused():
    """Three people cannot be four parts, nor four folds."""
    with pytest.raises(SplitWrong, match="3 persons are too few for 4 parts"):
        split_persons(["a", "b", "c"], 1)
    with pytest.raises(SplitWrong, match="cannot make 4 folds of 3 persons"):
        folds(["a", "b", "c"], 4, 1)


def test_written_split_is_read_again(table: Table, tmp_path: Path):
    """What was written is what is read, with seed, shares and the table's digest."""
    split = split_persons(table.persons, 7)
    write_split(split, table, tmp_path / "split.json")
    written = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))

    assert read_split(tmp_path / "split.json", table) == split
    assert (written["seed"], written["table_sha256"]) == (7, table.sha256)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": ["p0"], "training": ["p0"], "tuning": [], "calibration": []}, "person 1 of `test` is in `training`"),
        ({"training": ["nobody"]}, "1 persons of `training` are not in the table `table.csv`"),
        ({"table_sha256": "0" * 64}, "splits another table"),
        ({"training": "p0"}, "is no split: training"),
        ({"training": [1]}, "is no split: training.0"),
        ({"seed": -1}, "is no split: seed"),
        ({"more": 1}, "is no split: more"),
        ({"kind": "other"}, "is no split: kind"),
    ],
)
def test_altered_split_is_refused(table: Table, tmp_path: Path, change: dict[str, object], said: str):
    """A person in two parts, of another table, or anything that is no split."""
    path = tmp_path / "split.json"
    write_split(split_persons(table.persons, 7), table, path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")

    with pytest.raises(SplitWrong) as caught:
        read_split(path, table)

    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_broken_split_is_refused(table: Table, tmp_path: Path, content: bytes):
    """What is no JSON of ours is refused in words."""
    (tmp_path / "split.json").write_bytes(content)

    with pytest.raises(SplitWrong, match="is no split"):
        read_split(tmp_path / "split.json", table)
    with pytest.raises(SplitWrong, match="cannot be read"):
        read_split(tmp_path / "none.json", table)
