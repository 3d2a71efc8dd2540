"""One worker of the queue's benchmark: claims and settles as fast as it can, for so many seconds.

`python -m bench.queue_worker URL OWNER LIMIT SECONDS`: says `ready`, waits for a line, prints jobs a second as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter

from oculard.clock import SystemClock
from oculard.job import JobEvent
from oculard.night import Hours
from oculard.store.database import Database
from oculard.store.jobs import Jobs


def main() -> None:
    """Work, and say how much was done."""
    url, owner, limit, lasts_s = sys.argv[1:]
    step = stepper(url, owner, limit=int(limit))
    step()  # the first costs the compilation of every query
    print("ready", flush=True)  # noqa: T201  the benchmark waits for it
    sys.stdin.readline()
    done, began = 0, perf_counter()
    while perf_counter() < began + float(lasts_s) and (jobs := step()):
        done += jobs
    print(json.dumps(done / (perf_counter() - began)))  # noqa: T201  likewise


def stepper(url: str, owner: str, *, limit: int = 1) -> Callable[[], int]:
    """What claims some jobs, and settles each, all on disk; says how many, 0 when nothing is left."""
    jobs = Jobs(Database(url), SystemClock())
    hours = Hours(until=None, expected_s={}, first_s=1.0)

    def step() -> int:
        claimed = jobs.claim(owner, lease_s=600.0, limit=limit, attempts_max=3, hours=hours)
        for job in claimed:
            jobs.queue.settle(job.ticket, JobEvent.DONE)
        return len(claimed)

    return step


if __name__ == "__main__":
    main()
