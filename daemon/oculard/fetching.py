"""The fetcher: back-fill from archives, and watched folders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from oculard.app import App
from oculard.loop import beside, loop

if TYPE_CHECKING:
    from oculard.intake.watching import FolderWatch
    from oculard.retrieve.backfill import Backfilling


def run_fetcher(app: App, name: str) -> None:
    """Back-fill and watched folders, until the clock is stopped. Each association to an archive has a thread."""
    backfillings, watches = _backfillings(app, name), _watches(app)
    steps = [*(one.step for one in backfillings), *(one.step for one in watches)]

    def check() -> bool:
        for one in watches:
            one.check()
        return False

    with ThreadPoolExecutor(max_workers=max(1, len(steps)), thread_name_prefix="fetcher") as threads:
        running = [threads.submit(beside, app, step) for step in steps]
        loop(app, "fetcher", name, check, says=lambda: {"folders": {one.name: one.says() for one in watches}})
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

    settings, made, again = app.settings, [], app.reannotation
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
