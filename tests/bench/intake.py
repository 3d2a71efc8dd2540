"""Intake side by side: the same files to our intake, to Orthanc and to DCMTK's storescp, in turn, pair after pair.

`limit` is what the machine does at best with them: from as many sockets into files, synced, and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter

from bench.fast_sender import Load, Sender, contexts_of
from bench.loads import OF_A_STUDY, VOLUMES, write_load
from bench.receivers import RECEIVERS, TITLE, Receiver, limit_mb_s
from bench.tables import Table
from peers import LOOPBACK, program

SMALL = "small, 60 KB"
LOADS = {VOLUMES: 16, "photographs, 2.4 MB": 192, SMALL: 800}
ASSOCIATIONS = (1, 4, 8)
ROUNDS = 3
# What we aim for: as a multiple of Orthanc, of storescp, of the machine's limit, of Orthanc with storescu as it comes.
GOALS = {VOLUMES: 5.0, "photographs, 2.4 MB": 3.0, SMALL: 1.3}
STORESCP_GOAL, LIMIT_GOAL, NAGLE_GOAL, MEMORY_GOAL_MIB = 0.7, 0.9, 20.0, 100.0
OPEN = 25  # associations at once, while memory is looked at
HERE = Path(__file__).parent
Figures = dict[str, list[float]]


def measure() -> Table:
    """MB/s of each receiver, and ours as a multiple of the others, by load and associations."""
    rows, raw = [], []
    with TemporaryDirectory(prefix="bench-intake-") as folder:
        work = Path(folder)
        for load, count in LOADS.items():
            write_load(load, work / load, count)
            files = sorted((work / load).iterdir())
            for associations in ASSOCIATIONS:
                figures = _rounds(files, work, associations)
                raw.append({"load": load, "associations": associations, **figures})
                rows.append(_row(load, associations, files, figures))
        memory = _memory_mib(work / VOLUMES, work)
        nagle = {name: _nagle(work / SMALL, work, name) for name in RECEIVERS}
        raw += [{"memory_mib": memory, "associations": OPEN}, {"storescu_small_per_s": nagle}]
    return Table(
        title="Intake, a sender without Nagle: MB/s (median of pairs), ours as a multiple, and the goal",
        heads=[
            "load",
            "at once",
            *RECEIVERS,
            "of Orthanc",
            "of storescp",
            "of limit",
            "objects/s",
            "CPU ms",
            "Orthanc's",
        ],
        rows=rows,
        remarks=_remarks(memory, nagle),
        raw=raw,
    )


def _remarks(memory_mib: float, nagle: Mapping[str, Sequence[float]]) -> list[str]:
    shown = "  ".join(f"{name} {median(values):.0f}" for name, values in nagle.items())
    ratio = _ratio(nagle["oculard"], nagle["Orthanc"])
    return [
        "Ours: file, folder and row on disk before Success. Orthanc: its file. storescp: nothing is synced.",
        f"Our memory with {OPEN} associations open, a volume on each: {memory_mib:.0f} MiB at most"
        f" (goal below {MEMORY_GOAL_MIB:.0f}).",
        f"DCMTK's storescu as it comes, small photographs, objects/s: {shown}; {_of(ratio, NAGLE_GOAL)} of Orthanc.",
    ]


def _rounds(files: Sequence[Path], work: Path, associations: int) -> Figures:
    """Every receiver and the limit once a round, forwards and backwards in turn, so that drift hits all alike."""
    figures: Figures = {name: [] for name in (*RECEIVERS, "limit", "cpu_ms", "Orthanc_cpu_ms")}
    size = _size(files)
    for number in range(ROUNDS):
        for name in RECEIVERS if number % 2 == 0 else reversed(RECEIVERS):
            seconds, cpu_s = _once(files, work, name, associations)
            figures[name].append(size / 1e6 / seconds)
            for shown, key in (("oculard", "cpu_ms"), ("Orthanc", "Orthanc_cpu_ms")):
                if name == shown:
                    figures[key].append(1000 * cpu_s / len(files))
            if name == "oculard":
                figures["limit"].append(limit_mb_s(files, work, associations))
    return figures


def _size(files: Sequence[Path]) -> int:
    """The bytes of all together."""
    return sum(path.stat().st_size for path in files)


def _row(load: str, associations: int, files: Sequence[Path], figures: Figures) -> Sequence[str]:
    ours = figures["oculard"]
    return [
        load,
        str(associations),
        *(f"{median(figures[name]):.0f}" for name in RECEIVERS),
        _of(_ratio(ours, figures["Orthanc"]), GOALS[load]),
        _of(_ratio(ours, figures["storescp"]), STORESCP_GOAL),
        _of(_ratio(ours, figures["limit"]), LIMIT_GOAL) if load == VOLUMES else "",
        f"{median(ours) * 1e6 * len(files) / _size(files):.0f}",
        f"{median(figures['cpu_ms']):.1f}",
        f"{median(figures['Orthanc_cpu_ms']):.1f}",
    ]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the pairs that were measured one after the other."""
    return median(a / b for a, b in zip(ours, others, strict=True))


