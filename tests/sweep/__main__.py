"""`make sweep`: the long form of what tries to break the promises. `make sweep ARGS="--seed 7 --worlds 2"`."""

from __future__ import annotations

import argparse
import os
import sys

from sweep.tracing import why_not
from sweep.worlds import found_deaths, hush, say, sweep


def main() -> int:
    """Run what is asked for; 1 when a promise was broken, or when too few died to say so."""
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the deaths")
    parser.add_argument("--shots", type=int, help="at most so many deaths; all by default")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL servers of its own, not on SQLite")
    parser.add_argument(
        "--worlds", type=int, default=os.cpu_count() or 1, help="daemons side by side, a share of the deaths each"
    )
    asked = parser.parse_args()
    hush()
    if why_not():
        say(f"deaths inside of SQLite are left out: {why_not()}")
    deaths = found_deaths(seed=asked.seed, on_server=asked.postgresql)[: asked.shots]
    say(f"{len(deaths)} deaths, seed {asked.seed}, worlds side by side: {asked.worlds}")
    tally = sweep(deaths, worlds=asked.worlds, on_server=asked.postgresql)
    say(tally.text())
    return 1 if tally.wrong or not tally.is_telling else 0


if __name__ == "__main__":
    sys.exit(main())
