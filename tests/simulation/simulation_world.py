"""A world that a seed decides: clock, dice, crashes, a PACS and devices, around the program's real store.

Everything that may go wrong between two commits goes wrong here: processes die before and after each commit and each
rename, leases end under a stalled worker, answers get lost, the PACS is down, silent or forgets what it took.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection

from fakes import FakeClock
from oculard.imaging.facts import Eye, Facts
from oculard.job import DELIVERY, JOB, DeliveryEvent, JobEvent, backoff_s
from oculard.plan import Family
from oculard.settings import Peer, Rule, Settings, When
from oculard.settings_night import Night
from oculard.store.database import Database
from oculard.store.deliveries import Delivery
from oculard.store.instances import Arrival, Instances
from oculard.store.jobs import Companion, Job, NewReport
from oculard.store.objects import ReportObject, SentObject
from oculard.store.queue import LeaseLost
from oculard.store.vault import Vault
from oculard.upkeep.clockwork import Chores
from oculard.upkeep.night_watch import NightWatch
from oculard.upkeep.settling import Settling
from oculard_models.contract import Finding
from oculard_models.manifest import Combine
from shelf import CLASSES, OP_8_BIT, SR_3D, Shelf

LEASE_S, ATTEMPTS_MAX = 60.0, 3
FAMILIES = {  # of one seed in two, a report is on both eyes
    combine: {"systemic": Family(name="systemic", estimator="painted@1.0.0", input_kind="fundus", combine=combine)}
    for combine in Combine
}
PACS = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, commitment=True)


class Crash(BaseException):
    """The process that was at work is gone. Not an Exception: no handler of the program may survive it."""


class Dice:
    """Decides what goes wrong; says nothing any more when the faults end."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.faults = True

    def crash(self, chance: float = 0.02) -> None:
        """Perhaps die here."""
        if self.faults and self.random.random() < chance:
            raise Crash

    def happens(self, chance: float) -> bool:
        """Whether a trouble comes."""
        return self.faults and self.random.random() < chance


class CrashingDatabase(Database):
    """The program's database, whose user may die before or after every commit."""

    dice: Dice

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with super().write() as connection:
            yield connection
            self.dice.crash()
        self.dice.crash()


class CrashingVault(Vault):
    """The program's vault, whose user may die around every rename."""

    dice: Dice

    def keep(self, spooled: Path, sha256: str, handle: int | None = None) -> str:
        self.dice.crash()
        kept = super().keep(spooled, sha256, handle)
        self.dice.crash()
        return kept

    def sync_name(self, kept: str) -> None:
        self.dice.crash()
        super().sync_name(kept)
        self.dice.crash()


