"""Kills: which deaths there are, and what became of them. Found by recording one study, so that none is forgotten."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sweep.steps import Shot, every
from sweep.tracing import CannotAttach, Injection, why_not
from sweep.world import LEFT_BY, ROLES, World, make_world

TELLING = 0.8
INSIDE = {"sync": ("fsync", "fdatasync"), "write": ("pwrite64",), "truncate": ("ftruncate",)}  # of SQLite
NUMBERS = {"sync": (1, 2, 3), "write": (1, 2, 3, 4, 5, 8, 13, 21), "truncate": (1,)}
KEPT_S = 10.0  # after the last delivery: the next deaths find files that may go and files that may not
FIRST = ("pulse.commit", "pulse.statement")  # the heartbeat comes at once, all else by the clock comes when it comes
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
    left: Counter[str] = field(default_factory=Counter)  # by the dead, for the sweep of orphans
    studies: int = 0
    compared: int = 0

    def note(self, death: Shot | Call, has_died: bool) -> bool:
        """Count one; says again whether somebody died of it."""
        kind = (death.role, death.kind if isinstance(death, Shot) else f"SQLite's {death.step}")
        self.tried[kind] += 1
        self.died[kind] += has_died
        return has_died

    def __add__(self, other: Tally) -> Tally:
        """Both."""
        return Tally(
            tried=self.tried + other.tried,
            died=self.died + other.died,
            wrong=self.wrong + other.wrong,
            left=self.left + other.left,
            studies=self.studies + other.studies,
            compared=self.compared + other.compared,
        )

    @property
    def is_telling(self) -> bool:
        """Whether most of the shots were deaths: a sweep without any proves nothing."""
        return self.died.total() >= TELLING * self.tried.total() > 0

    def text(self) -> str:
        """One line a kind of death."""
        lines = [f"{'process':10} {'step':30} {'tried':>6} {'died':>6}"]
        lines += [
            f"{role:10} {step:30} {n:6} {self.died[role, step]:6}" for (role, step), n in sorted(self.tried.items())
        ]
        total = (
            f"{self.tried.total()} shots, {self.died.total()} deaths, {self.studies} studies,"
            f" {self.compared} objects of reports compared byte by byte; {len(self.wrong)} broken promises"
        )
        left = "left by the dead: " + ", ".join(f"{count} {what}" for what, count in self.left.items() if count)
        return "\n".join([*lines, total, left, *self.wrong])


def mortal(folder: Path, database: str = "") -> AbstractContextManager[World]:
    """A world in which files are removed as soon as the setting lets them go."""
    return make_world(folder, database=database, kept_s=KEPT_S)


def all_deaths(world: World, *, seed: int) -> list[Shot | Call]:
    """Every step of every role on both sides, each with the whole daemon too, and SQLite's calls, in random order."""
    shots: list[Shot | Call] = []
    for shot in recorded(world):
        shots.append(shot)
        if shot.side == "before" or shot.step.endswith("statement"):
            shots.append(replace(shot, whole=True))
    if not why_not() and not world.database.startswith("postgresql"):
        shots += [
            Call(role=role, step=step, number=n) for role in SQLITE_ROLES for step in INSIDE for n in NUMBERS[step]
        ]
    random.Random(seed).shuffle(shots)
    return shots


