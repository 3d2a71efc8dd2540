"""Shots: at which step of which process somebody is killed, and the files by which the killer is told."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

KILLER = Path(__file__).parent / "killer"
SIDES = ("before", "after")
AGAIN = ", again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One death: of a role alone, or of the whole daemon at once."""

    role: str
    step: str
    number: int  # of this step in this role, counted from the orders; in a chore from its beginning
    side: str = "before"
    whole: bool = False
    again: bool = False  # on the way back from another death

    @property
    def chore(self) -> str:
        """The chore or the heartbeat that dies, which comes by the clock; "" for what a study takes."""
        return self.step.rpartition(".")[0]

    @property
    def kind(self) -> str:
        """What the tally counts it as."""
        return f"{self.step}{AGAIN if self.again else ''}"

    def __str__(self) -> str:
        everybody = ", all killed" if self.whole else ""
        return f"{self.role}: {self.side} {self.step} {self.number}{everybody}{AGAIN if self.again else ''}"


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

    def give(self, shot: Shot, *, then: Shot | None = None) -> None:
        """From now on the steps are counted. `then`: holds from the first death on, before anybody is back."""
        for name, one in (("orders.then", then), ("orders", shot)):
            if one is not None:
                draft = self.folder / "draft"
                draft.write_text(json.dumps(asdict(one)))
                _begin(draft)
                os.replace(draft, self.folder / name)

    @property
    def left(self) -> int:
        """How many deaths are still to come; who dies puts the second order in the place of the first."""
        return sum((self.folder / name).exists() for name in ("orders", "orders.then"))

    @property
    def are_open(self) -> bool:
        """Whether not all of them were obeyed yet."""
        return self.left > 0

    def withdraw(self) -> bool:
        """Nobody shall die any more; whether the orders were still open."""
        was_open = self.are_open
        for name in ("orders.then", "orders"):
            (self.folder / name).unlink(missing_ok=True)
        return was_open

    def record(self) -> None:
        """Begin to write down each step."""
        draft = self.folder / "draft"
        draft.touch()
        _begin(draft)
        os.replace(draft, self.folder / "record")

    def recorded(self) -> Counter[tuple[str, str]]:
        """How often each role took each step since then, of a chore in one go; ends the recording."""
        lines = (self.folder / "record").read_text().splitlines()
        (self.folder / "record").unlink()
        steps: Counter[tuple[str, str]] = Counter()
        for role, step, number in (line.split(" ") for line in lines):
            steps[role, step] = max(steps[role, step], int(number))
        return steps

    def set_clock(self, seconds: float) -> None:
        """The clock of the processes is so wrong from now on."""
        (self.folder / "clock.looks").unlink(missing_ok=True)  # who saw this time before has to look again
        draft = self.folder / "draft"
        draft.write_text(str(seconds))
        os.replace(draft, self.folder / "clock")

    def have_looked(self) -> set[int]:
        """The processes whose loop has seen the clock as it is now."""
        looks = self.folder / "clock.looks"
        now = float((self.folder / "clock").read_text())
        lines = looks.read_text().splitlines() if looks.exists() else []
        return {int(pid) for pid, seconds in (line.split() for line in lines) if float(seconds) == now}


def _begin(file: Path) -> None:
    """By this time, which reading does not change, each process knows orders and recordings apart."""
    os.utime(file, ns=(time.time_ns(), time.time_ns()))


def every(steps: Counter[tuple[str, str]]) -> Iterator[Shot]:
    """Before and after each step that was recorded; a server's single statement is known when it has happened."""
    for (role, step), count in sorted(steps.items()):
        for number in range(1, count + 1):
            for side in SIDES if not step.endswith("statement") else ("after",):
                yield Shot(role=role, step=step, number=number, side=side)
