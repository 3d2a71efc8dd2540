"""The composition: builds every object once from the settings, hands it on, and runs the roles."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast
from zoneinfo import ZoneInfo

from oculard import __version__, log
from oculard.clock import Hands, SystemClock
from oculard.errors import Misconfigured, Transient
from oculard.log_files import MIB, LogFile
from oculard.settings import Settings
from oculard.store.roles import BEAT_S, Roles
from oculard.store.vault import GIB, RESTORING, Vault

if TYPE_CHECKING:
    from oculard.intake.watching import FolderWatch
    from oculard.report.request import Device
    from oculard.retrieve.backfill import Backfilling
    from oculard.store.alarms import Alarms
    from oculard.store.answers import Answers
    from oculard.store.backfills import Backfills
    from oculard.store.callers import Callers
    from oculard.store.database import Database
    from oculard.store.deliveries import Deliveries
    from oculard.store.health import Health
    from oculard.store.identity import Identity
    from oculard.store.instances import Instances
    from oculard.store.jobs import Jobs
    from oculard.store.night_jobs import NightJobs
    from oculard.store.notices import Notices
    from oculard.store.orphans import Orphans
    from oculard.store.queue import Queue
    from oculard.store.reannotations import Reannotations
    from oculard.store.retrievals import Retrievals
    from oculard.store.studies import Studies
    from oculard.store.trace import Trace
    from oculard.store.watched import Watched
    from oculard.upkeep.clockwork import Chore
    from oculard.upkeep.reannotation import Reannotation

IDLE_S = 0.1  # how soon an idle loop looks again
PAUSE_S = 2.0  # how long a loop rests when the world fails
logger = log.get("app")


@dataclass(frozen=True)
class App:
    """Every object that roles and commands share. Built lazily: `status` needs no network, no network needs a model."""

    settings: Settings
    clock: SystemClock

    @cached_property
    def database(self) -> Database:
        from oculard.store.database import Database

        return Database(self.settings.database_url, self.settings.database_password)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.settings.store.folder)

    @cached_property
    def identity(self) -> Identity:
        from oculard.store.identity import Identity

        return Identity(self.database, self.vault)

    @cached_property
    def instances(self) -> Instances:
        from oculard.store.instances import Instances

        return Instances(self.database, self.vault, self.clock)

    @cached_property
    def jobs(self) -> Jobs:
        from oculard.store.jobs import Jobs

        return Jobs(self.database, self.clock)

    @cached_property
    def night_jobs(self) -> NightJobs:
        from oculard.store.night_jobs import NightJobs

        return NightJobs(self.database, self.clock, self.jobs.queue)

    @cached_property
    def studies(self) -> Studies:
        from oculard.store.studies import Studies

        return Studies(self.database, self.clock, self.jobs)

    @cached_property
    def backfills(self) -> Backfills:
        from oculard.store.backfills import Backfills

        return Backfills(self.database, self.clock)

    @cached_property
    def retrievals(self) -> Retrievals:
        from oculard.store.retrievals import Retrievals

        return Retrievals(self.database, self.clock, self.backfills.queue)

    @cached_property
    def reannotations(self) -> Reannotations:
        from oculard.store.reannotations import Reannotations

        return Reannotations(self.database, self.clock, self.jobs)

    @cached_property
    def deliveries(self) -> Deliveries:
        from oculard.store.deliveries import Deliveries

        return Deliveries(self.database, self.clock)

    @cached_property
    def answers(self) -> Answers:
        from oculard.store.answers import Answers

        return Answers(self.database, self.clock)

    @cached_property
    def callers(self) -> Callers:
        from oculard.store.callers import Callers

        return Callers(self.database, self.clock)

    @cached_property
    def alarms(self) -> Alarms:
        from oculard.store.alarms import Alarms

        return Alarms(self.database, self.clock)

    @cached_property
    def notices(self) -> Notices:
        from oculard.store.notices import Notices

        return Notices(self.database, self.clock)

    @cached_property
    def health(self) -> Health:
        from oculard.store.health import Health

        return Health(self.database, self.clock)

    @cached_property
    def roles(self) -> Roles:
        return Roles(self.database, self.clock)

    @cached_property
    def watched(self) -> Watched:
        from oculard.store.watched import Watched

        return Watched(self.database, self.clock)

    @cached_property
    def trace(self) -> Trace:
        from oculard.store.trace import Trace

        return Trace(self.database, self.clock)

    @cached_property
    def orphans(self) -> Orphans:
        from oculard.store.orphans import Orphans

        return Orphans(self.database, self.vault)

    def take_orphan(self, path: Path) -> None:
        """Take a file of the vault that no row knows into custody, by the same way as any other."""
        from oculard.intake.role import folder_import

        folder_import(self.settings, self.instances, self.vault, sender="orphan").take(path)

    def prepare(self) -> None:
        """See that database and folders are as they must be before anything runs. Raises Permanent."""
        self.database.check()
        self.identity.check()  # before a folder is made: where the disk is away lies an empty one
        try:
            self.vault.prepare()
            (self.vault.folder / RESTORING).unlink(missing_ok=True)  # whoever starts a daemon has done with restoring
        except OSError as why:
            hint = "the daemon's user must own this folder; [store] folder names another one"
            raise Misconfigured(f"cannot use {why.filename or self.vault.folder}: {why.strerror}", hint=hint) from why
        self.identity.settle()

    @property
    def queues(self) -> tuple[Queue, ...]:
        """Everything that a dead process may have held."""
        leased = (self.jobs, self.deliveries, self.answers, self.notices, self.backfills)
        return tuple(one.queue for one in leased)

    @property
    def device(self) -> Device:
        """How reports name this installation."""
        from oculard.report.request import Device

        site = self.settings.site
        return Device(
            manufacturer="oculard",
            software_version=__version__,
            serial_number=site.station,
            station_name=site.station,
            device_uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, f'oculard {site.organisation} {site.station}').int}",
        )


def run_intake(app: App, name: str) -> None:
    """The Storage SCP, until the clock is stopped."""
    from oculard.intake.lean import load_dicom

    load_dicom()  # before whatever else would
    from oculard.intake.role import IntakeRole
    from oculard.store.instances import Instances

    app.vault.sweep_spool(older_than_s=app.settings.intake.dimse_s + app.settings.intake.network_s)
    app.vault.make_parts("instances")
    role = IntakeRole(
        app.settings,
        instances=Instances(app.database, app.vault, app.clock, owner=name),
        vault=app.vault,
        callers=app.callers,
        answers=app.answers,
        deliveries=app.deliveries,
        clock=app.clock,
        owner=name,
    )
    with role:
        _loop(app, "intake", name, role.step, says=lambda: role.ports)


def run_worker(app: App, name: str) -> None:
    """One worker, until the clock is stopped."""
    from oculard.decoders import limits
    from oculard.inference.decoding import Decoder
    from oculard.inference.estimators import Estimators, families, find
    from oculard.inference.grading import QualityGate
    from oculard.inference.opening import Opening
    from oculard.inference.refused import refused_models
    from oculard.inference.volume import volumes
    from oculard.inference.worker import LOOKERS, Worker
    from oculard.inference.write import Writing

    settings = app.settings.worker
    bundles, refusals = find(settings.bundles)
    for refusal in refusals:
        logger.error("bundle refused", bundle=refusal.folder.name, reason="bundle-refused", why=refusal.reason)
    estimators = Estimators(
        bundles,
        providers=settings.providers,
        threads=settings.threads,
        runner=settings.runner,
        precision=settings.precision,
    )
    for why in estimators.choice.why:
        (logger.warning if "not used" in why else logger.info)("provider", why=why)
    estimators.load(family.estimator for family in families(bundles, settings.estimators).values())
    gate = QualityGate(bundles, settings.quality_gate, threads=settings.threads, disc_finder=settings.disc_finder)
    gate.load()
    app.alarms.only("model-refused", refused_models(settings, refusals, estimators, gate))
    decoder = Decoder(limits(settings), processes=LOOKERS)
    worker = Worker(
        owner=name,
        settings=settings,
        jobs=app.jobs,
        vault=app.vault,
        alarms=app.alarms,
        estimators=estimators,
        gate=gate,
        faz=app.settings.faz,
        volumes=volumes(app.settings.glaucoma),
        decoder=decoder,
        writing=Writing(device=app.device, settings=app.settings.report),
        peers=[peer.name for peer in app.settings.peers],
        zone=ZoneInfo(app.settings.site.time_zone),
        hours=Opening(app.settings.night, app.settings.night_zone, app.night_jobs, app.clock).hours,
        clock=app.clock,
    )
    try:
        _loop(app, "worker", name, worker.step, says=lambda: {"providers": list(estimators.choice.providers)})
    finally:
        worker.close()
        decoder.close()


def run_sender(app: App, name: str) -> None:
    """The sender of reports, until the clock is stopped. Each peer has a thread: a silent one holds up nobody else."""
    from oculard.delivery.sender import Sender

    senders = [
        Sender(app.settings, app.deliveries, app.vault, app.alarms, app.clock, owner=name, peers=[peer])
        for peer in app.settings.peers
    ]
    with ThreadPoolExecutor(max_workers=max(1, len(senders)), thread_name_prefix="sender") as threads:
        running = [threads.submit(_beside, app, sender.step) for sender in senders]
        _loop(app, "sender", name, lambda: False)
    for one in running:
        one.result()  # a bug in a thread is this process's bug


def run_fetcher(app: App, name: str) -> None:
    """Back-fill and watched folders, until the clock is stopped. Each association to an archive has a thread."""
    backfillings, watches = _backfillings(app, name), _watches(app)
    steps = [*(one.step for one in backfillings), *(one.step for one in watches)]

    def check() -> bool:
        for one in watches:
            one.check()
        return False

    with ThreadPoolExecutor(max_workers=max(1, len(steps)), thread_name_prefix="fetcher") as threads:
        running = [threads.submit(_beside, app, step) for step in steps]
        _loop(app, "fetcher", name, check, says=lambda: {"folders": {one.name: one.says() for one in watches}})
        with ThreadPoolExecutor(max_workers=max(1, len(backfillings))) as enders:
            list(enders.map(lambda one: one.close(), backfillings))  # a study may be half an hour on its way
    for one in running:
        one.result()  # a bug in a thread is this process's bug


def _backfillings(app: App, name: str) -> list[Backfilling]:
    """One for each association that may be open to an archive."""
    from oculard.intake.role import folder_import
    from oculard.night import is_open
    from oculard.retrieve.archives import archive_of
    from oculard.retrieve.backfill import Backfilling, Surroundings
    from oculard.retrieve.restraint import Pace, Rest

    settings, made, again = app.settings, [], reannotation(app)
    for entry in settings.archives:
        importer = folder_import(settings, app.instances, app.vault, sender=entry.name)
        around = Surroundings(
            backfills=app.backfills,
            retrievals=app.retrievals,
            annotate=lambda study_id, wish: again.order(study_id, wish, actor="fetcher"),
            take=importer.take,
            is_night=lambda: is_open(settings.night, app.clock.now(), settings.night_zone),
            has_room=lambda: app.vault.free_gib() >= settings.store.disk_free_min_gib,
            clock=app.clock,
            owner=name,
        )
        pace, rest = Pace(entry.studies_per_min), Rest(entry.name, app.alarms)
        for number in range(entry.associations):
            archive = archive_of(entry, settings, app.vault)
            made.append(Backfilling(entry, archive, around, pace=pace, rest=rest, finds=number == 0))
    return made


def _watches(app: App) -> list[FolderWatch]:
    """One for each watched folder, each in a thread of its own: one that hangs holds up no other."""
    from oculard.intake.role import folder_import
    from oculard.intake.watching import FolderWatch

    return [
        FolderWatch(
            folder,
            folder_import(app.settings, app.instances, app.vault, sender=folder.name),
            app.watched,
            app.alarms,
            app.clock,
        )
        for folder in app.settings.folders
    ]


def reannotation(app: App) -> Reannotation:
    """Orders again what the bundles in force have not done."""
    from oculard.inference.estimators import families, find
    from oculard.upkeep.reannotation import Reannotation

    served = families(find(app.settings.worker.bundles)[0], app.settings.worker.estimators)
    return Reannotation(app.reannotations, app.settings.plan, served)


def run_upkeep(app: App, name: str) -> None:
    """Settling and the chores, until the clock is stopped."""
    from oculard.inference.estimators import families, find
    from oculard.upkeep.clockwork import Chores, schedule
    from oculard.upkeep.night_orders import NightOrders
    from oculard.upkeep.night_watch import NightWatch
    from oculard.upkeep.settling import Settling

    bundles, _ = find(app.settings.worker.bundles)
    served = families(bundles, app.settings.worker.estimators)
    settling = Settling(app.settings, app.studies, served, app.clock, wish=app.retrievals.wish)
    chores = Chores(
        settings=app.settings,
        families=served,
        jobs=app.jobs,
        deliveries=app.deliveries,
        queues=app.queues,
        vault=app.vault,
        alarms=app.alarms,
        clock=app.clock,
    )
    night = NightWatch(
        night=app.settings.night, time_zone=app.settings.night_zone, jobs=app.night_jobs, clock=app.clock
    )
    orders = NightOrders(
        night=app.settings.night, time_zone=app.settings.night_zone, backfills=app.backfills, clock=app.clock
    )
    everything = [*chores.all(), *night.all(), *orders.all(), *_keeping(app), *_watching(app), *_telling(app, name)]
    scheduler = schedule(everything, app.clock, app.alarms)
    scheduler.start()
    try:
        _loop(app, "upkeep", name, settling.step)
    finally:
        scheduler.shutdown(wait=True)


def _keeping(app: App) -> list[Chore]:
    """The chores that keep vault and database in order."""
    from oculard.store.retention import Retention
    from oculard.store.tidying import Tidying
    from oculard.upkeep.housekeeping import Housekeeping

    committing = [peer.name for peer in app.settings.peers if peer.commitment]
    return Housekeeping(
        settings=app.settings.retention,
        night=app.settings.night,
        time_zone=app.settings.night_zone,
        retention=Retention(app.database, app.vault, app.clock, committing=committing),
        orphans=app.orphans,
        tidying=Tidying(app.database, app.clock),
        watched=app.watched,
        vault=app.vault,
        alarms=app.alarms,
        take=app.take_orphan,
        is_idle=lambda: not any(queue.holders() for queue in app.queues) and not app.instances.owners(),
        clock=app.clock,
    ).all()


def _watching(app: App) -> list[Chore]:
    """The chores that raise and clear the alarms of [alarms]."""
    from oculard.store.forecast import days_left
    from oculard.tls import all_files
    from oculard.upkeep.certificates import watched
    from oculard.upkeep.watchdog import Steady, Watchdog

    mark_bytes = app.settings.store.disk_free_min_gib * GIB
    return Watchdog(
        limits=app.settings.alarms,
        certificates=watched(app.settings),
        tls=all_files(app.settings),
        peers=[peer.name for peer in app.settings.peers],
        health=app.health,
        alarms=app.alarms,
        days_left=lambda: days_left(app.database, app.vault.free_gib() * GIB, mark_bytes, app.clock.now()),
        steady=Steady(seconds=lambda: time.clock_gettime(time.CLOCK_BOOTTIME)),  # it goes on while the machine sleeps
        clock=app.clock,
    ).all()


def _telling(app: App, name: str) -> list[Chore]:
    """The chores that tell people, where the configuration says whom."""
    from oculard.store.news import News
    from oculard.upkeep.addresses import read_addresses
    from oculard.upkeep.alarm_notices import AlarmNotices
    from oculard.upkeep.morning import MorningMaker
    from oculard.upkeep.morning_notice import MorningNotice
    from oculard.upkeep.notices import Postman

    settings, addresses = app.settings, read_addresses(app.settings.notify_urls)
    chores = Postman(owner=name, addresses=addresses, notices=app.notices, alarms=app.alarms, clock=app.clock).all()
    if addresses and settings.notify.alarms:
        chores += AlarmNotices(
            news=News(app.database, app.clock, app.notices),
            language=settings.night.report_language,
            zone=ZoneInfo(settings.site.time_zone),
            station=settings.site.station,
            clock=app.clock,
        ).all()
    maker = MorningMaker(settings=settings, database=app.database, vault=app.vault, clock=app.clock)
    wanted = bool(addresses) and settings.notify.night
    return chores + MorningNotice(maker=maker, notices=app.notices, is_wanted=wanted).all()


def run_web(app: App, name: str) -> None:
    """The HTTP endpoints, until the clock is stopped."""
    from oculard.web.server import WebServer

    with WebServer(app.settings, app.database, app.vault, app.roles, app.trace, app.alarms) as server:
        _loop(app, "web", name, lambda: False, says=lambda: {"port": server.port})


ROLES: dict[str, Callable[[App, str], None]] = {
    "intake": run_intake,
    "worker": run_worker,
    "sender": run_sender,
    "fetcher": run_fetcher,
    "upkeep": run_upkeep,
    "web": run_web,
}


def roles_of(settings: Settings) -> list[str]:
    """The roles that a whole daemon has, one a process: a fetcher only where there is something to fetch from."""
    counts = {"fetcher": int(bool(settings.archives or settings.folders)), "intake": settings.intake.processes}
    return [role for role in ROLES for _ in range(counts.get(role, 1))]


def run_role(app: App, role: str, *, name: str | None, supervised: bool) -> None:
    """Run one role in this process until SIGTERM, SIGINT or, when supervised, the end of its supervisor."""
    configure_log(app.settings, role)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.clock.stop())
    if supervised:
        threading.Thread(target=_follow_supervisor, args=(app.clock,), name="supervisor", daemon=True).start()
    app.prepare()
    ROLES[role](app, name or role_name(role))


def configure_log(settings: Settings, role: str) -> None:
    """Events of this process go to stderr, or into its role's file."""
    to, where = sys.stderr, settings.log
    if where.folder is not None:
        file = LogFile(where.folder, role, bytes_max=int(where.file_mib * MIB), files=where.files)
        to = cast("TextIO", file)  # all of it that a log needs
    log.configure(level=where.level, form=where.form, role=role, to=to)