def some_deaths(world: World) -> list[Shot | Call]:
    """The short form: the middle one of each step of each role; before, after, and with all others, in turn.

    Of what comes by the clock only the moments when a file goes, and of a way back one of the first steps.
    """
    by_kind: dict[tuple[str, str], list[Shot]] = {}
    for shot in recorded(world):
        is_short = not shot.chore or shot.step.endswith(".unlink")
        if shot.side == "before" and is_short:
            by_kind.setdefault(("again" if shot.again else shot.step, shot.role), []).append(shot)
    shots: list[Shot | Call] = []
    for index, (_, kind) in enumerate(sorted(by_kind.items())):
        one = kind[-1 if kind[0].again else len(kind) // 2]  # on its way back, what each does before all else
        side, whole = (("before", False), ("after", False), ("before", True))[index % 3]
        shots.append(replace(one, side=side, whole=whole))
    return shots


def recorded(world: World) -> Iterator[Shot]:
    """Every step of one study that came by the network, of the fetcher of one that came by the watched folder, of the
    supervisor when somebody dies, and of what the clock triggers, with files that may go and files left by the dead;
    and every step of the dead on their way back.
    """
    world.study()  # the first one makes folders and loads what is loaded once
    world.study(watched=True)
    steps = _recorded(world, world.study)
    fetched = _recorded(world, lambda: world.study(watched=True))
    mourned = _recorded(world, lambda: world.study(victim="sender"))
    world.finish()
    timed = _recorded(world, lambda: _pass_time(world))
    steps |= Counter({kind: n for kind, n in fetched.items() if kind[0] == "fetcher"})
    steps |= Counter({kind: n for kind, n in mourned.items() if kind[0] == "run"})
    steps |= Counter({kind: n for kind, n in timed.items() if "." in kind[1]})
    beats = {kind: 1 for kind in steps if kind[1].startswith("pulse.")}  # one is like the other
    yield from every(Counter({**steps, **beats}))
    for shot in every(sum((_returned(world, role) for role in (*ROLES, "run")), Counter())):
        yield replace(shot, again=True)


def _returned(world: World, role: str) -> Counter[tuple[str, str]]:
    """The steps of one who was killed while a study is on its way, until it is back and at work."""
    steps: Counter[tuple[str, str]] = Counter()

    def die_and_return() -> None:
        world.kill(role)
        world.orders.record()
        world.wait_for(partial(world.is_back, role), f"{role} is back")
        steps.update(world.orders.recorded())

    world.study(watched=role == "fetcher", meanwhile=die_and_return)
    return Counter(
        {kind: n for kind, n in steps.items() if kind[0] == role and ("." not in kind[1] or kind[1] in FIRST)}
    )


def _pass_time(world: World) -> None:
    """What comes by the clock comes: files that may go are removed, and those that the dead have left of them."""
    for chore in LEFT_BY.values():
        world.shoot(Shot(role="upkeep", step=chore, number=1, side="after"))
    world.finish()


def _recorded(world: World, happen: Callable[[], None]) -> Counter[tuple[str, str]]:
    world.orders.record()
    happen()
    return world.orders.recorded()


def apart(deaths: Iterable[Shot | Call]) -> Iterator[Shot | Call]:
    """The same ones; a role dies again when two others have died, where it can be: at once, it is started later."""
    left, lately = list(deaths), deque[str](maxlen=2)
    while left:
        index = next((i for i, death in enumerate(left) if death.role not in lately), 0)
        lately.append(left[index].role)
        yield left.pop(index)


def run(world: World, deaths: Sequence[Shot | Call], told: Callable[[str], None] = lambda _: None) -> Tally:
    """One study a death; then the verdict over all of them, when all that may be removed is gone."""
    tally = Tally()
    try:
        for number, death in enumerate(apart(deaths), start=1):
            before, since = len(world.wrong), time.monotonic()
            has_died = tally.note(death, _die(world, death))
            world.look()
            told(f"{number:4} {time.monotonic() - since:6.1f} s {death}{'' if has_died else ' (not reached)'}")
            for wrong in world.wrong[before:]:
                told(f"     {wrong}")
        world.finish()
    except AssertionError as why:  # what must happen did not: this world is stuck
        world.wrong.append(f"after {tally.tried.total()} deaths: {why}")
        told(world.wrong[-1])
    tally.wrong, tally.left = world.verdict(), Counter(world.judge.leftovers())
    tally.studies, tally.compared = len(world.studies), world.compared
    return tally


def _die(world: World, death: Shot | Call) -> bool:
    if isinstance(death, Shot):
        return world.shoot(death)
    try:
        return world.shoot_call(death.role, death.injection(Path(world.database)))
    except CannotAttach:
        return False  # the role has just been started again, and is not there yet
