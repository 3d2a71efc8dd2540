"""The queue: claims and settlements a second as it grows and as workers join, on both databases, beside procrastinate.

Half of the rows wait, half have ended; every commit is synced; workers are processes. Sizes and rivals take turns.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from sqlalchemy import make_url, text

import postgres
from bench.tables import Table
from oculard.store.database import Database

SIZES = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 4, 8)
ROUNDS = 5
LASTS_S = 1.0  # a measurement
BATCH = 8  # what a worker claims at once by default
THEIR_JOBS = 6000  # more than can be done in a measurement
CROWD = 100_000  # rows of the table that several workers share
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO job (study_id, family, eye, estimator, inputs_digest, run_window, priority, created_at, changed_at,
                 run_after, state, attempts)
SELECT 1 + i % {studies}, 'systemic', 'R', 'painted@1.0.0', 'digest ' || i, 'now', 5, '{at}', '{at}',
       '{at}', CASE WHEN i % 2 = 0 THEN 'queued' ELSE 'reported' END, 0
FROM n
"""
STUDIES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {studies})
INSERT INTO study (study_instance_uid, patient_id, accession_number, state, first_received_at, active_at)
SELECT '1.2.' || i, '', '', 'open', '{at}', '{at}' FROM n
"""
AGAIN = "UPDATE job SET state = 'queued', attempts = 0 WHERE state = 'reported' AND id % 2 = 0"
AT = "2026-11-20 00:00:00"


def measure() -> Table:
    """Jobs a second: by rows with one worker, and by workers with many rows."""
    with TemporaryDirectory(prefix="bench-queue-") as folder:
        raw: dict[str, dict[str, list[float]]] = {"SQLite": _on(_sqlite(Path(folder)))}
        if postgres.find_binaries() is None:
            remark = "PostgreSQL's server is not installed: SQLite alone."
        else:
            with postgres.cluster(fsync="on") as url:
                raw["PostgreSQL"] = _on({size: _postgres(url, size) for size in SIZES})
                remark = _beside(url, raw)
    heads = ["jobs/s", *(f"{size:.0e} rows".replace("e+0", "e") for size in SIZES), *_crowds(), "largest/smallest"]
    rows = [[name, *_cells(figures)] for name, figures in raw.items()]
    return Table(
        title="Queue: claim and settle, jobs/s (median), every commit synced",
        heads=heads,
        rows=rows,
        remarks=[f"Workers share {CROWD:.0e} rows. Half of all rows wait, half have ended.", remark],
        raw=raw,
    )


def _crowds() -> list[str]:
    return [f"{workers} worker{'s' if workers > 1 else ''}" for workers in WORKERS]


def _cells(figures: dict[str, list[float]]) -> Sequence[str]:
    """One database's medians, and how much slower the largest table is than the smallest, by pairs."""
    sizes = [f"{median(figures[str(size)]):.0f}" if str(size) in figures else "" for size in SIZES]
    crowds = [f"{median(figures[name]):.0f}" for name in _crowds()]
    ends = [figures[str(size)] for size in (SIZES[-1], SIZES[0]) if str(size) in figures]
    flat = f"{median(a / b for a, b in zip(*ends, strict=True)):.2f}" if ends else ""
    return [*sizes, *crowds, flat]


def _on(urls: dict[int, str]) -> dict[str, list[float]]:
    """Every size, then every number of workers, in turn, round after round."""
    figures: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for size, url in urls.items():
            figures.setdefault(str(size), []).append(_rate(url, 1))
        for workers, name in zip(WORKERS, _crowds(), strict=True):
            figures.setdefault(name, []).append(_rate(urls[CROWD], workers))
    return figures


def _rate(url: str, workers: int, limit: int = 1) -> float:
    """Jobs a second of so many workers; afterwards the table is as it was."""
    lasts_s = str(LASTS_S)
    rate = _race([["bench.queue_worker", url, f"w{number}", str(limit), lasts_s] for number in range(workers)])
    database = Database(url)
    with database.write() as connection:
        connection.execute(text(AGAIN))
        connection.exec_driver_sql("DELETE FROM event")
    with database.outside() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if database.is_sqlite else "VACUUM ANALYZE job")
    database.close()
    return rate


def _race(commands: Sequence[Sequence[str]]) -> float:
    """Start together, and add up what each has done in a second."""
    environment = _environment()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for command in commands
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.close()
    rate = sum(json.loads(one.stdout.read()) for one in running if one.stdout is not None)
    assert all(one.wait() == 0 for one in running)
    return float(rate)


def _environment() -> dict[str, str]:
    """Where the workers find this package, and what was given to us from elsewhere."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _sqlite(folder: Path) -> dict[int, str]:
    return {size: _filled(f"sqlite:///{folder / f'{size}.db'}", size) for size in SIZES}


def _postgres(url: str, size: int) -> str:
    """A database of its own on the server."""
    server = Database(url)
    with server.outside() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE jobs{size}")
    server.close()
    return _filled(make_url(url).set(database=f"jobs{size}").render_as_string(hide_password=False), size)


def _filled(url: str, rows: int) -> str:
    database, studies = Database(url), max(1, rows // 4)
    database.upgrade()
    with database.write() as connection:
        connection.execute(text(STUDIES.format(studies=studies, at=AT)))
        connection.execute(text(FILL.format(rows=rows, studies=studies, at=AT)))
    if not database.is_sqlite:
        with database.outside() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE job")
    database.close()
    return url


def _beside(url: str, raw: dict[str, dict[str, list[float]]]) -> str:
    """procrastinate on the same server, in turn with ours, where it is installed."""
    if importlib.util.find_spec("procrastinate") is None:
        return "procrastinate is not installed (pip install procrastinate): nothing to compare with."
    theirs: dict[str, list[float]] = {}
    ours: dict[str, list[float]] = {}
    eights: dict[str, list[float]] = {}
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    jobs = _filled_url(url, CROWD)
    for _ in range(ROUNDS):
        for workers, name in zip(WORKERS, _crowds(), strict=True):
            ours.setdefault(name, []).append(_rate(jobs, workers))
            theirs.setdefault(name, []).append(_their_rate(dsn, workers))
            eights.setdefault(name, []).append(_rate(jobs, workers, BATCH))
    raw |= {"PostgreSQL, one at a time": ours, "procrastinate": theirs, "PostgreSQL, claimed in eights": eights}
    return (
        f"Ours over procrastinate, one job at a time: {_ratios(ours, theirs)}; "
        f"claimed in eights, as our worker does: {_ratios(eights, theirs)}."
    )


def _ratios(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> str:
    """Medians of pairs."""
    found = {name: median(a / b for a, b in zip(ours[name], theirs[name], strict=True)) for name in ours}
    return ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())


def _filled_url(url: str, size: int) -> str:
    return make_url(url).set(database=f"jobs{size}").render_as_string(hide_password=False)


def _their_rate(dsn: str, workers: int) -> float:
    environment = _environment()
    fill = [sys.executable, "-m", "bench.procrastinate_worker", dsn, "fill", str(THEIR_JOBS)]
    subprocess.run(fill, check=True, env=environment)
    return _race([["bench.procrastinate_worker", dsn, "work", str(LASTS_S)]] * workers)
