"""`make fuzz`: hostile bytes for everything that reads bytes; figures as a table, what was found in a folder.

`make fuzz ARGS="--seconds 600 rgb voxels"` gives two targets ten minutes together. The same seed gives the same bytes.
With atheris installed, `--guided TARGET` lets coverage lead instead, for targets that run in this process.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import warnings
from itertools import count
from pathlib import Path
from time import monotonic, time

import structlog

from fuzz.running import Result, run
from fuzz.targets import TARGETS

SECONDS = 600.0


def main() -> int:
    """Fuzz what is asked for, all by default; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(one.name for one in TARGETS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all targets together")
    parser.add_argument("--seed", type=int, default=int(time()), help="another one every time by default")
    parser.add_argument("--folder", type=Path, help="where what was found is kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--guided", metavar="TARGET", help="one target, led by coverage (atheris)")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # libraries doubt what they read, as well they may
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    if asked.guided:
        from fuzz.guided import guide

        guide(next(one for one in TARGETS if one.name == asked.guided), folder, asked.seconds)
        return 0
    chosen = [one for one in TARGETS if not asked.targets or one.name in asked.targets]
    results = []
    for target in chosen:
        until = monotonic() + asked.seconds / len(chosen)
        results.append(run(target, folder, seed=asked.seed, numbers=count(), until=until))
        print(row(results[-1]), flush=True)  # noqa: T201  a command's output
    if asked.json:
        asked.json.write_text(json.dumps([figures(result) for result in results], indent=1) + "\n", encoding="utf-8")
    print(f"seed {asked.seed}; what was found is in {folder}")  # noqa: T201  likewise
    return int(any(result.crashes for result in results))


def row(result: Result) -> str:
    """A line of the table, and what was found below it."""
    common = ", ".join(f"{name} {times}" for name, times in result.outcomes.most_common(6))
    head = (
        f"{result.target:13} {result.inputs:8} inputs  {len(result.crashes):3} crashes  {len(result.deaths):3} deaths"
        f"  slowest {result.slowest_s:6.2f} s  {common}"
    )
    return "\n".join([head, *(f"    {crash}" for crash in result.crashes[:10])])


def figures(result: Result) -> dict[str, object]:
    """The same for machines."""
    return {
        "target": result.target,
        "inputs": result.inputs,
        "crashes": result.crashes,
        "deaths": result.deaths,
        "slowest_s": round(result.slowest_s, 3),
        "outcomes": dict(result.outcomes),
    }


if __name__ == "__main__":
    sys.exit(main())
