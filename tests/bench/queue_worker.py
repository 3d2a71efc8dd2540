"""One worker of the queue's benchmark: claims and settles as fast as it can.

`python -m bench.queue_worker`: of every line `URL LIMIT SECONDS` it does some jobs, says `ready`, waits for a line,
works until the time is over or nothing waits, and prints jobs, seconds, and seconds of processor time as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from time import perf_counter, process_time

from oculard.clock import SystemClock
from oculard.job import JobEvent
from oculard.night import Hours
from oculard.store.database import Database
from oculard.store.jobs import Jobs

WARM = 8  # a driver prepares a statement that comes again and again


def main() -> None:
    """Work, and say how much was done."""
    for line in sys.stdin:
        url, limit, lasts_s = line.split()
        worker = of(url, int(limit))
        print("ready", flush=True)  # noqa: T201  the benchmark waits for it
        sys.stdin.readline()
        done, spent, began = 0, worker.cpu_s(), perf_counter()
        while perf_counter() < began + float(lasts_s) and (jobs := worker.step()):
            done += jobs
        found = {"done": done, "seconds": perf_counter() - began, "cpu_s": worker.cpu_s() - spent}
        print(json.dumps(found), flush=True)  # noqa: T201  likewise


class Worker:
    """What claims some jobs, and settles each, all on disk."""

    def __init__(self, url: str, limit: int) -> None:
        database = Database(url)
        self._jobs, self._limit = Jobs(database, SystemClock()), limit
        self._hours = Hours(until=None, expected_s={}, first_s=1.0)
        for _ in range(WARM):  # a worker has done so long before there is a crowd; the first compile every query
            self.step()
        self._backend = None if database.is_sqlite else _backend(database)

    def step(self) -> int:
        """Once; says how many, 0 when nothing is left."""
        owner = f"bench:{os.getpid()}"
        claimed = self._jobs.claim(owner, lease_s=600.0, limit=self._limit, attempts_max=3, hours=self._hours)
        for job in claimed:
            self._jobs.queue.settle(job.ticket, JobEvent.DONE)
        return len(claimed)

    def cpu_s(self) -> float:
        """The processor time of this process, and of the server's process that serves it."""
        return process_time() + (0.0 if self._backend is None else _cpu_s(self._backend))


@cache
def of(url: str, limit: int) -> Worker:
    """The one for a database: it keeps its connection."""
    return Worker(url, limit)


def _backend(database: Database) -> int:
    """The process of the server behind the connection that was used last and is used next."""
    with database.read() as connection:
        pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return pid


def _cpu_s(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, values[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