def _of(ratio: float, goal: float) -> str:
    return f"{ratio:.2f} ({goal:g})"


def _once(files: Sequence[Path], work: Path, receiver: str, associations: int) -> tuple[float, float]:
    """Send everything over so many associations; gives the seconds, and those of CPU that the receiver took."""
    os.sync()
    folder = Path(mkdtemp(dir=work))
    with RECEIVERS[receiver](folder) as running:
        with _senders(files, folder, running.port, associations) as senders:
            spent, began = running.cpu_s(), perf_counter()
            for sender in senders:
                assert sender.stdin is not None
                sender.stdin.write("\n")
                sender.stdin.close()
            done = [json.loads(sender.stdout.read()) for sender in senders if sender.stdout is not None]
            seconds, spent = perf_counter() - began, running.cpu_s() - spent
        assert sum(one["stored"] for one in done) == len(files), f"{receiver} did not take everything"
    _empty(folder)
    return seconds, spent


def _empty(folder: Path) -> None:
    """Give the room back, and keep the files until all is measured.

    ext4 without a journal walks past whatever was deleted in the last minutes when it makes a file: each receiver
    would pay for the one before, by as much as half a millisecond a file.
    """
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


@contextmanager
def _senders(
    files: Sequence[Path], folder: Path, port: int, associations: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Senders that wait for their start, each with its share of the studies: a study comes over one association."""
    senders, of_a_study = [], OF_A_STUDY[files[0].parent.name]
    for number in range(associations):
        share = folder / f"share-{number}"
        share.mkdir()
        for position, path in enumerate(files):
            if position // of_a_study % associations == number:
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


def _memory_mib(load: Path, work: Path) -> float:
    """The most memory that our intake ever has, with many associations open and a volume on each of them at once."""
    files = sorted(load.iterdir())
    with TemporaryDirectory(dir=work) as folder, RECEIVERS["oculard"](Path(folder)) as running:
        return peak_mib_with_all_open(running, files)


def peak_mib_with_all_open(
    running: Receiver, files: Sequence[Path], *, at_once: int = OPEN, sends: int = OPEN
) -> float:
    """Open many associations, send a file over so many of them, so many at once; then release them all."""
    loads = [Load.of(path) for path in files]
    senders = [Sender(LOOPBACK, running.port, TITLE, contexts_of(loads)) for _ in range(OPEN)]
    with ThreadPoolExecutor(at_once) as threads:
        sent = threads.map(lambda number: senders[number].store(loads[number % len(loads)], number), range(sends))
        assert not any(sent), "every file is taken"
    peak = running.peak_mib()
    for sender in senders:
        sender.release()
    return peak


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
