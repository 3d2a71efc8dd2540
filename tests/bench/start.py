"""Starting: how long `oculard status` takes, and how long a whole daemon until every role has spoken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.tables import Table, middle, seconds
from daemons import Daemon

STATUS_S, READY_S = 0.3, 3.0  # the goals
COMMANDS, STARTS = 15, 3
LIBRARIES = "import pydantic_settings, sqlalchemy, typer"


def measure() -> Table:
    """Seconds of wall clock; the libraries that a command cannot do without are imported in turn with it."""
    figures: dict[str, list[float]] = {"status": [], "libraries": [], "ready": []}
    with TemporaryDirectory(prefix="bench-start-") as folder:
        daemon = Daemon(Path(folder))
        for _ in range(STARTS):
            figures["ready"].append(seconds(daemon.start))
            daemon.stop()
        status = ["-m", "oculard", "--config", str(daemon.file), "status"]
        for _ in range(COMMANDS):
            figures["status"].append(seconds(lambda: _python(status)))
            figures["libraries"].append(seconds(lambda: _python(["-c", LIBRARIES])))
    goals = {"status": f"{STATUS_S} s", "libraries": "", "ready": f"{READY_S} s"}
    names = {
        "status": "`oculard status`",
        "libraries": "the libraries it needs, imported alone",
        "ready": "`oculard run` until every role has spoken",
    }
    share = median(a / b for a, b in zip(figures["status"], figures["libraries"], strict=True))
    return Table(
        title="Starting, seconds of wall clock",
        heads=["what", "median (range)", "goal"],
        rows=[[names[name], middle(values), goals[name]] for name, values in figures.items()],
        remarks=[f"`status` takes {share:.2f} times what its libraries alone take."],
        raw=figures,
    )


def _python(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=False, capture_output=True)  # `status` says 1: nothing runs


if __name__ == "__main__":
    print(measure().text())  # noqa: T201  a command's output
