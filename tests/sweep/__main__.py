"""`make sweep`: the long form of what tries to break the promises. `make sweep ARGS="kills --seed 7"`."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import structlog

import postgres
from sweep import kills
from sweep.tracing import why_not
from sweep.world import make_world


def main() -> int:
    """Run what is asked for; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the order of the deaths")
    parser.add_argument("--shots", type=int, help="at most so many deaths; all by default")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own, not on SQLite")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if why_not():
        say(f"deaths inside of SQLite are left out: {why_not()}")
    with tempfile.TemporaryDirectory(prefix="oculard-sweep-") as folder:
        if not asked.postgresql:
            return sweep(Path(folder) / "world", "", seed=asked.seed, shots=asked.shots)
        with postgres.cluster() as url:
            return sweep(Path(folder) / "world", url, seed=asked.seed, shots=asked.shots)


def sweep(folder: Path, database: str, *, seed: int, shots: int | None) -> int:
    """The kill sweep in a world of its own."""
    with make_world(folder, database=database) as world:
        deaths = kills.all_deaths(world, seed=seed)[:shots]
        say(f"{len(deaths)} deaths, seed {seed}")
        tally = kills.run(world, deaths, say)
        say(tally.text())
        say(", ".join(f"{count} {what}" for what, count in world.judge.leftovers().items()))
    return 1 if tally.wrong else 0


def say(line: str) -> None:
    """What a command says."""
    print(line, flush=True)  # noqa: T201  a command's output


if __name__ == "__main__":
    sys.exit(main())
