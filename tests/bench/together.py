"""Intake and worker on one machine: each alone, then both at once, each at full load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import sleep

from bench.crew import Hand, crew
from bench.loads import write_load
from bench.nets import random_bundle
from bench.receivers import TITLE, oculard
from bench.tables import Table, middle
from peers import LOOPBACK

LOAD, INSTANCES, ASSOCIATIONS = "photographs, 2.4 MB", 240, 4
NETWORK, IMAGES = "efficientnet-b7", 120
ALONE_S = 5.0  # of the worker
ROUNDS = 3


def measure() -> Table:
    """MB/s of the intake and images/s of the worker, alone and together."""
    figures: dict[str, list[float]] = {"intake": [], "worker": [], "intake together": [], "worker together": []}
    with TemporaryDirectory(prefix="bench-together-") as folder:
        work = Path(folder)
        bundle, size = random_bundle(NETWORK).folder, write_load(LOAD, work / "load", INSTANCES)
        with crew(1, "bench.busy_worker", str(bundle), str(work / "worker"), str(IMAGES)) as (worker,):
            worker.must_be_ready()
            for _ in range(ROUNDS):
                for name, rate in _round(worker, work, size).items():
                    figures[name].append(rate)
    return Table(
        title="Intake and worker at full load, each alone and both at once: median (smallest to largest)",
        heads=["", "alone", "together", "kept"],
        rows=[
            _row(f"intake, {LOAD}, MB/s", figures["intake"], figures["intake together"]),
            _row(f"worker, {NETWORK}, images/s", figures["worker"], figures["worker together"]),
        ],
        remarks=[
            f"{INSTANCES} instances over {ASSOCIATIONS} associations, durable before Success; the senders need",
            f"the same {os.cpu_count()} cores. The worker does photographs of its own, from claim to report.",
        ],
        raw=figures,
    )


def _row(name: str, alone: list[float], together: list[float]) -> list[str]:
    kept = median(b / a for a, b in zip(alone, together, strict=True))
    return [name, middle(alone), middle(together), f"{100 * kept:.0f} %"]


def _round(worker: Hand, work: Path, size: int) -> dict[str, float]:
    """Each alone, then both; the worker is counted exactly while the senders send."""
    with _intake(work, size) as flood:
        alone = flood()
    working = _working(worker, lambda: sleep(ALONE_S))
    with _intake(work, size) as flood:
        flooded: list[float] = []
        beside = _working(worker, lambda: flooded.append(flood()))
    return {"intake": alone, "worker": working, "intake together": flooded[0], "worker together": beside}


def _working(worker: Hand, meanwhile: Callable[[], None]) -> float:
    """Images a second of the worker while something else goes on."""
    worker.tell()
    meanwhile()
    worker.tell()
    said = worker.said()
    return float(said["done"]) / float(said["seconds"])


@contextmanager
def _intake(work: Path, size: int) -> Iterator[Callable[[], float]]:
    """An intake of its own, and senders that wait: what is given sends everything; MB/s of the slowest sender."""
    files = sorted((work / "load").iterdir())
    with TemporaryDirectory(dir=work) as folder, oculard(Path(folder)) as running, ExitStack() as ends:
        senders = []
        for number in range(ASSOCIATIONS):
            share = _share(files[number::ASSOCIATIONS], Path(folder) / f"share-{number}")
            command = ("bench.fast_sender", LOOPBACK, str(running.port), TITLE, str(share))
            senders += ends.enter_context(crew(1, *command))
        for sender in senders:
            sender.must_be_ready()

        def flood() -> float:
            for sender in senders:
                sender.tell()
            done = [sender.said() for sender in senders]
            assert sum(one["stored"] for one in done) == len(files), "not everything was taken"
            return size / 1e6 / max(float(one["seconds"]) for one in done)

        yield flood


def _share(files: Sequence[Path], folder: Path) -> Path:
    """A folder with these files in it."""
    folder.mkdir()
    for path in files:
        (folder / path.name).symlink_to(path)
    return folder
