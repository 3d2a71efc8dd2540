"""`make bench`: prints the machine, then one table an item; `--json FILE` keeps the raw figures.

Compare ratios within one run, never seconds of different days: machines are shared, and noisy.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bench import intake, photographs, queue, segmenters, sending, start, together, trunk, workers
from bench.tables import Table

ITEMS: Mapping[str, Callable[[], Table]] = {
    "intake": intake.measure,
    "sending": sending.measure,
    "queue": queue.measure,
    "start": start.measure,
    "photographs": photographs.measure,
    "worker": workers.measure,
    "together": together.measure,
    "trunk": trunk.measure,
    "segmenters": segmenters.measure,
}
VERSIONS = ("oculard", "onnxruntime", "torch", "timm", "numpy", "pillow")


def main() -> None:
    """Measure what is asked for, all by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("items", nargs="*", metavar="ITEM", help=f"any of {', '.join(ITEMS)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the raw figures here")
    asked = parser.parse_args()
    unknown = set(asked.items) - set(ITEMS)
    if unknown:
        parser.error(f"there is no item {', '.join(sorted(unknown))}; choose from {', '.join(ITEMS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    machine = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in VERSIONS},
    }
    print("\n".join(f"{name:12} {value}" for name, value in machine.items()))  # noqa: T201  a command's output
    raw: dict[str, object] = {"machine": machine}
    for name in asked.items or ITEMS:
        table = ITEMS[name]()
        raw[name] = table.raw
        print(f"\n{table.text()}", flush=True)  # noqa: T201  likewise
    if asked.json:
        asked.json.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The processor's name as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