class World:
    """One seed's world and the program in it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.dice, self.clock = Dice(seed), FakeClock()
        CrashingDatabase.dice = CrashingVault.dice = self.dice
        database = CrashingDatabase("sqlite://")
        self.dice.faults = False
        database.upgrade()
        self.shelf = Shelf(database, self.clock, folder)
        self.shelf.vault = CrashingVault(folder)
        self.shelf.instances = Instances(database, self.shelf.vault, self.clock)
        self.dice.faults = True
        when = When.NIGHT if seed % 5 < 2 else When.NOW  # of two seeds in five, jobs wait for the night
        rules = [Rule(modality="OP", families=["systemic"], when=when)]
        settings = Settings(peers=[PACS], plan=rules, night=Night(start="00:00", end="00:00"))
        families = FAMILIES[list(Combine)[seed % 2]]
        self.settling = Settling(settings, self.shelf.studies, families, self.clock)
        self.chores = Chores(
            settings=settings,
            jobs=self.shelf.jobs,
            deliveries=self.shelf.deliveries,
            families=families,
            queues=(self.shelf.jobs.queue, self.shelf.deliveries.queue),
            vault=self.shelf.vault,
            alarms=self.shelf.alarms,
            clock=self.clock,
        )
        self.watch = NightWatch(
            night=settings.night, time_zone=settings.night_zone, jobs=self.shelf.night_jobs, clock=self.clock
        )
        self.acknowledged: dict[str, str] = {}  # SOP Instance UID -> digest of the bytes we said yes to
        self.pacs: Counter[str] = Counter()  # SOP Instance UID of a report's object -> how often it was stored
        self.pacs_bytes: dict[str, set[str]] = {}  # ... and the digests of what was stored under it
        self.kept: set[str] = set()  # ... and what it has of it now
        self.promised: set[str] = set()  # ... and will not lose any more
        self.takes_seg = seed % 3 != 0  # of one seed in three, the PACS knows no segmentations
        self.asked: dict[str, tuple[tuple[str, str], ...]] = {}  # transactions that the PACS has not answered

    # What may happen, one thing a tick.

    def device_sends(self) -> None:
        """A device sends an image: a new one, the same again, or the same UID with other bytes."""
        study, number = self.dice.random.randrange(4), self.dice.random.randrange(3)
        uid = f"1.2.{study}.{number}"
        data = b"poison" if number == 2 and study == 0 else f"{uid} {self.dice.random.randrange(8) == 0}".encode()
        arrival = self._arrival(uid, f"1.2.{study}", data, eye=("R", "L", "U")[number])
        self.shelf.instances.take(arrival)
        self.acknowledged.setdefault(uid, arrival.sha256)  # only now 0x0000

    def worker_works(self, owner: str, depth: int = 0) -> bool:
        """A worker takes one job and ends it, dies of it, stalls over it, or meets a passing trouble."""
        jobs = self.shelf.claim(owner, lease_s=LEASE_S, attempts_max=ATTEMPTS_MAX)
        if not jobs:
            return False
        (job,) = jobs
        is_poison = any(self.shelf.vault.path(image.path).read_bytes() == b"poison" for image in job.inputs)
        is_spent = job.ticket.attempts > ATTEMPTS_MAX
        if is_poison and not is_spent:
            raise Crash  # a decoder's segmentation fault, in every worker that touches it
        self.dice.crash(0.05)
        if depth < 2 and self.dice.happens(0.1):  # stalled: the lease ends under us, a rival claims
            self.clock.sleep(LEASE_S + 1)
            self.chores.reap()
            try:
                self.worker_works(owner + "'", depth + 1)
            except Crash:
                pass  # the rival died, and still holds the job when we wake up
        try:
            self._end_job(job, is_spent)
        except LeaseLost:
            pass  # what was done is thrown away
        return True

    def sender_sends(self, owner: str) -> bool:
        """The sender takes what waits, and the PACS takes it, is down, or takes it and its answer gets lost."""
        deliveries = self.shelf.deliveries.claim(owner, "pacs", lease_s=LEASE_S, limit=3)
        for delivery in deliveries:
            self.dice.crash(0.05)
            try:
                self._send(delivery)
            except LeaseLost:
                pass
        return bool(deliveries)

    def sender_asks(self) -> bool:
        """The sender asks for commitment of what the PACS took; the question may get lost."""
        uid = f"2.25.{self.dice.random.getrandbits(100)}"
        commitment = self.shelf.deliveries.begin_commitment("pacs", uid, limit=5)
        if commitment is not None and not self.dice.happens(0.2):
            self.asked[uid] = commitment.items
        return commitment is not None

    def pacs_answers(self) -> bool:
        """The PACS answers a question, perhaps twice or in pieces, perhaps that it has lost an object of a report."""
        if not self.asked:
            return False
        uid = self.dice.random.choice(sorted(self.asked))
        items = [item for _, item in self.asked[uid]]
        self.kept -= {item for item in items if item not in self.promised and self.dice.happens(0.1)}
        lost, kept = [i for i in items if i not in self.kept], [i for i in items if i in self.kept]
        self.promised |= set(kept)
        for part in (kept[::2], kept[1::2]) if self.dice.happens(0.2) else (kept,):
            failed = [(item, 0x112) for item in lost]
            self.shelf.deliveries.commitment_answered(uid, committed=part, failed=failed, actor="PACS")
        if not self.dice.happens(0.3):
            del self.asked[uid]
        return True

    def upkeep_wakes(self) -> bool:
        """Upkeep settles and does its chores; the night is opened, and perhaps closed again."""
        settled = self.settling.step()
        self.watch.open_night()
        if self.dice.happens(0.2):
            self.shelf.night_jobs.withdraw()
        self.chores.reap()
        self.chores.chase_commitments()
        return settled

    def person_decides(self) -> bool:
        """A person requeues a failed job."""
        return self.shelf.jobs.requeue(actor="person") > 0

    def _arrival(self, uid: str, study: str, data: bytes, *, eye: str) -> Arrival:
        facts = Facts(
            sop_class_uid=OP_8_BIT,
            sop_instance_uid=uid,
            study_instance_uid=study,
            series_instance_uid=f"{study}.9",
            modality="OP",
            samples_per_pixel=3,
            eye=Eye(eye),
        )
        return self.shelf.arrival(uid, data, study_instance_uid=study, facts=facts.as_json())

    def _end_job(self, job: Job, is_spent: bool) -> None:
        if self.dice.happens(0.1):
            delay_s = backoff_s(job.ticket.attempts, longest_s=600)
            self.shelf.jobs.queue.settle(job.ticket, JobEvent.RETRY, reason="vault-unreadable", delay_s=delay_s)
            return
        event = JobEvent.GIVE_UP if is_spent else JobEvent.REJECT if job.eye == "U" else JobEvent.DONE
        self.shelf.jobs.finish(job, event, self.new_report(job), reason=None, peers=["pacs"])

    def new_report(self, job: Job) -> NewReport:
        """A report whose UIDs are a function of inputs, estimator and generation, and whose bytes are of the moment."""
        history = self.shelf.jobs.history(job)
        inputs = " ".join(sorted(image.sop_instance_uid for image in job.inputs))
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{inputs} {job.estimator} {len(history) + 1}').int}"
        data = f"{uid} {self.clock.now()} {self.dice.random.random()}".encode()
        path, sha256 = self.shelf.vault.write_report(data)
        return NewReport(
            sop_class_uid=SR_3D,
            sop_instance_uid=uid,
            series_instance_uid=uid,
            path=path,
            sha256=sha256,
            size_bytes=len(data),
            outcome="complete",
            remark="",
            weights_sha256="0" * 64,
            demonstration=True,
            predecessor_id=history[0].id if history else None,
            findings=(Finding(name="age", unit="a", value=61.0),),
            took={},
            companions=tuple(self._companions(uid)),
        )

    def _companions(self, report: str) -> Iterator[Companion]:
        """None, some or all of what may accompany a report."""
        for role in CLASSES:
            if self.dice.random.random() < 0.5:
                uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{report} {role}').int}"
                yield self.shelf.companion(role, uid, f"{uid} {self.dice.random.random()}".encode())

    def _send(self, delivery: Delivery) -> None:
        queue = self.shelf.deliveries.queue
        if self.dice.happens(0.2):
            delay_s = backoff_s(delivery.ticket.attempts, longest_s=900)
            queue.settle(delivery.ticket, DeliveryEvent.RETRY, reason="pacs-down", delay_s=delay_s)
            return
        sent = []
        for one in delivery.objects:
            if self.dice.happens(0.1):  # the association breaks between two objects
                queue.settle(delivery.ticket, DeliveryEvent.RETRY, reason="association-lost", delay_s=2.0)
                return
            sent.append(self._store(one))
            self.dice.crash(0.05)  # the PACS has it, and nobody here knows
        self.shelf.deliveries.took(delivery, sent, awaits_commitment=True)

    def _store(self, one: ReportObject) -> SentObject:
        """The PACS takes an object, unless it does not know its class."""
        fate = SentObject(role=one.role, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
        if one.role == "seg" and not self.takes_seg:
            return replace(fate, reason="companion-not-accepted")
        self.pacs[one.sop_instance_uid] += 1
        self.pacs_bytes.setdefault(one.sop_instance_uid, set()).add(one.sha256)
        self.kept.add(one.sop_instance_uid)
        return fate


def paths_are_whole(events: Sequence[dict[str, object]]) -> None:
    """Every job's and delivery's events are a path through its machine, and who ends a lease is who held it."""
    for machine in (JOB, DELIVERY):
        state: dict[object, object] = {}
        holder: dict[object, object] = {}
        for event in events:
            if event["kind"] != machine.name:
                continue
            row, source, target = event["subject_id"], event["source"], event["target"]
            if source is not None:
                assert state[row] == source, f"{machine.name} {row} was {state[row]}, the event says {source}"
            state[row] = target
            if event["name"] == machine.claim:
                holder[row] = event["actor"]
            elif source == machine.held and event["name"] != machine.lost:
                assert event["actor"] == holder[row], f"{machine.name} {row} was settled without its lease"
