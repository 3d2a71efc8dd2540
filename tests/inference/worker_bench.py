"""A bench for the worker: a real store, a device's words, the shipped bundles, and gates that say what a test wants."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from fakes import FakeClock
from oculard.inference.estimators import Estimators, families, find
from oculard.inference.grading import QualityGate, ServedGate
from oculard.inference.worker import Worker
from oculard.inference.write import Writing
from oculard.intake.role import folder_import
from oculard.report.read import ReadReport, read_report
from oculard.report.request import Device, Grader
from oculard.settings import Settings, Store
from oculard.settings import Worker as WorkerSettings
from oculard.store.database import Database
from oculard.upkeep.settling import Settling
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, painted_uid, wrap_fundus
from oculard_models.data.person import Person, sample_people
from oculard_models.manifest import Combine
from oculard_models.quality import Grade, Quality
from oculard_models.registry import Bundle
from shelf import ANY_TIME, Shelf

Pixels = npt.NDArray[np.uint8]
SERVING = MappingProxyType({"systemic": "systemic-demo"})
PERSON: Person = sample_people(1, 11)[0]


class StagedGate:
    """A gate that says what a test wants of pictures of a given height, and that every other one is good."""

    def __init__(self, says: Mapping[int, Quality | Exception]) -> None:
        self.says, self.asked = says, 0

    def get(self) -> ServedGate:
        """Itself as the served gate."""
        grader = Grader(name="staged", version="1.0.0", weights_sha256="0" * 64)
        return ServedGate(name="staged@1.0.0", grader=grader, gate=self)  # type: ignore[arg-type]  # it assesses

    def assess(self, pixels: Pixels) -> Quality:
        """What was asked for."""
        self.asked += 1
        said = self.says.get(pixels.shape[0], Quality(grade=Grade.GOOD))
        if isinstance(said, Exception):
            raise said
        return said


def shipped(name: str) -> Bundle:
    """A bundle that comes with the program."""
    return next(bundle for bundle in find([])[0] if bundle.manifest.name == name)


def for_persons() -> Bundle:
    """The shipped demonstration as a bundle that averages both eyes, with an interval of its own for them."""
    bundle = shipped("systemic-demo")
    outputs = tuple(
        output.model_copy(update={"uncertainty_both": output.uncertainty and round(0.7 * output.uncertainty, 2)})
        for output in bundle.manifest.output
    )
    manifest = bundle.manifest.model_copy(update={"combine": Combine.PERSON, "output": outputs})
    return Bundle(folder=bundle.folder, manifest=manifest, card=bundle.card)


class Bench:
    """A store, a device's words and a worker."""

    def __init__(
        self,
        folder: Path,
        bundles: Sequence[Bundle] | None = None,
        gate: QualityGate | StagedGate | None = None,
        *,
        serving: Mapping[str, str] = SERVING,
        **settings: Any,
    ) -> None:
        self.folder, self.clock = folder, FakeClock()
        database = Database(f"sqlite:///{folder / 'oculard.db'}")
        database.upgrade()
        self.shelf = Shelf(database, self.clock, folder / "vault")
        self.settings = Settings(store=Store(folder=folder / "vault", disk_free_min_gib=0), **settings)
        found = find([])[0] if bundles is None else list(bundles)
        served = families(found or find([])[0], dict(serving))
        self.settling = Settling(self.settings, self.shelf.studies, served, self.clock)
        self.estimators = Estimators(found, providers=["cpu"], threads=1)
        self.worker = Worker(
            owner="worker",
            settings=WorkerSettings(attempts_max=2),
            jobs=self.shelf.jobs,
            vault=self.shelf.vault,
            alarms=self.shelf.alarms,
            estimators=self.estimators,
            gate=gate or QualityGate(find([])[0], "fundus-quality", threads=1),  # type: ignore[arg-type]  # or a staged one
            faz=self.settings.faz,
            writing=Writing(
                device=Device(manufacturer="oculard", software_version="0", serial_number="1", device_uid="2.25.1"),
                settings=self.settings.report,
            ),
            peers=["pacs"],
            zone=UTC,
            hours=lambda: ANY_TIME,
            clock=self.clock,
        )

    def receive(self, *images: FileDataset) -> None:
        """Take images into custody as an import does."""
        for ds in images:
            path = self.folder / "in" / f"{ds.SOPInstanceUID}.dcm"
            path.parent.mkdir(exist_ok=True)
            ds.save_as(path, enforce_file_format=True)
        for one in folder_import(self.settings, self.shelf.instances, self.shelf.vault).run(self.folder / "in"):
            assert one.outcome in ("received", "duplicate"), one
        shutil.rmtree(self.folder / "in")

    def work(self) -> list[ReadReport]:
        """Settle, work until nothing waits, and read every report that was made, oldest first."""
        self.clock.sleep(60)
        while self.settling.step():
            pass
        for _ in range(20):
            if not self.worker.step():
                break
        return self.reports()

    def reports(self) -> list[ReadReport]:
        """Every report, oldest first."""
        with self.shelf.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT path FROM report ORDER BY id").all()
        return [read_report(self.shelf.vault.path(path).read_bytes()) for (path,) in rows]


def photograph(
    name: str, eye: str = "R", pixels: Pixels | None = None, study: str = "s", **changes: Any
) -> FileDataset:
    """A painted photograph, or given pixels, as a device sends it."""
    visit = Visit(study_uid=painted_uid(study), series_uid=painted_uid(study, "series"), **changes)
    shown = paint(PERSON, eye or "R", 5, 320) if pixels is None else pixels
    return wrap_fundus(shown, visit, eye=eye, uid=painted_uid(name), number=1)
