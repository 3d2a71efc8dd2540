"""Upkeep: settling, and every chore that the clock triggers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from oculard.app import App
from oculard.loop import loop
from oculard.store.vault import GIB

if TYPE_CHECKING:
    from oculard.upkeep.clockwork import Chore


def run_upkeep(app: App, name: str) -> None:
    """Settling and the chores, until the clock is stopped."""
    from oculard.intake.lean import nothing_for_pixels

    with nothing_for_pixels():
        import pydicom.dataset  # before whatever else would  # noqa: F401
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
        loop(app, "upkeep", name, settling.step)
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
