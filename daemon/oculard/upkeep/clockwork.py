"""What the clock triggers. The scheduler only wakes; the state is in the database, so a missed or doubled wake-up
changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.background import BackgroundScheduler

from oculard import log
from oculard.clock import Clock
from oculard.errors import Transient
from oculard.plan import Family
from oculard.settings import Settings
from oculard.store.alarms import Alarms
from oculard.store.deliveries import Deliveries
from oculard.store.jobs import Jobs
from oculard.store.queue import Queue
from oculard.store.vault import Vault

SPOOL_OLD_S = 24 * 3600.0  # no association lasts a day
FAILED = "chore-failed"
logger = log.get("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """Something to do every so often; doing it twice, late or not at all for a while changes nothing."""

    do: Callable[[], None]
    every_s: float

    @property
    def name(self) -> str:
        """What the scheduler and the log call it."""
        return self.do.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Chores:
    """The chores, each safe to do at any time and any number of times."""

    settings: Settings
    jobs: Jobs
    deliveries: Deliveries
    families: Mapping[str, Family]
    queues: Sequence[Queue]
    vault: Vault
    alarms: Alarms
    clock: Clock

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [
            Chore(do=self.reap, every_s=5),
            Chore(do=self.adopt, every_s=30),
            Chore(do=self.chase_commitments, every_s=10),
            Chore(do=self.park_orphans, every_s=60),
            Chore(do=self.watch_disk, every_s=30),
            Chore(do=self.sweep, every_s=3600),
        ]

    def reap(self) -> None:
        """Give back what a dead process held."""
        for queue in self.queues:
            count = queue.reap()
            if count:
                logger.warning("leases ended", reason="lease-ended", name=queue.machine.name, count=count)
            recalled = queue.recall()
            if recalled:
                logger.warning("put off no more", reason="clock-set-back", name=queue.machine.name, count=recalled)
        failed = self.jobs.give_up(attempts_max=self.settings.worker.attempts_max, actor="upkeep")
        if failed:
            logger.error("jobs failed without a report", reason="attempts-spent", count=failed)
            self.alarms.raise_("job-without-report", "attempts-spent")

    def adopt(self) -> None:
        """Let the bundles in force serve what still waits for an older version of theirs."""
        for family in self.families.values():
            name, estimator = family.name, family.estimator
            count = self.jobs.adopt(name, estimator, eyes=family.eyes, actor="upkeep")
            if count:
                logger.info("jobs adopted", family=name, estimator=estimator, count=count)
            dropped = self.jobs.drop_twins(name, estimator, eyes=family.eyes, actor="upkeep")
            if dropped:
                logger.info("jobs dropped", reason="twin-job", family=name, estimator=estimator, count=dropped)

    def chase_commitments(self) -> None:
        """Send again what a peer took and never committed to."""
        for peer in self.settings.peers:
            since = self.clock.now() - timedelta(hours=peer.commitment_silence_h)
            count = self.deliveries.silent(peer.name, since=since, retry_s=0.0)
            if count:
                logger.warning("commitment silent", peer=peer.name, reason="commitment-silent", count=count)

    def park_orphans(self) -> None:
        """Park what waits for a peer that is in no configuration any more: a person says where it goes."""
        known = [peer.name for peer in self.settings.peers]
        for peer, count in self.deliveries.orphans(known, actor="upkeep").items():
            hint = f"`oculard retry --peer {peer} --to NAME` sends them to another peer"
            logger.error("deliveries parked", peer=peer, reason="peer-unknown", count=count, hint=hint)

    def watch_disk(self) -> None:
        """Raise or clear the alarms of the disk: that it is away, that it is below its mark."""
        folder = str(self.vault.folder)
        if not self.vault.spool.is_dir():
            logger.error("vault away", reason="vault-away", hint="is the disk mounted? [store] folder")
            self.alarms.raise_("vault-away", folder)
            return
        self.alarms.clear("vault-away", folder)
        free_gib = self.vault.free_gib()
        if free_gib < self.settings.store.disk_free_min_gib:
            mark = self.settings.store.disk_free_min_gib
            hint = f"make room: intake refuses below {mark:g} GiB ([store] disk_free_min_gib)"
            logger.error("disk below its mark", reason="disk-full", free_gib=round(free_gib, 2), hint=hint)
            self.alarms.raise_("disk-full", folder)
        else:
            self.alarms.clear("disk-full", folder)

    def sweep(self) -> None:
        """Delete what never became an instance."""
        count = self.vault.sweep_spool(older_than_s=SPOOL_OLD_S)
        if count:
            logger.info("spool swept", count=count)


class Mishaps:
    """Listens to the scheduler: a chore that ended with a bug raises an alarm until it succeeds again."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms, self._failing = alarms, set[str]()
        alarms.only(FAILED, ())  # what an earlier process met

    def __call__(self, event: JobExecutionEvent) -> None:
        """Hear of a chore that has ended."""
        name = event.job_id
        if event.exception is not None:
            logger.error("chore failed", name=name, reason=FAILED, exc_info=event.exception)
            self._alarms.raise_(FAILED, name)
            self._failing.add(name)
        elif name in self._failing:
            self._alarms.clear(FAILED, name)
            self._failing.discard(name)


def schedule(chores: Iterable[Chore], clock: Clock, alarms: Alarms) -> BackgroundScheduler:
    """A scheduler that wakes each chore; late and missed wake-ups melt into one."""
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
    )
    scheduler.add_listener(Mishaps(alarms), EVENT_JOB_ERROR | EVENT_JOB_EXECUTED)
    for chore in chores:
        scheduler.add_job(
            _patient(chore.do), "interval", seconds=chore.every_s, next_run_time=clock.now(), id=chore.name
        )
    return scheduler


def _patient(chore: Callable[[], None]) -> Callable[[], None]:
    """A chore that the world interrupted is done at the next wake-up."""

    def run() -> None:
        try:
            chore()
        except Transient as why:
            logger.warning("chore put off", name=chore.__name__, reason=why.reason)

    return run
