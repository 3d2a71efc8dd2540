"""A scripted archive, and a back-fill engine around it on a real store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from fakes import FakeClock
from oculard import settings_night
from oculard.job import Order, Wish
from oculard.plan import inputs_digest
from oculard.retrieve.archive import Days, Found, Retrieved, Take, TooManyMatches
from oculard.retrieve.backfill import Backfilling, Surroundings
from oculard.retrieve.restraint import Pace, Rest
from oculard.store.backfills import Range
from oculard.store.reannotations import Again
from oculard.store.studies import Kept
from oculard.upkeep.settling import candidate
from shelf import Shelf

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 3)
SERVING = "painted@1.0.0"
STUDIES = {  # six of two series on three days
    f"1.{n}": (FIRST + timedelta(days=n % 3), {f"1.{n}.1": 2, f"1.{n}.2": 1}) for n in range(1, 7)
}


class Killed(BaseException):
    """The process died here."""


@dataclass
class ScriptedArchive:
    """Has some studies; whatever stands in `script` under a question's name happens instead of the next answer."""

    shelf: Shelf
    studies: dict[str, tuple[date, dict[str, int]]] = field(default_factory=dict)
    script: dict[str, list[Any]] = field(default_factory=dict)
    remarks: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    hours: dict[str, int] = field(default_factory=dict)  # of the day, when a study was made
    matches_max: int = 100
    gives: int = 1_000_000  # instances of a study at once

    def find_studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """As an archive that knows one modality, OP, and cannot answer for many."""
        self._next("find", f"find {days} {days.times}".strip())
        found = [
            Found(study_instance_uid=uid, study_date=day.strftime("%Y%m%d"))
            for uid, (day, _) in self.studies.items()
            if days.first <= day <= days.last and (not modalities or "OP" in modalities)
            if days.hours[0] <= self.hours.get(uid, 12) < days.hours[1]
        ]
        if len(found) > self.matches_max:
            raise TooManyMatches("too many")
        return found

    def count_series(self, study_instance_uid: str) -> dict[str, int]:
        """What it has."""
        self._next("count", f"count {study_instance_uid}")
        return dict(self.studies[study_instance_uid][1]) if study_instance_uid in self.studies else {}

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """Sends it to our intake, as after a C-MOVE."""
        del take
        self._next("retrieve", f"retrieve {study_instance_uid}")
        instances = [
            (series, f"{series}.{number}")
            for series, count in self.studies[study_instance_uid][1].items()
            for number in range(1, count + 1)
        ]
        for series, uid in instances[: self.gives]:
            self._next("instance", "")
            self.shelf.receive(
                uid,
                uid.encode(),
                study_instance_uid=study_instance_uid,
                series_instance_uid=series,
                facts=facts(study_instance_uid, series, uid),
            )
        return Retrieved(completed=len(instances))

    def close(self) -> None:
        """Nothing is open."""

    def _next(self, question: str, words: str) -> None:
        if words:
            self.asked.append(words)
        todo = self.script.get(question)
        happens = todo.pop(0) if todo else None
        if isinstance(happens, BaseException):
            raise happens
        if happens is not None:
            happens()


def facts(study: str, series: str, uid: str) -> dict[str, Any]:
    """What a photograph of a right eye says."""
    names = {"sop_class_uid": "1.2", "sop_instance_uid": uid, "study_instance_uid": study}
    return {**names, "series_instance_uid": series, "modality": "OP", "eye": "R", "image_type": []}


@dataclass
class Fetcher:
    """The engine, and what a test turns."""

    shelf: Shelf
    archive: ScriptedArchive
    clock: FakeClock
    night: bool = True
    room: bool = True
    estimator: str = SERVING
    entry: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process on the same database; what the dead one held is given back, as its supervisor does."""
        self.shelf.backfills.queue.reap(dead_owner="fetcher")
        values = {"name": "pacs", "host": "pacs", "studies_per_min": 60_000.0, **self.entry}
        entry = settings_night.Archive(**values)
        around = Surroundings(
            backfills=self.shelf.backfills,
            retrievals=self.shelf.retrievals,
            annotate=self.annotate,
            take=lambda _path: None,
            is_night=lambda: self.night,
            has_room=lambda: self.room,
            clock=self.clock,
            owner="fetcher",
        )
        pace, rest = Pace(entry.studies_per_min), Rest("pacs", self.shelf.alarms)
        self.engine = Backfilling(entry, self.archive, around, pace=pace, rest=rest)

    def order(self, **changes: Any) -> int:
        """A person orders three days of it."""
        values: dict[str, Any] = {"archive": "pacs", "first": FIRST, "last": LAST, "anytime": True} | changes
        return self.shelf.backfills.order(Range(**values), actor="person")

    def run(self, *, hours: float = 48) -> None:
        """Let it work until nothing is left, or the time is over; idle time passes at once."""
        idle, steps = 0.0, 0
        while idle < hours * 3600 and self.shelf.backfills.recent(active=True):
            steps += 1
            assert steps < 20_000, "it never ends"
            if not self.engine.step():
                idle += 10
                self.clock.pass_(10)
            self.clock.pass_(0.001)

    def annotate(self, study_id: int, wish: Wish) -> Again:
        """Order again, as upkeep does."""
        return self.shelf.reannotations.order(study_id, lambda kept: self.decide(kept, wish), actor="fetcher")

    def decide(self, kept: Sequence[Kept], wish: Wish) -> list[Order]:
        """One job a study."""
        order = Order(
            family="systemic",
            eye="R",
            estimator=self.estimator,
            window="now",
            priority=5,
            instance_ids=tuple(image.id for image in kept),
            inputs_digest=inputs_digest(candidate(image) for image in kept),
        )
        return wish.of([order])

    def settle(self) -> list[int]:
        """Settle what may settle, as upkeep does."""
        new: list[int] = []
        for study in self.shelf.studies.open():
            if not study.is_receiving:
                wish = self.shelf.retrievals.wish(study.id)
                decide = lambda kept, wish=wish: self.decide(kept, wish)  # noqa: E731  it is handed on at once
                done = self.shelf.studies.settle(study.id, active_at=None, decide=decide, actor="test", why="quiet")
                new += done or []
        return new

    def states(self, backfill_id: int) -> dict[str, int]:
        """How its studies stand, without zeros."""
        counts = self.shelf.backfills.progress(backfill_id)
        return {state: count for state, count in counts.items() if count and state != "found"}

    def remarks(self, backfill_id: int) -> dict[str, int]:
        """What the archive did wrong."""
        found = self.shelf.backfills.get(backfill_id)
        assert found is not None
        return dict(found.remarks)

    def reasons(self, backfill_id: int) -> dict[str, str | None]:
        """Why what did not come did not."""
        return {one["study_instance_uid"]: one["reason"] for one in self.shelf.backfills.troubled(backfill_id)}
