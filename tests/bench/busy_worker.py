"""A worker at full load, in a process of its own: `python -m bench.busy_worker BUNDLE FOLDER IMAGES`.

Says `ready`, waits for a line, works until the next line or until nothing waits, prints what it did as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path
from time import perf_counter

import structlog

from bench.workplace import Workplace
from oculard_models.registry import read_bundle


def main() -> None:
    """The command."""
    bundle, folder, images = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    place = Workplace(folder, read_bundle(bundle))
    place.fill(2)
    place.drain(place.worker)
    place.fill(images)
    print("ready", flush=True)  # noqa: T201  the bench reads it
    sys.stdin.readline()
    told = threading.Thread(target=sys.stdin.readline, daemon=True)
    told.start()
    began, before = perf_counter(), place.outcomes().get("reported", 0)
    while told.is_alive() and place.worker.step():
        pass
    took = perf_counter() - began
    print(json.dumps({"done": place.outcomes().get("reported", 0) - before, "seconds": took}))  # noqa: T201  likewise
    place.close()


if __name__ == "__main__":
    main()
