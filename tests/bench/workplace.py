"""A workplace: a store on disk, a worker with its decoders, built as the program builds them, and what it has to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset

from oculard.clock import SystemClock
from oculard.decoders import limits
from oculard.imaging.kinds import EN_FACE, OCT_VOLUME
from oculard.inference.decoding import Decoder
from oculard.inference.estimators import Estimators, families
from oculard.inference.grading import QualityGate
from oculard.inference.worker import LOOKERS, Worker
from oculard.inference.write import Writing
from oculard.intake.role import folder_import
from oculard.report.request import Device
from oculard.settings import Rule, Settings, Store
from oculard.settings import Settling as SettlingSettings
from oculard.settings import Worker as WorkerSettings
from oculard.store.database import Database
from oculard.upkeep.settling import Settling
from oculard_models.data.paint import paint
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.data.paint_octa import paint_octa
from oculard_models.data.painted_enface import wrap_en_face
from oculard_models.data.painted_study import Visit, painted_uid, wrap_fundus
from oculard_models.data.painted_volume import wrap_volume
from oculard_models.data.person import sample_people
from oculard_models.registry import BUNDLES, Bundle, read_bundle
from oculard_models.runners.load import Runner
from oculard_models.runners.openvino_runner import Precision
from shelf import ANY_TIME, Shelf

PHOTOGRAPH_PX, SLAB_PX, VOLUME = 2048, 320, (128, 496, 256)  # frames, depth, columns
PAINTED = 4  # different pictures; the instances are many more
MIB = 1 << 20
Wrap = Callable[[int, Visit, str], FileDataset]


class AtOnce(Executor):
    """Does what it is given before it goes on: a worker with this one looks at nothing meanwhile."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """The result, or what was raised."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except Exception as why:  # noqa: BLE001  as an executor does
            future.set_exception(why)
        return future


class Workplace:
    """Serves one bundle; `worker` looks ahead, `plain` does one thing after the other."""

    def __init__(
        self,
        folder: Path,
        bundle: Bundle,
        runner: Runner = "onnx",
        precision: Precision = "float",
        *,
        batch: int = 8,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.studies, self._wrap = folder, 0, painter(bundle)
        family, name = bundle.manifest.family, bundle.manifest.name
        self.settings = Settings(
            store=Store(folder=folder / "vault", disk_free_min_gib=0),
            settling=SettlingSettings(quiet_s=0),
            worker=WorkerSettings(estimators={family: name}, batch=batch),
            plan=[Rule(families=[family])],
        )
        database = Database(f"sqlite:///{folder / 'oculard.db'}")
        database.upgrade()
        clock = SystemClock()
        self.shelf = Shelf(database, clock, folder / "vault")
        settings = self.settings.worker
        found = [read_bundle(BUNDLES / settings.quality_gate), bundle]
        self.settling = Settling(self.settings, self.shelf.studies, families(found, {family: name}), clock)
        self.decoder = Decoder(limits(settings), processes=LOOKERS)
        self.worker = Worker(
            owner="worker",
            settings=settings,
            jobs=self.shelf.jobs,
            vault=self.shelf.vault,
            alarms=self.shelf.alarms,
            gate=QualityGate(found, settings.quality_gate, threads=settings.threads),
            estimators=Estimators(
                found, providers=["cpu"], threads=settings.threads, runner=runner, precision=precision
            ),
            faz=self.settings.faz,
            decoder=self.decoder,
            writing=Writing(
                device=Device(manufacturer="oculard", software_version="0", serial_number="1", device_uid="2.25.1"),
                settings=self.settings.report,
            ),
            peers=["pacs"],
            zone=UTC,
            hours=lambda: ANY_TIME,
            clock=clock,
        )
        self.plain = replace(self.worker, lookers=AtOnce(), ahead=[], owed=[])

    def fill(self, count: int) -> None:
        """Take `count` images in, two a study, and settle the studies."""
        inbox = self.folder / "in"
        inbox.mkdir()
        for k in range(count):
            self.studies += k % 2 == 0
            visit = Visit(study_uid=painted_uid("bench", self.studies), series_uid=painted_uid("series", self.studies))
            ds = self._wrap(k, visit, painted_uid("bench", self.studies, k))
            ds.save_as(inbox / f"{k}.dcm", enforce_file_format=True)
        for one in folder_import(self.settings, self.shelf.instances, self.shelf.vault).run(inbox):
            assert one.outcome == "received", one
        shutil.rmtree(inbox)
        while self.settling.step():
            pass

    def drain(self, worker: Worker) -> None:
        """Work until nothing waits."""
        while worker.step():
            pass

    def close(self) -> None:
        """End the worker and its decoders."""
        self.worker.close()
        self.decoder.close()
        self.shelf.database.close()

    def outcomes(self) -> Mapping[str, int]:
        """How the jobs ended."""
        return self.shelf.jobs.queue.counts()

    def stages(self) -> dict[str, float]:
        """Mean seconds a job spent in each stage."""
        with self.shelf.database.read() as connection:
            took = [row for (row,) in connection.exec_driver_sql("SELECT took FROM report").all()]
        rows = [json.loads(row) if isinstance(row, str) else row for row in took]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: float(np.mean([row.get(name, 0.0) for row in rows])) for name in names}


def painter(bundle: Bundle) -> Wrap:
    """What makes images of the kind that a bundle reads: the number, its visit and its UID in, an instance out."""
    kind = bundle.manifest.input.kind
    if kind == OCT_VOLUME:
        volumes = _volumes()
        return lambda k, visit, uid: wrap_volume(volumes[k % 2], visit, uid=uid)
    if kind == EN_FACE:
        slabs = [paint_octa(seed, SLAB_PX).pixels for seed in range(PAINTED)]
        return lambda k, visit, uid: wrap_en_face(
            slabs[k % PAINTED], visit, eye="RL"[k % 2], uid=uid, plexus="superficial", side_mm=3.0
        )
    photographs = _photographs()
    return lambda k, visit, uid: wrap_fundus(photographs[k % PAINTED], visit, eye="RL"[k % 2], uid=uid)


@cache
def _photographs() -> list[npt.NDArray[np.uint8]]:
    return [paint(sample_people(PAINTED, 5)[k], "RL"[k % 2], k, PHOTOGRAPH_PX) for k in range(PAINTED)]


@cache
def _volumes() -> list[PaintedVolume]:
    frames, depth, columns = VOLUME
    eyes = [draw_eye(seed, "focal-ischemia", eye="RL"[seed % 2]) for seed in range(2)]
    return [paint_volume(eye, frames=frames, depth=depth, columns=columns) for eye in eyes]


def shipped(*names: str) -> Iterator[Bundle]:
    """Bundles that come with the program."""
    return (read_bundle(BUNDLES / name) for name in names)
