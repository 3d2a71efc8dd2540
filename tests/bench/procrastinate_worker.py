"""One worker of procrastinate, for comparison: it fetches jobs that do nothing, for so many seconds.

`python -m bench.procrastinate_worker DSN work SECONDS`: says `ready`, waits for a line, prints jobs a second as JSON.
`python -m bench.procrastinate_worker DSN fill JOBS`: writes the schema and so many jobs.
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
done = 0


async def main() -> None:
    """Fill the queue, or empty it."""
    logging.getLogger("procrastinate").setLevel(logging.ERROR)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))

    @app.task(name="nothing")
    async def nothing(number: int) -> None:
        global done
        done += 1

    async with app.open_async():
        if sys.argv[2] == "fill":
            if not await app.check_connection_async():
                await app.schema_manager.apply_schema_async()
            await app.connector.execute_query_async(f"TRUNCATE {', '.join(NAMES)} CASCADE")
            await nothing.batch_defer_async(*({"number": number} for number in range(int(sys.argv[3]))))
            return
        print("ready", flush=True)  # noqa: T201  the benchmark waits for it
        sys.stdin.readline()
        began = perf_counter()
        work = app.run_worker_async(wait=False, concurrency=1, listen_notify=False, install_signal_handlers=False)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(work, timeout=float(sys.argv[3]))
        print(json.dumps(done / (perf_counter() - began)))  # noqa: T201  likewise


if __name__ == "__main__":
    asyncio.run(main())
