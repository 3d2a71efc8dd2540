"""The queue: claims and settlements a second as it grows and as workers join, on both databases, beside procrastinate.

Every commit is synced; workers are processes. Sizes, numbers of workers and rivals take turns, round after round.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

import postgres
from bench.backlog import Backlog, fill
from bench.crew import Hand, crew
from bench.tables import Table
from oculard.store.database import Database

SIZES = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 4, 8)
ROUNDS = 3
LASTS_S = 0.5  # a measurement
LAPS = 10  # at most, of a table whose jobs are done before a measurement is over
FLAT = 1.5  # the goal: how many times slower the largest table may be than the smallest
BATCH = 8  # what a worker claims at once by default
THEIR_JOBS = 4000  # more than can be done in a measurement
CROWD = 100_000  # rows of the table that is compared with procrastinate's
OURS, EIGHTS, THEIRS = "one at a time", "claimed in eights", "procrastinate"
Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast some workers are, and what a job costs them and the server; the second is the same on a busy machine."""

    jobs_a_second: float
    cpu_ms: float


def measure() -> Table:
    """Jobs a second by rows, workers and database, and those of procrastinate."""
    with TemporaryDirectory(prefix="bench-queue-") as folder, crew(WORKERS[-1], "bench.queue_worker") as hands:
        raw: dict[str, Figures] = {"SQLite": _on({size: _on_sqlite(Path(folder), size) for size in SIZES}, hands)}
        if postgres.find_binaries() is None:
            remark = "PostgreSQL's server is not installed: SQLite alone, and nothing beside procrastinate."
        else:
            with postgres.cluster(fsync="on") as url:
                backlogs = {size: _on_postgres(url, size) for size in SIZES}
                raw["PostgreSQL"] = _on(backlogs, hands)
                remark = _beside(url, backlogs[CROWD], hands, raw)
    return Table(
        title="Queue: claim and settle, jobs/s (median), every commit synced",
        heads=[
            "database",
            "workers",
            *(f"{size:.0e} rows".replace("e+0", "e") for size in SIZES),
            "times slower",
            "CPU ms a job",
        ],
        rows=[
            _row(name, workers, raw[name]) for name in ("SQLite", "PostgreSQL") if name in raw for workers in WORKERS
        ],
        remarks=[
            "Half of the rows wait, half have ended, with their events.",
            f"Times slower: the most rows against the fewest, median of pairs (goal: {FLAT:g} at most).",
            *remark.splitlines(),
        ],
        raw=raw,
    )


def _on_sqlite(folder: Path, rows: int) -> Backlog:
    return fill(f"sqlite:///{folder / f'{rows}.db'}", rows)


def _on_postgres(server: str, rows: int) -> Backlog:
    """A database of its own on a server."""
    database = Database(server)
    with database.outside() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE jobs{rows}")
    database.close()
    return fill(make_url(server).set(database=f"jobs{rows}").render_as_string(hide_password=False), rows)


def _key(size: int, workers: int) -> str:
    return f"{size} rows, {workers} workers"


def _row(name: str, workers: int, figures: Figures) -> Sequence[str]:
    """One database's medians, and how much slower and dearer the largest table is than the smallest."""
    keys = [_key(size, workers) for size in SIZES]
    few, many = figures[keys[0]], figures[keys[-1]]
    slower = median(a / b for a, b in zip(few, many, strict=True))
    sizes = [f"{median(figures[key]):.0f}" for key in keys]
    dear = [f"{median(figures[f'CPU ms, {key}']):.2f}" for key in (keys[0], keys[-1])]
    return [name, str(workers), *sizes, f"{slower:.2f}{'' if slower <= FLAT else ' MISSED'}", " to ".join(dear)]


def _on(backlogs: Mapping[int, Backlog], hands: Sequence[Hand]) -> Figures:
    """Every size with every number of workers, in turn, round after round."""
    figures: Figures = {}
    for _ in range(ROUNDS):
        for workers in WORKERS:
            for size, backlog in backlogs.items():
                found = pace(backlog, hands[:workers])
                figures.setdefault(_key(size, workers), []).append(found.jobs_a_second)
                figures.setdefault(f"CPU ms, {_key(size, workers)}", []).append(found.cpu_ms)
    return figures


def pace(backlog: Backlog, hands: Sequence[Hand], limit: int = 1) -> Pace:
    """How fast these workers are; a small table is worked off several times. Afterwards it is as it was."""
    done, took_s, cpu_s, laps = 0.0, 0.0, 0.0, 0
    while took_s < LASTS_S and laps < LAPS:
        said = _race(hands, f"{backlog.url} {limit} {LASTS_S}")
        done += sum(one["done"] for one in said)
        took_s += max(one["seconds"] for one in said)
        cpu_s += sum(one["cpu_s"] for one in said)
        laps += 1
        backlog.refill()
    return Pace(jobs_a_second=done / took_s, cpu_ms=1000.0 * cpu_s / done)


def _race(hands: Sequence[Hand], line: str) -> list[dict[str, float]]:
    """Let them begin together; what each has done."""
    for hand in hands:
        hand.tell(line)
    for hand in hands:
        hand.must_be_ready()
    for hand in hands:
        hand.tell()
    return [hand.said() for hand in hands]


def _beside(url: str, backlog: Backlog, hands: Sequence[Hand], raw: dict[str, Figures]) -> str:
    """procrastinate on the same server, in turn with ours, where it is installed."""
    if importlib.util.find_spec("procrastinate") is None:
        return "procrastinate is not installed (pip install procrastinate): nothing to compare with."
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    found: dict[str, Figures] = {OURS: {}, EIGHTS: {}, THEIRS: {}}
    with crew(WORKERS[-1], "bench.procrastinate_worker", dsn) as theirs:
        for _ in range(ROUNDS):
            for workers in WORKERS:
                name = f"{workers} workers"
                found[OURS].setdefault(name, []).append(pace(backlog, hands[:workers]).jobs_a_second)
                found[THEIRS].setdefault(name, []).append(_their_rate(theirs[:workers]))
                found[EIGHTS].setdefault(name, []).append(pace(backlog, hands[:workers], BATCH).jobs_a_second)
    raw |= {f"PostgreSQL, {name}": figures for name, figures in found.items()}
    return "\n".join([f"Beside procrastinate on the same server, {CROWD:.0e} rows of ours:", *_compared(found)])


def _their_rate(hands: Sequence[Hand]) -> float:
    hands[0].tell(f"fill {THEIR_JOBS}")
    hands[0].must_be_ready()
    said = _race(hands, f"work {LASTS_S}")
    assert sum(one["done"] for one in said) < THEIR_JOBS, "procrastinate had too little to do"
    return sum(one["done"] / one["seconds"] for one in said)


def _compared(found: Mapping[str, Figures]) -> list[str]:
    """A line for each number of workers: medians, and the medians of pairs."""
    lines = []
    for name, theirs in found[THEIRS].items():
        ours = [
            f"{way} {median(found[way][name]):.0f}, "
            f"{median(a / b for a, b in zip(found[way][name], theirs, strict=True)):.2f} times"
            for way in (OURS, EIGHTS)
        ]
        lines.append(f"  {name}: procrastinate {median(theirs):.0f} jobs/s; {'; '.join(ours)}.")
    return lines
