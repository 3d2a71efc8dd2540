"""A month of a clinic around the program's real store, settling, chores and claims, and a clock that jumps.

Studies come by day and by night, power is cut at any moment, the PACS is down for a night, upkeep wakes late, twice or
not at all. What this world knows of time it reckons itself: nothing of `oculard.night` is asked what is right. The
database is SQLite in memory and the vault writes nothing: of power cuts, only what a transaction promises is tried here
(`simulation_world.py` and the killer try files).
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from fakes import FakeClock
from oculard.imaging.facts import Eye, Facts
from oculard.inference.opening import Opening
from oculard.job import DeliveryEvent, JobEvent, JobState
from oculard.night import Hours
from oculard.plan import Family
from oculard.settings import Peer, Rule, Sender, Settings, Site, When, Worker
from oculard.settings_night import Night
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.instances import Instances
from oculard.store.jobs import Job, NewReport
from oculard.store.objects import SentObject
from oculard.store.vault import Vault
from oculard.upkeep.clockwork import Chores
from oculard.upkeep.night_watch import NightWatch
from oculard.upkeep.settling import Settling
from oculard_models.contract import Finding
from shelf import OP_8_BIT, SR_3D, Shelf

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, DAYS = date(2026, 3, 9), 31  # clocks go forward on the 29th
MONTH_ENDS = datetime.combine(FIRST + timedelta(days=DAYS), time(12), BERLIN).astimezone(UTC)
OPENS, CLOSES = time(20), time(6)
PACS_DOWN = date(2026, 3, 18)  # the whole night that begins on that day
WHOLE = 20_000  # studies of the long form; fewer studies take longer each, so that the nights are as full
WORKERS, BATCH, ATTEMPTS_MAX, LEASE_S = 2, 4, 9, 30 * 86_400.0
TAKES_S = {"systemic": 60.0, "glaucoma": 200.0}  # a job of the long form, on average
SPREAD = 0.3  # how far a job may be from the average
FAMILIES = {name: Family(name=name, estimator=f"{name}@1.0.0", input_kind="fundus") for name in TAKES_S}
SENDERS = {"clinic": 0.3, "screening": 0.4, "archive": 0.3}  # and their share of the studies
CUTS = [  # local day and time of each power cut, and how long it lasts: by day, in the night, over either end of it
    (date(2026, 3, 11), time(11, 30), 0.5),
    (date(2026, 3, 12), time(23, 10), 0.1),
    (date(2026, 3, 16), time(3, 0), 9.0),
    (date(2026, 3, 20), time(18, 0), 5.0),
    (date(2026, 3, 24), time(5, 50), 0.3),
    (date(2026, 3, 29), time(1, 59), 0.2),
    (date(2026, 4, 2), time(20, 1), 1.0),
    (date(2026, 4, 4), time(22, 0), 30.0),
]


class PowerCut(BaseException):
    """Every process is gone. Not an Exception: no handler of the program may survive it."""


class FragileDatabase(Database):
    """The program's database, whose machine may lose power before or after a commit."""

    doomed = ""

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self._perhaps("before the commit")
        self._perhaps("after the commit")

    def _perhaps(self, moment: str) -> None:
        if self.doomed == moment:
            self.doomed = ""
            raise PowerCut


class WeightlessVault(Vault):
    """A vault that keeps one file for all images, and only names its reports."""

    def keep(self, spooled: Path, sha256: str, handle: int | None = None) -> str:
        del sha256, handle
        spooled.replace(self.folder / "instances" / "any.dcm")
        return "instances/any.dcm"

    def sync_name(self, kept: str) -> None:
        del kept

    def write_report(self, data: bytes) -> tuple[str, str]:
        sha256 = hashlib.sha256(data).hexdigest()
        return f"reports/{sha256}.dcm", sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A batch that a worker has begun."""

    at: datetime
    jobs: tuple[Job, ...]
    are_night: tuple[bool, ...]
    expected_s: float  # of each, at that moment
    takes_s: tuple[float, ...]  # each, in truth

    @property
    def ends(self) -> datetime:
        """When all are done, if nothing comes between."""
        return self.at + timedelta(seconds=sum(self.takes_s))


def closing(now: datetime) -> datetime | None:
    """When the window that is open now closes; None outside. Six o'clock is in no gap and never comes twice."""
    local = now.astimezone(BERLIN)
    if CLOSES <= local.time() < OPENS:
        return None
    day = local.date() + timedelta(days=int(local.time() >= OPENS))
    return datetime.combine(day, CLOSES, BERLIN).astimezone(UTC)


