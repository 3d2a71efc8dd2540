"""`make bench`: prints the machine, then one table an item; `--json FILE` keeps the raw figures.

Compare ratios within one run, never seconds of different days: machines are shared, and noisy.
An item that cannot run here says why, and one that fails does not take the others along; then the command ends with 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import structlog

from bench.machine import machine
from bench.tables import Table

ITEMS: Mapping[str, str] = {  # and the module that measures it; each is loaded when its turn comes
    "intake": "intake",
    "sending": "sending",
    "queue": "queue",
    "start": "start",
    "photographs": "photographs",
    "worker": "workers",
    "together": "together",
    "trunk": "trunk",
    "segmenters": "segmenters",
}
Measure = Callable[[], Table]


def main() -> None:
    """Measure what is asked for, all by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("items", nargs="*", metavar="ITEM", help=f"any of {', '.join(ITEMS)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the raw figures here, as items end")
    asked = parser.parse_args()
    unknown = set(asked.items) - set(ITEMS)
    if unknown:
        parser.error(f"there is no item {', '.join(sorted(unknown))}; choose from {', '.join(ITEMS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    sys.exit(run(asked.items or list(ITEMS), asked.json, measure_of))


def measure_of(item: str) -> Measure:
    """What measures an item."""
    measure: Measure = importlib.import_module(f"bench.{ITEMS[item]}").measure
    return measure


def run(items: Sequence[str], file: Path | None, measure_of: Callable[[str], Measure]) -> int:
    """Measure one after the other and print it; gives the exit code, 1 where an item failed."""
    began, raw = perf_counter(), {"machine": machine()}
    print("\n".join(f"{name:14} {value}" for name, value in raw["machine"].items()), flush=True)  # noqa: T201  output
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        text, found[item] = _measured(item, measure_of)
        print(f"\n{text}\n{item} took {found[item]['took_s']:.0f} s.", flush=True)  # noqa: T201  likewise
        if file is not None:
            file.write_text(json.dumps(raw | found, indent=1) + "\n", encoding="utf-8")
    shown = "  ".join(f"{item} {one['took_s']:.0f}" for item, one in found.items())
    print(f"\nSeconds: {shown}  all {perf_counter() - began:.0f}")  # noqa: T201  likewise
    return int(any("failed" in one for one in found.values()))


def _measured(item: str, measure_of: Callable[[str], Measure]) -> tuple[str, dict[str, Any]]:
    """The table of an item as text and its raw figures; or why there are none."""
    began = perf_counter()
    try:
        table = measure_of(item)()
        text, kept = table.text(), {"figures": table.raw}
    except (pytest.skip.Exception, pytest.fail.Exception) as why:  # a peer is missing; with CI=true that is a failure
        is_failure = isinstance(why, pytest.fail.Exception)
        text, kept = f"{item} cannot run here: {why}", {"failed" if is_failure else "cannot_run": str(why)}
    except Exception as why:  # noqa: BLE001  the figures of the others are worth keeping
        text, kept = f"{item} FAILED\n{traceback.format_exc()}", {"failed": repr(why)}
    return text, kept | {"took_s": round(perf_counter() - began, 1)}


if __name__ == "__main__":
    main()
