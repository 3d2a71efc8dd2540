"""Kills: which deaths there are, and what became of them. Found by recording one study, so that none is forgotten."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweep.steps import Shot, every
from sweep.tracing import CannotAttach, Injection, why_not
from sweep.world import World

INSIDE = {"sync": ("fsync", "fdatasync"), "write": ("pwrite64",), "truncate": ("ftruncate",)}  # of SQLite
NUMBERS = {"sync": (1, 2, 3), "write": (1, 2, 3, 4, 5, 8, 13, 21), "truncate": (1,)}
SQLITE_ROLES = ("intake", "worker", "sender", "upkeep", "fetcher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A death at the n-th system call of a thread on the database's files."""

    role: str
    step: str
    number: int

    def __str__(self) -> str:
        return f"{self.role}: SQLite's {self.step} {self.number}"

    def injection(self, database: Path) -> Injection:
        """As strace does it."""
        paths = (database, database.with_name(f"{database.name}-wal"))
        return Injection(calls=INSIDE[self.step], paths=paths, how="signal=KILL", when=str(self.number))


@dataclass(slots=True)
class Tally:
    """How often each kind of death was tried, and how often somebody died of it."""

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    died: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def text(self) -> str:
        """One line a kind of death."""
        lines = [f"{'process':10} {'step':18} {'tried':>6} {'died':>6}"]
        lines += [
            f"{role:10} {step:18} {n:6} {self.died[role, step]:6}" for (role, step), n in sorted(self.tried.items())
        ]
        total = f"{self.tried.total()} shots, {self.died.total()} deaths, {len(self.wrong)} broken promises"
        return "\n".join([*lines, total, *self.wrong])


def all_deaths(world: World, *, seed: int) -> list[Shot | Call]:
    """Every step of every role on both sides, each with the whole daemon too, and SQLite's calls, in random order.

    In random order, because a role that dies again at once is started later each time.
    """
    shots: list[Shot | Call] = []
    for shot in recorded(world):
        shots.append(shot)
        if shot.side == "before":
            shots.append(Shot(role=shot.role, step=shot.step, number=shot.number, whole=True))
    if not why_not() and not world.database.startswith("postgresql"):
        shots += [
            Call(role=role, step=step, number=n) for role in SQLITE_ROLES for step in INSIDE for n in NUMBERS[step]
        ]
    random.Random(seed).shuffle(shots)
    return shots


def some_deaths(world: World) -> list[Shot | Call]:
    """The short form: the middle one of each step of each role; before, after, and with all others, in turn."""
    by_kind: dict[tuple[str, str], list[Shot]] = {}
    for shot in recorded(world):
        if shot.side == "before":
            by_kind.setdefault((shot.step, shot.role), []).append(shot)
    shots: list[Shot | Call] = []
    for index, (_, kind) in enumerate(sorted(by_kind.items())):  # by step: the same role does not die twice in a row
        one = kind[len(kind) // 2]
        side, whole = (("before", False), ("after", False), ("before", True))[index % 3]
        shots.append(Shot(role=one.role, step=one.step, number=one.number, side=side, whole=whole))
    return shots


def recorded(world: World) -> Iterator[Shot]:
    """Every step of one study that came by the network, and of the fetcher of one that came by the watched folder."""
    world.study()  # the first one makes folders and loads what is loaded once
    world.study(watched=True)
    world.orders.record()
    world.study()
    steps = world.orders.recorded()
    world.orders.record()
    world.study(watched=True)
    fetched = world.orders.recorded()
    return every(steps + Counter({kind: n for kind, n in fetched.items() if kind[0] == "fetcher"}))


def run(world: World, deaths: Iterable[Shot | Call], told: Callable[[str], None] = lambda _: None) -> Tally:
    """One study a death; then the verdict over all of them."""
    tally = Tally()
    for number, death in enumerate(deaths, start=1):
        kind = (death.role, death.step if isinstance(death, Shot) else f"SQLite's {death.step}")
        tally.tried[kind] += 1
        has_died = _die(world, death)
        tally.died[kind] += has_died
        told(f"{number:4} {death}{'' if has_died else ' (not reached)'}")
    tally.wrong = world.verdict()
    return tally


def _die(world: World, death: Shot | Call) -> bool:
    if isinstance(death, Shot):
        return world.shoot(death)
    try:
        return world.shoot_call(death.role, death.injection(Path(world.database)))
    except CannotAttach:
        return False  # the role has just been started again, and is not there yet
