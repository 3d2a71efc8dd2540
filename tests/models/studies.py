"""Small studies for tests: a folder with photographs, and the table that says what is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

HEADER = "path,person,eye,sex,age"


def write_table(folder: Path, rows: Sequence[str], header: str = HEADER) -> Path:
    """Write a table of these rows; a first cell that is the name of a `.png` file becomes one."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        name = row.split(",")[0]
        if name.endswith(".png") and "/" not in name and not (folder / name).exists():
            write_photograph(folder / name)
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_photograph(path: Path, size: tuple[int, int] = (24, 32)) -> None:
    """Write a small colour picture."""
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def people(count: int) -> list[str]:
    """Return rows of `count` people with both eyes; sex and age follow from the number."""
    return [f"{n}{eye}.png,p{n},{eye},{'FM'[n % 2]},{30 + n}" for n in range(count) for eye in "RL"]
