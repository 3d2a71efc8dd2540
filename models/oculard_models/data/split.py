"""Who trains, tunes, calibrates and tests: by person, never by photograph; seeded, and written down."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, isclose
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oculard_models.data.table import Table

PARTS = ("training", "tuning", "calibration", "test")
SHARES = (0.60, 0.10, 0.10, 0.20)  # of the persons, in the order of PARTS
STREAM = 104  # of random numbers: see data/paint.py
FILE_BYTES_MAX = 256 << 20

Persons = tuple[str, ...]


class SplitWrong(ValueError):
    """Persons cannot be split so, or a written split is not of this table. The message names no person."""


@dataclass(frozen=True, slots=True)
class Split:
    """The persons of each part. Nobody is in two of them."""

    seed: int
    training: Persons
    tuning: Persons
    calibration: Persons
    test: Persons
    shares: tuple[float, float, float, float] = SHARES

    def __post_init__(self) -> None:
        place: dict[str, str] = {}
        for part in PARTS:
            for number, person in enumerate(self.of(part), start=1):
                if person in place:
                    words = f"person {number} of `{part}` is in `{place[person]}` already"
                    raise SplitWrong(f"{words}; hint: a person belongs to one part only, once")
                place[person] = part

    def of(self, part: str) -> Persons:
        """Return the persons of one of PARTS."""
        if part not in PARTS:
            raise SplitWrong(f"there is no part `{part}` in a split; hint: one of {', '.join(PARTS)}")
        persons: Persons = getattr(self, part)
        return persons


class _Written(BaseModel):
    """A split as a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["oculard-split"] = "oculard-split"
    seed: Annotated[int, Field(ge=0)]
    shares: tuple[float, float, float, float]
    table: str
    table_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    training: Persons
    tuning: Persons
    calibration: Persons
    test: Persons


def split_persons(persons: Collection[str], seed: int, shares: tuple[float, float, float, float] = SHARES) -> Split:
    """Split persons by chance; the same persons and seed give the same split, in whatever order they come.

    Every part whose share is above 0 gets somebody. Raises SplitWrong where there are too few persons for that.
    """
    if seed < 0 or any(share < 0.0 for share in shares) or not isclose(fsum(shares), 1.0, abs_tol=1e-6):
        raise SplitWrong(f"cannot split by seed {seed} and shares {shares}; hint: a seed from 0, shares that sum to 1")
    shuffled = _shuffled(persons, seed)
    sizes = _sizes(len(shuffled), shares)
    ends = np.cumsum((0, *sizes)).tolist()
    parts = [tuple(sorted(shuffled[start:end])) for start, end in pairwise(ends)]
    return Split(seed, parts[0], parts[1], parts[2], parts[3], shares)


def folds(persons: Collection[str], k: int, seed: int) -> list[tuple[Persons, Persons]]:
    """Return `k` pairs (others, held out): everyone is held out once. Raises SplitWrong for fewer than `k` persons."""
    shuffled = _shuffled(persons, seed)
    if not 2 <= k <= len(shuffled):
        raise SplitWrong(f"cannot make {k} folds of {len(shuffled)} persons; hint: from 2 folds to one a person")
    held = [frozenset(shuffled[start::k]) for start in range(k)]
    everyone = sorted(shuffled)
    return [(tuple(p for p in everyone if p not in out), tuple(sorted(out))) for out in held]


def write_split(split: Split, table: Table, path: Path) -> None:
    """Write a split as JSON, with the digest of the table that its persons come from. Raises SplitWrong."""
    _must_be_known(split, table, str(path))
    written = _Written(
        seed=split.seed,
        shares=split.shares,
        table=table.name,
        table_sha256=table.sha256,
        training=split.training,
        tuning=split.tuning,
        calibration=split.calibration,
        test=split.test,
    )
    path.write_text(written.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_split(path: Path, table: Table) -> Split:
    """Read a split of this table. Raises SplitWrong: broken, of another table, or with a person in two parts."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as why:
        raise SplitWrong(f"{path} cannot be read: {why.strerror}") from why
    if len(data) > FILE_BYTES_MAX:
        raise SplitWrong(f"{path} is larger than {FILE_BYTES_MAX >> 20} MiB; that is no split")
    try:
        written = _Written.model_validate_json(data)
    except ValidationError as why:
        first = why.errors()[0]
        raise SplitWrong(f"{path} is no split: {'.'.join(map(str, first['loc']))}: {first['msg']}") from why
    if written.table_sha256 != table.sha256:
        raise SplitWrong(
            f"{path} splits another table (`{written.table}`, sha256 {written.table_sha256[:12]}),"
            f" not `{table.name}` ({table.sha256[:12]}); hint: was the table changed since? then split it anew"
        )
    try:
        split = Split(written.seed, written.training, written.tuning, written.calibration, written.test, written.shares)
    except SplitWrong as why:
        raise SplitWrong(f"{path}: {why}") from None
    _must_be_known(split, table, str(path))
    return split


def _must_be_known(split: Split, table: Table, name: str) -> None:
    """Make sure that the table has everyone."""
    everyone = frozenset(table.persons)
    for part in PARTS:
        unknown = sum(person not in everyone for person in split.of(part))
        if unknown:
            raise SplitWrong(f"{name}: {unknown} persons of `{part}` are not in the table `{table.name}`")


def _shuffled(persons: Collection[str], seed: int) -> list[str]:
    """Return everyone once, in an order that follows from the seed alone."""
    everyone = sorted(set(persons))
    order = np.random.default_rng([STREAM, seed]).permutation(len(everyone))
    return [everyone[at] for at in order]


def _sizes(count: int, shares: tuple[float, ...]) -> list[int]:
    """Deal persons out by their shares: at least one where the share is above 0, the rest by largest remainder."""
    asked = sum(share > 0.0 for share in shares)
    if count < asked:
        raise SplitWrong(f"{count} persons are too few for {asked} parts; hint: more people, or a share of 0")
    sizes = [max(int(count * share + 1e-9), int(share > 0.0)) for share in shares]
    while sum(sizes) != count:
        step = 1 if sum(sizes) < count else -1
        open_to = [k for k, share in enumerate(shares) if share > 0.0 and sizes[k] + step >= 1]
        sizes[max(open_to, key=lambda k: step * (count * shares[k] - sizes[k]))] += step
    return sizes
