"""The worker from claim to committed report, against onnxruntime alone on tensors that are ready."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bench.nets import random_bundle
from bench.tables import Table, middle, seconds
from oculard.clock import SystemClock
from oculard.inference.estimators import Estimators, families
from oculard.inference.grading import QualityGate
from oculard.inference.worker import Worker
from oculard.inference.write import Writing
from oculard.intake.role import folder_import
from oculard.report.request import Device
from oculard.settings import Settings, Store
from oculard.settings import Settling as SettlingSettings
from oculard.settings import Worker as WorkerSettings
from oculard.store.database import Database
from oculard.upkeep.settling import Settling
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, painted_uid, wrap_fundus
from oculard_models.data.person import sample_people
from oculard_models.registry import BUNDLES, Bundle, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers
from shelf import ANY_TIME, Shelf

CHOICE = choose_providers(["cpu"], ["CPUExecutionProvider"])
PIXELS = 2048  # height and width of a photograph
PAINTED = 4  # different photographs; the instances are many more
ROUNDS = 3
IMAGES = {"mobilenet": 48, "efficientnet-b7": 12}  # a round
Batch = npt.NDArray[np.float32]


def measure() -> Table:
    """Images per second, worker and raw in turn, and the share that the worker keeps."""
    photographs = [paint(sample_people(PAINTED, 5)[k], "RL"[k % 2], k, PIXELS) for k in range(PAINTED)]
    rows, raw = [], {}
    for architecture, count in IMAGES.items():
        with TemporaryDirectory() as folder:
            bundle = random_bundle(architecture, Path(folder))
            figures = _pairs(bundle, photographs, count, Path(folder))
        raw[architecture] = figures
        best = [max(pair) for pair in zip(figures["raw_one"], figures["raw_lanes"], strict=True)]
        shares = [worker / alone for worker, alone in zip(figures["worker"], best, strict=True)]
        rows.append(
            [
                architecture,
                middle(figures["raw_one"]),
                middle(figures["raw_lanes"]),
                middle(figures["worker"]),
                f"{100 * median(shares):.0f} %",
                "  ".join(f"{stage} {1000 * took:.0f}" for stage, took in figures["stages_s"].items()),
            ]
        )
    return Table(
        title="Worker against raw onnxruntime, images a second: median (smallest to largest)",
        heads=[
            "network",
            "raw, all cores on one",
            "raw, one core each",
            "worker",
            "share of the better",
            "ms by stage",
        ],
        rows=rows,
        remarks=[
            f"One {PIXELS} x {PIXELS} JPEG an eye and one report an eye; the worker's time is from claim to commit,",
            "with decoding, quality gate, report and fsyncs. Raw sees tensors that are ready.",
        ],
        raw=raw,
    )


def _pairs(
    bundle: Bundle, photographs: list[npt.NDArray[np.uint8]], count: int, folder: Path
) -> dict[str, list[float]]:
    """Measure raw and worker in turn, `ROUNDS` times."""
    cores = len(os.sched_getaffinity(0))
    one, lanes = OnnxEstimator(bundle, CHOICE, threads=0), OnnxEstimator(bundle, CHOICE, threads=1)
    batch = np.random.default_rng(1).random((1, 3, *bundle.manifest.input.size_px), dtype=np.float32)
    bench = _Bench(folder, bundle)
    bench.fill(photographs, 4)  # loads the networks, and is not counted
    bench.drain()
    figures: dict[str, list[float]] = {"raw_one": [], "raw_lanes": [], "worker": []}
    for _ in range(ROUNDS):
        bench.fill(photographs, count)
        figures["raw_one"].append(count / seconds(lambda: [one.estimate(batch) for _ in range(count)]))
        with ThreadPoolExecutor(cores) as pool:
            figures["raw_lanes"].append(count / seconds(lambda: list(pool.map(lanes.estimate, [batch] * count))))
        figures["worker"].append(count / seconds(bench.drain))
    return figures | {"stages_s": bench.stages()}  # type: ignore[dict-item]  # one row of another kind


class _Bench:
    """A store on disk and a worker, built as the program builds them."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder, self.studies = folder, 0
        name = bundle.manifest.name
        self.settings = Settings(
            store=Store(folder=folder / "vault", disk_free_min_gib=0),
            settling=SettlingSettings(quiet_s=0),
            worker=WorkerSettings(estimators={"systemic": name}),
        )
        database = Database(f"sqlite:///{folder / 'oculard.db'}")
        database.upgrade()
        clock = SystemClock()
        self.shelf = Shelf(database, clock, folder / "vault")
        found = [read_bundle(BUNDLES / self.settings.worker.quality_gate), bundle]
        self.settling = Settling(self.settings, self.shelf.studies, families(found, {"systemic": name}), clock)
        self.worker = Worker(
            owner="worker",
            settings=self.settings.worker,
            jobs=self.shelf.jobs,
            vault=self.shelf.vault,
            alarms=self.shelf.alarms,
            gate=QualityGate(found, self.settings.worker.quality_gate, threads=self.settings.worker.threads),
            estimators=Estimators(found, providers=["cpu"], threads=self.settings.worker.threads),
            faz=self.settings.faz,
            writing=Writing(
                device=Device(manufacturer="oculard", software_version="0", serial_number="1", device_uid="2.25.1"),
                settings=self.settings.report,
            ),
            peers=["pacs"],
            zone=UTC,
            hours=lambda: ANY_TIME,
            clock=clock,
        )

    def fill(self, photographs: list[npt.NDArray[np.uint8]], count: int) -> None:
        """Take `count` photographs in, two a study, and settle the studies."""
        inbox = self.folder / "in"
        inbox.mkdir(exist_ok=True)
        for k in range(count):
            self.studies += k % 2 == 0
            visit = Visit(study_uid=painted_uid("bench", self.studies), series_uid=painted_uid("series", self.studies))
            uid = painted_uid("bench", self.studies, k)
            ds = wrap_fundus(photographs[k % len(photographs)], visit, eye="RL"[k % 2], uid=uid)
            ds.save_as(inbox / f"{k}.dcm", enforce_file_format=True)
        for one in folder_import(self.settings, self.shelf.instances, self.shelf.vault).run(inbox):
            assert one.outcome == "received", one
        while self.settling.step():
            pass

    def drain(self) -> None:
        """Work until nothing waits."""
        while self.worker.step():
            pass

    def stages(self) -> dict[str, float]:
        """Mean seconds a job spent in each stage."""
        with self.shelf.database.read() as connection:
            took = [row for (row,) in connection.exec_driver_sql("SELECT took FROM report").all()]
        rows = [json.loads(row) if isinstance(row, str) else row for row in took]
        names = list(dict.fromkeys(name for row in rows for name in row))
        return {name: float(np.mean([row.get(name, 0.0) for row in rows])) for name in names}
