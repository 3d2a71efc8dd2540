"""The composition: builds every object once from the settings, and hands it on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from oculard import __version__
from oculard.clock import SystemClock
from oculard.errors import Misconfigured
from oculard.settings import Settings
from oculard.store.roles import Roles
from oculard.store.vault import RESTORING, Vault

if TYPE_CHECKING:
    from oculard.report.request import Device
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
    from oculard.upkeep.reannotation import Reannotation


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

    def close(self) -> None:
        """Let go of the database: whoever is the last leaves nothing of it beside its file."""
        if "database" in vars(self):
            self.database.close()

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

    @property
    def reannotation(self) -> Reannotation:
        """Orders again what the bundles in force have not done."""
        from oculard.inference.estimators import families, find
        from oculard.upkeep.reannotation import Reannotation

        served = families(find(self.settings.worker.bundles)[0], self.settings.worker.estimators)
        return Reannotation(self.reannotations, self.settings.plan, served)
