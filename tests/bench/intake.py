"""Intake side by side: the same files to our intake, to Orthanc and to DCMTK's storescp, in turn, pair after pair."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.loads import VOLUMES, write_load
from bench.receivers import RECEIVERS, TITLE, limit_mb_s
from bench.tables import Table
from peers import LOOPBACK, program

LOADS = {VOLUMES: 8, "photographs, 2.4 MB": 64, "small, 60 KB": 400}
ASSOCIATIONS = (1, 4, 8)
ROUNDS = 3
HERE = Path(__file__).parent


def measure() -> Table:
    """MB/s of each receiver, and ours as a multiple of the others, by load and associations."""
    rows, raw = [], []
    with TemporaryDirectory(prefix="bench-intake-") as work:
        for load, count in LOADS.items():
            size = write_load(load, Path(work) / load, count)
            for associations in ASSOCIATIONS:
                figures = _rounds(Path(work) / load, Path(work), associations, size)
                raw.append({"load": load, "associations": associations, "mb_s": figures})
                rows.append(_row(load, associations, count, size, figures))
        limits = [limit_mb_s(next((Path(work) / VOLUMES).iterdir()), Path(work)) for _ in range(2 * ROUNDS)]
        raw.append({"limit_mb_s": limits})
        nagle = {name: _nagle(Path(work) / "small, 60 KB", Path(work), name) for name in RECEIVERS}
        raw.append({"storescu_small_per_s": nagle})
    shown = "  ".join(f"{name} {median(values):.0f}" for name, values in nagle.items())
    return Table(
        title="Intake, a sender without Nagle: MB/s (median of pairs), and ours as a multiple",
        heads=["load", "associations", *RECEIVERS, "of Orthanc", "of storescp", "objects/s", "peak MiB"],
        rows=rows,
        remarks=[
            "Ours: file, folder and row on disk before Success. Orthanc: its file. storescp: nothing is synced.",
            f"The machine's own limit, socket to file with fsync, one volume: {median(limits):.0f} MB/s.",
            f"DCMTK's storescu as it comes, small photographs, objects/s: {shown}",
        ],
        raw=raw,
    )


def _rounds(load: Path, work: Path, associations: int, size: int) -> dict[str, list[float]]:
    """Every receiver once a round, forwards and backwards in turn, so that drift hits all alike."""
    figures: dict[str, list[float]] = {name: [] for name in RECEIVERS} | {"peak_mib": []}
    for number in range(ROUNDS):
        for name in RECEIVERS if number % 2 == 0 else reversed(RECEIVERS):
            seconds, peak = _once(load, work, name, associations)
            figures[name].append(size / 1e6 / seconds)
            if name == "oculard":
                figures["peak_mib"].append(peak)
    return figures


def _row(load: str, associations: int, count: int, size: int, figures: dict[str, list[float]]) -> Sequence[str]:
    ours = median(figures["oculard"])
    ratios = [median(a / b for a, b in zip(figures["oculard"], figures[other], strict=True)) for other in RECEIVERS]
    return [
        load,
        str(associations),
        *(f"{median(figures[name]):.0f}" for name in RECEIVERS),
        f"{ratios[1]:.2f}",
        f"{ratios[2]:.2f}",
        f"{ours * 1e6 / (size / count):.0f}",
        f"{max(figures['peak_mib']):.0f}",
    ]


def _once(load: Path, work: Path, receiver: str, associations: int) -> tuple[float, float]:
    """Send everything over so many associations; gives the seconds and the receiver's peak memory."""
    os.sync()
    with TemporaryDirectory(dir=work) as folder, RECEIVERS[receiver](Path(folder)) as running:
        with _senders(load, Path(folder), running.port, associations) as senders:
            began = perf_counter()
            for sender in senders:
                assert sender.stdin is not None
                sender.stdin.write("\n")
                sender.stdin.close()
            done = [json.loads(sender.stdout.read()) for sender in senders if sender.stdout is not None]
            seconds = perf_counter() - began
        assert sum(one["stored"] for one in done) == len(list(load.iterdir())), f"{receiver} did not take everything"
        return seconds, running.peak_mib()


@contextmanager
def _senders(load: Path, folder: Path, port: int, associations: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Senders that wait for their start, each with its share of the files."""
    files = sorted(load.iterdir())
    senders = []
    for number in range(associations):
        share = folder / f"share-{number}"
        share.mkdir()
        for path in files[number::associations]:
            (share / path.name).symlink_to(path)
        command = [sys.executable, "-m", "bench.fast_sender", LOOPBACK, str(port), TITLE, str(share)]
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert sender.stdout is not None
        sender.stdout.readline()
        senders.append(sender)
    try:
        yield senders
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()


def _nagle(load: Path, work: Path, receiver: str) -> list[float]:
    """Objects per second from DCMTK's storescu with its defaults."""
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    files = [str(path) for path in sorted(load.iterdir())[:100]]
    rates = []
    for _ in range(ROUNDS):
        with TemporaryDirectory(dir=work) as folder, RECEIVERS[receiver](Path(folder)) as running:
            command = [program("storescu"), "-xy", "-aec", TITLE, LOOPBACK, str(running.port), *files]
            began = perf_counter()
            subprocess.run(command, check=True, env=environment, capture_output=True)
            rates.append(len(files) / (perf_counter() - began))
    return rates
