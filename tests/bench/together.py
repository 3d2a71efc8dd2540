"""Intake and worker on one machine: each alone, then both at once, each at full load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from bench.loads import write_load
from bench.nets import random_bundle
from bench.receivers import TITLE, oculard
from bench.tables import Table, middle
from peers import LOOPBACK

LOAD, INSTANCES, ASSOCIATIONS = "photographs, 2.4 MB", 240, 4
NETWORK, IMAGES = "efficientnet-b7", 120
ALONE_S = 8.0  # of the worker
ROUNDS = 3
HERE = Path(__file__).parent


def measure() -> Table:
    """MB/s of the intake and images/s of the worker, alone and together."""
    figures: dict[str, list[float]] = {"intake": [], "worker": [], "intake together": [], "worker together": []}
    with TemporaryDirectory(prefix="bench-together-") as work:
        bundle = random_bundle(NETWORK, Path(work)).folder
        size = write_load(LOAD, Path(work) / "load", INSTANCES)
        for _ in range(ROUNDS):
            with TemporaryDirectory(dir=work) as folder:
                for name, rate in _round(bundle, Path(work) / "load", Path(folder), size).items():
                    figures[name].append(rate)
    kept = {
        name: median(b / a for a, b in zip(figures[name], figures[f"{name} together"], strict=True))
        for name in ("intake", "worker")
    }
    return Table(
        title="Intake and worker at full load, each alone and both at once: median (smallest to largest)",
        heads=["", "alone", "together", "kept"],
        rows=[
            [
                f"intake, {LOAD}, MB/s",
                middle(figures["intake"]),
                middle(figures["intake together"]),
                _share(kept["intake"]),
            ],
            [
                f"worker, {NETWORK}, images/s",
                middle(figures["worker"]),
                middle(figures["worker together"]),
                _share(kept["worker"]),
            ],
        ],
        remarks=[
            f"{INSTANCES} instances over {ASSOCIATIONS} associations, durable before Success; the senders need",
            f"the same {os.cpu_count()} cores. The worker does photographs of its own, from claim to report.",
        ],
        raw=figures,
    )


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _round(bundle: Path, load: Path, folder: Path, size: int) -> dict[str, float]:
    """Each alone, then both."""
    alone = _flood(load, folder / "alone", size)
    with _worker(bundle, folder / "worker") as stop:
        until = monotonic() + ALONE_S
        while monotonic() < until:
            sleep(0.1)
        working = stop()
    with _worker(bundle, folder / "beside") as stop:
        flooded = _flood(load, folder / "both", size)
        beside = stop()
    return {"intake": alone, "worker": working, "intake together": flooded, "worker together": beside}


def _flood(load: Path, folder: Path, size: int) -> float:
    """Send everything to an intake of its own. MB/s of the slowest sender: they begin together."""
    folder.mkdir()
    with oculard(folder) as running, ExitStack() as ends:
        senders = []
        for number in range(ASSOCIATIONS):
            share = folder / f"share-{number}"
            share.mkdir()
            for path in sorted(load.iterdir())[number::ASSOCIATIONS]:
                (share / path.name).symlink_to(path)
            sender = _started("bench.fast_sender", LOOPBACK, str(running.port), TITLE, str(share))
            ends.callback(_ended, sender)
            senders.append(sender)
        for sender in senders:
            _tell(sender)
        done = [_said(sender) for sender in senders]
    assert sum(one["stored"] for one in done) == len(list(load.iterdir())), "not everything was taken"
    return size / 1e6 / max(float(one["seconds"]) for one in done)


@contextmanager
def _worker(bundle: Path, folder: Path) -> Iterator[Callable[[], float]]:
    """A worker at full load; what is given stops it and says how many images a second it did."""
    folder.mkdir()
    worker = _started("bench.busy_worker", str(bundle), str(folder), str(IMAGES))

    def stop() -> float:
        assert worker.poll() is None, "the worker had too little to do"
        _tell(worker)
        done = _said(worker)
        return float(done["done"]) / float(done["seconds"])

    try:
        _tell(worker)
        yield stop
    finally:
        _ended(worker)


def _started(*command: str) -> subprocess.Popen[str]:
    """A process of the bench that is ready and waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", f"{command[0]} did not start"
    return process


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _said(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
