"""Shots: at which step of which process somebody is killed, and the files by which the killer is told."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

KILLER = Path(__file__).parent / "killer"
SIDES = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One death: of a role alone, or of the whole daemon at once."""

    role: str
    step: str
    number: int  # of this step in this role, counted from the orders
    side: str = "before"
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.role}: {self.side} {self.step} {self.number}{', all killed' if self.whole else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The files between the harness and the processes under test."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a daemon under test is started with."""
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(KILLER), os.environ.get("PYTHONPATH")))),
            "KILL_ORDERS": str(self.folder / "orders"),
            "KILL_RECORD": str(self.folder / "record"),
            "CLOCK_OFFSET": str(self.folder / "clock"),
        }

    def give(self, shot: Shot) -> None:
        """From now on the steps are counted."""
        draft = self.folder / "draft"
        draft.write_text(json.dumps(asdict(shot)))
        os.replace(draft, self.folder / "orders")

    @property
    def are_open(self) -> bool:
        """Whether nobody has obeyed yet."""
        return (self.folder / "orders").exists()

    def withdraw(self) -> bool:
        """Nobody shall die any more; whether the orders were still open."""
        was_open = self.are_open
        (self.folder / "orders").unlink(missing_ok=True)
        return was_open

    def record(self) -> None:
        """Begin to write down each step."""
        (self.folder / "record").touch()

    def recorded(self) -> Counter[tuple[str, str]]:
        """How often each role took each step since then; ends the recording."""
        lines = (self.folder / "record").read_text().splitlines()
        (self.folder / "record").unlink()
        return Counter((role, step) for role, step in (line.split() for line in lines if line[0] != " "))

    def set_clock(self, seconds: float) -> None:
        """The clock of the processes is so wrong from now on."""
        (self.folder / "clock").write_text(str(seconds))


def every(steps: Counter[tuple[str, str]]) -> Iterator[Shot]:
    """Before and after each step that was recorded."""
    for (role, step), count in sorted(steps.items()):
        for number in range(1, count + 1):
            for side in SIDES:
                yield Shot(role=role, step=step, number=number, side=side)