def p90(values: Sequence[float]) -> float:
    """What at most one of ten exceeds."""
    return sorted(values)[-1 - len(values) // 10]


class Month:
    """The clinic, its daemon, and what happens to them."""

    def __init__(self, seed: int, studies: int, folder: Path) -> None:
        self.random, self.scale = random.Random(seed), WHOLE / studies
        self.clock = FakeClock(datetime.combine(FIRST, time(0), BERLIN).astimezone(UTC))
        self.database = FragileDatabase("sqlite://")
        self.database.upgrade()
        self.shelf = Shelf(self.database, self.clock, folder)
        self.shelf.vault = WeightlessVault(folder)
        self.shelf.instances = Instances(self.database, self.shelf.vault, self.clock)
        self.quota = max(1, round(230 / self.scale))
        self.settings = settings(self.quota, first_s=300 * self.scale)
        self.settling = Settling(self.settings, self.shelf.studies, FAMILIES, self.clock)
        self.watch = NightWatch(
            night=self.settings.night,
            time_zone=self.settings.night_zone,
            jobs=self.shelf.night_jobs,
            clock=self.clock,
        )
        self.chores = Chores(
            settings=self.settings,
            jobs=self.shelf.jobs,
            deliveries=self.shelf.deliveries,
            families=FAMILIES,
            queues=(self.shelf.jobs.queue, self.shelf.deliveries.queue),
            vault=self.shelf.vault,
            alarms=self.shelf.alarms,
            clock=self.clock,
        )
        self.boots, self.has_power = 0, False
        self.busy: set[str] = set()
        self.wanted: dict[str, tuple[str, tuple[str, ...]]] = {}  # study -> sender, eyes
        self.begun: list[Begun] = []
        self.rationed: dict[datetime, set[int]] = defaultdict(set)  # by the end of the night, jobs that have a quota
        self.pacs: Counter[str] = Counter()  # SOP Instance UID -> how often it came
        self.delivered_at: list[datetime] = []
        self._coming: list[tuple[datetime, int, int | None, Callable[[], None]]] = []
        self._count = 0
        self._schedule(studies)

    # Time

    def at(self, moment: datetime, deed: Callable[[], None], *, boot: int | None = None) -> None:
        """Something will happen; what a process does dies with its boot."""
        self._count += 1
        heapq.heappush(self._coming, (moment, self._count, boot, deed))

    def after(self, seconds: float, deed: Callable[[], None]) -> None:
        """A process will do something."""
        self.at(self.clock.now() + timedelta(seconds=seconds), deed, boot=self.boots)

    def run(self, until: datetime) -> None:
        """Let everything happen that is to happen before a moment."""
        while self._coming and self._coming[0][0] < until:
            moment, _, boot, deed = heapq.heappop(self._coming)
            if boot is not None and not (self.has_power and boot == self.boots):
                continue
            self.clock.at = max(self.clock.at, moment)
            try:
                deed()
            except PowerCut:
                self._power_is_lost()
        self.clock.at = until

    def _schedule(self, studies: int) -> None:
        self.at(self.clock.now(), self._power_is_back)
        for day, clocktime, hours in CUTS:
            moment = datetime.combine(day, clocktime, BERLIN) + timedelta(seconds=self.random.uniform(0, 60))
            self.at(moment.astimezone(UTC), lambda hours=hours: self._power_fails(hours))  # type: ignore[misc]
        senders = self.random.choices(list(SENDERS), weights=list(SENDERS.values()), k=studies)
        for number, sender in enumerate(senders):
            eyes = ("R", "L") if self.random.random() < 0.3 else (self.random.choice("RL"),)
            self.wanted[f"1.2.{number}"] = (sender, eyes)
            deed = lambda uid=f"1.2.{number}": self._study_comes(uid)  # noqa: E731  its name is the study's
            self.at(self._arrival(sender).astimezone(UTC), deed)

    def _arrival(self, sender: str) -> datetime:
        """The clinic and the screening work by day; the archive is fetched at any time, most of it early on."""
        day = self.random.randrange(DAYS) if sender != "archive" else int(DAYS * self.random.random() ** 1.5)
        hour = self.random.uniform(8, 18) if sender != "archive" else self.random.uniform(0, 24)
        return datetime.combine(FIRST + timedelta(days=day), time(0), BERLIN) + timedelta(hours=hour)

    # Power

    def _power_fails(self, hours: float) -> None:
        """Power is lost now, or in the middle of what is written next."""
        if not self.has_power:
            return
        self._off = timedelta(hours=hours)
        self.database.doomed = self.random.choice(["", "before the commit", "after the commit"])
        if not self.database.doomed:
            raise PowerCut

    def _power_is_lost(self) -> None:
        self.has_power = False
        self.busy.clear()
        self.at(self.clock.now() + self._off, self._power_is_back)

    def _power_is_back(self) -> None:
        """The supervisor gives back what its predecessor held, and every role starts."""
        self.boots, self.has_power = self.boots + 1, True
        self.opening = Opening(self.settings.night, self.settings.night_zone, self.shelf.night_jobs, self.clock)
        for queue in self.chores.queues:
            for owner in queue.holders():
                queue.reap(dead_owner=owner)
        for deed in (self.upkeep_wakes, self.sender_wakes):
            self.after(self.random.uniform(0, 30), deed)

    # Deeds

    def _study_comes(self, study: str) -> None:
        """A device sends a study; without an answer it sends again later."""
        if not self.has_power:
            self.at(
                self.clock.now() + timedelta(seconds=self.random.uniform(600, 7200)), lambda: self._study_comes(study)
            )
            return
        sender, eyes = self.wanted[study]
        for eye in eyes:
            uid = f"{study}.{'RL'.index(eye)}"
            facts = Facts(
                sop_class_uid=OP_8_BIT,
                sop_instance_uid=uid,
                study_instance_uid=study,
                series_instance_uid=f"{study}.9",
                modality="OP",
                samples_per_pixel=3,
                eye=Eye(eye),
            )
            arrival = self.shelf.arrival(
                uid,
                uid.encode(),
                study_instance_uid=study,
                facts=facts.as_json(),
                sender=sender,
                series_instance_uid=f"{study}.9",
            )
            try:
                self.shelf.instances.take(arrival)
            except PowerCut:
                self.at(self.clock.now() + timedelta(hours=1), lambda: self._study_comes(study))
                raise

    def upkeep_wakes(self) -> None:
        """Late, and each chore perhaps twice, perhaps not at all, in any order."""
        while self.settling.step():
            pass
        chores = [self.chores.reap, self.watch.open_night, self.watch.close_night] * 2
        self.random.shuffle(chores)
        for chore in chores[: self.random.randrange(3, 7)]:
            chore()
        self.after(self.random.uniform(30, 1800), self.upkeep_wakes)
        for worker in range(WORKERS):
            self.after(self.random.uniform(0, 5), lambda name=f"w{worker}": self.worker_looks(name))  # type: ignore[misc]

    def worker_looks(self, name: str) -> None:
        """A worker that has nothing to do takes a batch, if there is one for it."""
        if name in self.busy:
            return
        hours, owner = self.hours(), f"{name}.{self.boots}"
        jobs = self.shelf.jobs.claim(owner, lease_s=LEASE_S, limit=BATCH, attempts_max=ATTEMPTS_MAX, hours=hours)
        if not jobs:
            self._see_that_nothing_may_run(hours)
            return
        estimator = jobs[0].estimator
        begun = Begun(
            at=self.clock.now(),
            jobs=tuple(jobs),
            are_night=tuple(self._is_night(job) for job in jobs),
            expected_s=hours.expected_s.get(estimator, hours.first_s),
            takes_s=tuple(self._takes_s(job) for job in jobs),
        )
        self.begun.append(begun)
        self._see_that_it_may_begin(begun)
        self.busy.add(name)
        self.at(begun.ends, lambda: self._worker_is_done(name, begun), boot=self.boots)

    def hours(self) -> Hours:
        """What the workers know of the night."""
        return self.opening.hours()

    def _worker_is_done(self, name: str, begun: Begun) -> None:
        for job, takes_s in zip(begun.jobs, begun.takes_s, strict=True):
            report = self._report(job, takes_s)
            self.shelf.jobs.finish(job, JobEvent.DONE, report, reason=None, peers=["pacs"])
        self.busy.discard(name)
        self.worker_looks(name)

    def sender_wakes(self) -> None:
        """The sender takes what waits; a PACS that is down is asked one thing at a time."""
        is_down = self.pacs_is_down()
        while deliveries := self.shelf.deliveries.claim("s", "pacs", lease_s=LEASE_S, limit=1 if is_down else 50):
            for delivery in deliveries:
                if is_down:
                    self.shelf.deliveries.queue.settle(
                        delivery.ticket, DeliveryEvent.RETRY, reason="pacs-down", delay_s=900
                    )
                    continue
                (one,) = delivery.objects
                self.pacs[one.sop_instance_uid] += 1
                sent = SentObject(role=one.role, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
                self.shelf.deliveries.took(delivery, [sent], awaits_commitment=False)
                self.delivered_at.append(self.clock.now())
            if is_down:
                break
        self.after(self.random.uniform(900, 2700), self.sender_wakes)

    def pacs_is_down(self) -> bool:
        """All of one night, and not only while we work."""
        local = self.clock.now().astimezone(BERLIN)
        return (
            datetime.combine(PACS_DOWN, OPENS, BERLIN)
            <= local
            < datetime.combine(PACS_DOWN + timedelta(days=1), CLOSES, BERLIN)
        )

    # What must hold whenever a worker looks

    def _see_that_it_may_begin(self, begun: Begun) -> None:
        """Night jobs begin only inside the window, and only if all of the batch is expected to end inside."""
        if not any(begun.are_night):
            return
        ends = closing(begun.at)
        assert ends is not None, f"a night job began outside the night: {begun.at}"
        assert begun.expected_s in self._expected(begun.jobs[0].estimator), "an expectation that no reports gave"
        self.rationed[ends] |= {job.ticket.id for job in begun.jobs if job.family == "glaucoma"}
        assert len(self.rationed[ends]) <= self.quota, "the quota is exceeded"
        expected = begun.at + timedelta(seconds=begun.expected_s * len(begun.jobs))
        assert expected <= ends, f"{len(begun.jobs)} jobs that would end at {expected} began at {begun.at}"

    def _expected(self, estimator: str) -> set[float]:
        """Every 90th percentile of the newest reports that was true within the last minute."""
        report, since = tables.report, self.clock.now() - timedelta(minutes=1)
        query = select(report.c.created_at, report.c.took).where(report.c.estimator == estimator)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(report.c.id.desc()).limit(200 + WORKERS * BATCH)).all()
        took = [sum(row.took.values()) for row in rows]  # the newest first
        found, start = set(), 0
        while start < len(rows):
            found.add(p90(took[start : start + 200]))
            if rows[start].created_at < since:
                return found
            start += 1
        return found | {self.settings.night.job_s_first}

    def _see_that_nothing_may_run(self, hours: Hours) -> None:
        """An idle worker leaves no day job, and inside the window no night job that would end in time."""
        table, now = tables.job, self.clock.now()
        query = select(table.c.run_window, table.c.estimator).distinct()
        query = query.where(table.c.state == JobState.QUEUED, table.c.run_after <= now)
        ends = closing(now)
        with self.database.read() as connection:
            for window, estimator in connection.execute(query).all():
                expected_s = hours.expected_s.get(estimator, hours.first_s)
                in_time = ends is not None and now + timedelta(seconds=expected_s) <= ends
                assert window == "night", f"a worker idles at {now} while a day job may run"
                assert not in_time, f"a worker idles at {now} while `{estimator}` would end in time"

    # Small things

    def _is_night(self, job: Job) -> bool:
        with self.database.read() as connection:
            window = connection.execute(select(tables.job.c.run_window).where(tables.job.c.id == job.ticket.id))
            return window.scalar_one() == "night"

    def _takes_s(self, job: Job) -> float:
        return TAKES_S[job.family] * self.scale * math.exp(self.random.gauss(-(SPREAD**2) / 2, SPREAD))

    def _report(self, job: Job, takes_s: float) -> NewReport:
        (image,) = job.inputs
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{image.sop_instance_uid} {job.estimator}').int}"
        path, sha256 = self.shelf.vault.write_report(uid.encode())
        return NewReport(
            sop_class_uid=SR_3D,
            sop_instance_uid=uid,
            series_instance_uid=uid,
            path=path,
            sha256=sha256,
            size_bytes=len(uid),
            outcome="complete",
            remark="",
            weights_sha256="0" * 64,
            demonstration=True,
            predecessor_id=None,
            findings=(Finding(name="age", unit="a", value=61.0),),
            took={"estimate": takes_s},
        )


def settings(quota: int, first_s: float) -> Settings:
    """The clinic's work at once, the screening's and the archive's at night, of the archive so many a night."""
    night = Night(start="20:00", end="06:00", quotas={"glaucoma": quota}, job_s_first=first_s)
    return Settings(
        site=Site(time_zone="Europe/Berlin"),
        senders=[Sender(name=name, ae_title=name.upper()) for name in SENDERS],
        peers=[Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, commitment=False)],
        plan=[
            Rule(sender="clinic", families=["systemic"], when=When.NOW, priority=2),
            Rule(sender="screening", families=["systemic"], when=When.NIGHT, priority=5),
            Rule(sender="archive", families=["glaucoma"], when=When.NIGHT, priority=8),
        ],
        night=night,
        worker=Worker(estimators={name: name for name in TAKES_S}),
    )
