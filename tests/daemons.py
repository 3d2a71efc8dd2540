"""The real daemon as a child process, and painted studies to send to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oculard.app import App
from oculard.clock import SystemClock
from oculard.settings import load
from oculard_models.data.painted_study import topcon_like_study, write_study
from oculard_models.data.person import sample_people

PATIENCE_S = 120.0
CONFIGURATION = """\
[store]
folder = "{folder}/data"
disk_free_min_gib = 0.1

[intake]
host = "127.0.0.1"
port = 0

[web]
port = 0

[settling]
quiet_s = 0.5

[[senders]]
name = "topcon"
ae_title = "TOPCON"
addresses = ["127.0.0.1"]
"""


class Daemon:
    """`oculard run` in a folder of its own."""

    def __init__(self, folder: Path, extra: str = "", environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.file = folder / "oculard.toml"
        self.file.write_text(CONFIGURATION.format(folder=folder) + extra, encoding="utf-8")
        self.environment = os.environ | (environment or {})
        self.app = App(load(self.file), SystemClock())
        self.app.database.upgrade()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until every role has spoken."""
        self.launch()
        self.wait_for(self.is_up)

    def launch(self) -> None:
        """Start it."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oculard", "--config", str(self.file), "run"],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=self.environment,
            )

    def is_up(self) -> bool:
        """Whether every role of this very start has spoken."""
        assert self.process is not None
        mine = f":{self.process.pid}:"
        return {"intake", "worker", "sender", "upkeep", "web"} <= {
            r.role for r in self.app.roles.list() if mine in r.name
        }

    def port(self, role: str = "intake") -> int:
        """The port of the role that was started last."""
        return int(max((r for r in self.app.roles.list() if r.role == role), key=lambda r: r.started_at).says["port"])

    def kill(self) -> None:
        """SIGKILL to the supervisor; its children follow by themselves."""
        assert self.process is not None
        self.process.kill()
        self.await_end()

    def await_end(self) -> None:
        """Wait for a supervisor that was killed."""
        assert self.process is not None
        self.process.wait(timeout=PATIENCE_S)

    def stop(self) -> int:
        """SIGTERM, as systemd does; gives the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_S)

    def log(self) -> list[dict[str, Any]]:
        """Every event so far."""
        return [json.loads(line) for line in (self.folder / "log").read_text(encoding="utf-8").splitlines()]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same configuration, as an administrator would give it."""
        command = [sys.executable, "-m", "oculard", "--config", str(self.file), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=PATIENCE_S)

    def wait_for(self, look: Callable[[], Any]) -> Any:
        """Look at the daemon's own records until there is something to see, and give it."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not (found := look()):
            assert time.monotonic() < until, f"it did not happen; the log:\n{(self.folder / 'log').read_text()[-4000:]}"
            pause.wait(0.05)
        return found

    def ended(self, deliveries: int) -> Callable[[], bool]:
        """Whether so many reports are delivered and nothing is under way."""

        def look() -> bool:
            counts = self.app.trace.counts()
            return counts["delivery"] == {"delivered": deliveries} and "open" not in counts["study"]

        return look


def paint_study(folder: Path, seed: int, size_px: int = 512) -> Sequence[Path]:
    """A painted study of both eyes, as files."""
    (person,) = sample_people(1, seed)
    return write_study(folder, topcon_like_study(person, seed=seed, size_px=size_px))