def role_name(role: str) -> str:
    """A name that no other process has, now or later: leases are held under it."""
    return f"{role}@{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def is_dead(name: str) -> bool:
    """Whether a name belongs to a process of this machine that is gone; of another machine's nothing is known."""
    _, host, pid, *_ = (*name.replace("@", ":").split(":"), "", "", "")
    if host != socket.gethostname()[:40] or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it lives, under another user
    return False


def _loop(
    app: App, role: str, name: str, step: Callable[[], bool], *, says: Callable[[], dict[str, Any]] = dict
) -> None:
    """The shell of every role: step while there is work, rest when there is none, and tell `status` that we live."""
    pulse = threading.Thread(target=_pulse, args=(app, role, name, says), name="pulse", daemon=True)
    pulse.start()
    logger.info("role started", name=name, pid=os.getpid())
    hands = Hands.of(app.clock)
    _steps(app, lambda: _start_anew(app) if hands.were_set_back() else step())
    pulse.join()
    logger.info("role ended", name=name)


def _start_anew(app: App) -> bool:
    """End, so that the supervisor starts us anew: nobody in this process waits for a time of the old clock then."""
    logger.warning("clock set back", reason="clock-set-back", hint="is the time server right?")
    app.clock.stop()
    return True


def _steps(app: App, step: Callable[[], bool]) -> None:
    while app.clock.running:
        try:
            busy = step()
        except Transient as why:
            logger.warning("step put off", reason=why.reason, hint=why.hint)
            app.clock.sleep(PAUSE_S)
            continue
        if not busy:
            app.clock.sleep(IDLE_S)


def _beside(app: App, step: Callable[[], bool]) -> None:
    """Steps in a thread of their own; a bug in one ends the whole process, which its supervisor starts again."""
    try:
        _steps(app, step)
    finally:
        app.clock.stop()


def _pulse(app: App, role: str, name: str, says: Callable[[], dict[str, Any]]) -> None:
    while app.clock.running:
        try:
            app.roles.beat(name, role, says())
        except Transient as why:
            logger.warning("heartbeat missed", reason=why.reason)
        app.clock.sleep(BEAT_S)
    try:
        app.roles.forget(name)
    except Transient as why:
        logger.warning("heartbeat missed", reason=why.reason)


def _follow_supervisor(clock: SystemClock) -> None:
    """The supervisor holds the other end of our stdin: when it dies, however it dies, we end too."""
    while os.read(0, 4096):
        pass
    clock.stop()
