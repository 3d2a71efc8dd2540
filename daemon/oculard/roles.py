"""The roles: what each process of the daemon does until its clock is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

from oculard import loading, log
from oculard.app import App
from oculard.chores import run_upkeep
from oculard.fetching import run_fetcher
from oculard.loop import beside, loop
from oculard.process import configure_log, follow_supervisor, role_name
from oculard.settings import Settings

logger = log.get("app")


def run_role(app: App, role: str, *, name: str | None, supervised: bool) -> None:
    """Run one role in this process until SIGTERM, SIGINT or, when supervised, the end of its supervisor."""
    loading.begin()  # until its loop begins
    configure_log(app.settings, role)
    log.load()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: app.clock.stop())
    if supervised:
        threading.Thread(target=follow_supervisor, args=(app.clock,), name="supervisor", daemon=True).start()
    app.prepare()
    ROLES[role](app, name or role_name(role))


def roles_of(settings: Settings) -> list[str]:
    """The roles that a whole daemon has, one a process: a fetcher only where there is something to fetch from."""
    counts = {"fetcher": int(bool(settings.archives or settings.folders)), "intake": settings.intake.processes}
    return [role for role in ROLES for _ in range(counts.get(role, 1))]


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
        loop(app, "intake", name, role.step, says=lambda: role.ports)


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
    from oculard_models.manifest import OCT_VOLUME

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
    served = families(bundles, settings.estimators).values()
    estimators.load(family.estimator for family in served)
    gate = QualityGate(bundles, settings.quality_gate, threads=settings.threads, disc_finder=settings.disc_finder)
    gate.load()
    how = volumes(app.settings.glaucoma, threads=settings.threads)
    if any(family.input_kind == OCT_VOLUME for family in served):
        how.layers.load()
    app.alarms.only("model-refused", refused_models(app.settings, refusals, estimators, gate, how.layers))
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
        volumes=how,
        decoder=decoder,
        writing=Writing(device=app.device, settings=app.settings.report),
        peers=[peer.name for peer in app.settings.peers],
        zone=ZoneInfo(app.settings.site.time_zone),
        hours=Opening(app.settings.night, app.settings.night_zone, app.night_jobs, app.clock).hours,
        clock=app.clock,
    )
    try:
        loop(app, "worker", name, worker.step, says=lambda: {"providers": list(estimators.choice.providers)})
    finally:
        worker.close()
        decoder.close()


def run_sender(app: App, name: str) -> None:
    """The sender of reports, until the clock is stopped. Each peer has a thread: a silent one holds up nobody else."""
    from oculard.intake.lean import load_dicom

    load_dicom()  # before whatever else would
    from oculard.delivery.sender import Sender

    senders = [
        Sender(app.settings, app.deliveries, app.vault, app.alarms, app.clock, owner=name, peers=[peer])
        for peer in app.settings.peers
    ]
    with ThreadPoolExecutor(max_workers=max(1, len(senders)), thread_name_prefix="sender") as threads:
        running = [threads.submit(beside, app, sender.step) for sender in senders]
        loop(app, "sender", name, lambda: False)
    for one in running:
        one.result()  # a bug in a thread is this process's bug


def run_web(app: App, name: str) -> None:
    """The HTTP endpoints, until the clock is stopped."""
    from oculard.web.server import WebServer

    with WebServer(app.settings, app.database, app.vault, app.roles, app.trace, app.alarms) as server:
        loop(app, "web", name, lambda: False, says=lambda: {"port": server.port})


ROLES: dict[str, Callable[[App, str], None]] = {
    "intake": run_intake,
    "worker": run_worker,
    "sender": run_sender,
    "fetcher": run_fetcher,
    "upkeep": run_upkeep,
    "web": run_web,
}
