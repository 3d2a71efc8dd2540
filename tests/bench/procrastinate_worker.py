"""One worker of procrastinate, for comparison: it fetches jobs that do nothing.

`python -m bench.procrastinate_worker DSN`: of a line `fill JOBS` it writes the schema and so many jobs, and says
`ready`; of a line `work SECONDS` it says `ready`, waits for a line, and prints jobs and seconds as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from time import perf_counter

import procrastinate

NAMES = ("procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers", "procrastinate_workers")
ended: list[float] = []  # when each job was done


async def main() -> None:
    """Fill the queue, or empty it."""
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))

    @app.task(name="nothing")
    async def nothing(number: int) -> None:
        ended.append(perf_counter())

    async with app.open_async():
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, value = line.split()
            if what == "fill":
                await _fill(app, [{"number": number} for number in range(int(value))])
                print("ready", flush=True)  # noqa: T201  the benchmark waits for it
            else:
                await _work(app, float(value))


async def _fill(app: procrastinate.App, jobs: list[dict[str, int]]) -> None:
    if not await app.check_connection_async():
        await app.schema_manager.apply_schema_async()
    await app.connector.execute_query_async(f"TRUNCATE {', '.join(NAMES)} CASCADE")
    await app.tasks["nothing"].batch_defer_async(*jobs)
    await app.connector.execute_query_async("ANALYZE procrastinate_jobs")


async def _work(app: procrastinate.App, lasts_s: float) -> None:
    print("ready", flush=True)  # noqa: T201  the benchmark waits for it
    await asyncio.to_thread(sys.stdin.readline)
    ended.clear()
    work = app.run_worker_async(wait=False, concurrency=1, listen_notify=False, install_signal_handlers=False)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work, timeout=lasts_s)
    # From the first job on: ours has been warmed up as well, and its worker has registered before.
    done, seconds = len(ended) - 1, ended[-1] - ended[0]
    print(json.dumps({"done": done, "seconds": seconds}), flush=True)  # noqa: T201  likewise


if __name__ == "__main__":
    asyncio.run(main())
