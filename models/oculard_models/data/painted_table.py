"""A study of people who do not exist: painted photographs as PNG files, and the table of what is planted in them."""

from __future__ import annotations

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from oculard_models.data.paint import paint
from oculard_models.data.person import Person, sample_person
from oculard_models.data.table import TARGETS

STREAM = 106  # of random numbers, for the people: see data/paint.py
# Studies paint from here on, a million a seed: above what `oculard-lab paint` (below 10**9) and trainings of the
# demonstration (from 10**9 on) reach. numpy splits a number of this size into two words, whose upper one is no side
# of an eye and no shot, so that the painter's streams do not meet either.
FIRST_SEED = 2**40
PEOPLE_MAX, SEED_MAX = 1_000_000, 999
TABLE = "table.csv"

Eyes = Literal["R", "L", "both"]


def paint_table(folder: Path, people: int, seed: int, *, size_px: int, eyes: Eyes = "both") -> Path:
    """Paint people into `folder` and return the table; the same arguments give the same bytes.

    A smaller study of the same seed has the first people of a larger one. Raises ValueError.
    """
    if not (1 <= people <= PEOPLE_MAX and 0 <= seed <= SEED_MAX):
        raise ValueError(f"expected 1 to {PEOPLE_MAX} people and a seed of 0 to {SEED_MAX}, got {people} and {seed}")
    if eyes not in ("R", "L", "both"):
        raise ValueError(f"expected eyes `R`, `L` or `both`, got `{eyes}`")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TABLE
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "person", "eye", *TARGETS])
        writer.writeheader()
        for index in range(people):
            number = FIRST_SEED + seed * PEOPLE_MAX + index
            person = sample_person(np.random.default_rng([STREAM, number]))
            for eye in "RL" if eyes == "both" else eyes:
                writer.writerow(_row(folder, person, eye, number, size_px) | {"person": f"painted-{index:06d}"})
    return path


def _row(folder: Path, person: Person, eye: str, number: int, size_px: int) -> dict[str, object]:
    """Paint one eye and return what the table says of it."""
    name = f"{number - FIRST_SEED:09d}_{eye}.png"
    Image.fromarray(paint(person, eye, number, size_px)).save(folder / name)
    return {"path": name, "eye": eye, **asdict(person)}
