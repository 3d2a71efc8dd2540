"""A worker at full load, in a process of its own: `python -m bench.busy_worker BUNDLE FOLDER IMAGES`.

Says `ready`. From one line to the next it works, and prints what it did as JSON; so again and again.
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

BATCH = 1  # its work is counted from batch to batch, and a flood lasts for some seconds


def main() -> None:
    """The command."""
    bundle, folder, images = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    place = Workplace(folder, read_bundle(bundle), batch=BATCH)
    place.fill(2)  # loads the network and the decoders
    place.drain(place.worker)
    place.fill(images)
    print("ready", flush=True)  # noqa: T201  the bench reads it
    while sys.stdin.readline():
        done, seconds = _until_told(place)
        print(json.dumps({"done": done, "seconds": seconds}), flush=True)  # noqa: T201  likewise


def _until_told(place: Workplace) -> tuple[int, float]:
    """Work until a line comes; the images that were reported meanwhile, and the seconds."""
    told = threading.Thread(target=sys.stdin.readline, daemon=True)
    told.start()
    began, before = perf_counter(), _reported(place)
    while told.is_alive():
        assert place.worker.step(), "the worker had too little to do"
    return _reported(place) - before, perf_counter() - began


def _reported(place: Workplace) -> int:
    return place.outcomes().get("reported", 0)


if __name__ == "__main__":
    main()
