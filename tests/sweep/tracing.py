"""strace: kills a process at a system call, lets calls fail, and writes down their order. None of it needs rights.

It reaches what Python cannot see: the writes and syncs inside of SQLite. Where ptrace is forbidden, as in some
containers, `why_not` says so, and whoever asks skips with these words.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What happens at the n-th of these calls in a thread, on these files only."""

    calls: tuple[str, ...]
    paths: tuple[Path, ...]
    how: str  # "signal=KILL" or "error=ENOSPC"
    when: str  # "3": the third, "1+": each

    def arguments(self) -> list[str]:
        """As strace wants it said."""
        names = ",".join(self.calls)
        files = [word for path in self.paths for word in ("-P", str(path))]
        return ["-e", f"trace={names}", *files, "-e", f"inject={names}:{self.how}:when={self.when}"]


@cache
def why_not() -> str:
    """Why nothing can be traced here; "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (tests/install-peers installs it)"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, timeout=WAIT_S)
    if tried.returncode:
        return "ptrace is forbidden here, so strace cannot trace anything"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    try:
        with attached([child.pid], ["-o", "/dev/null"]):
            return ""
    except CannotAttach as why:
        return f"strace may not attach to a process that runs: {why}"
    finally:
        child.communicate("\n", timeout=WAIT_S)


class CannotAttach(Exception):
    """ptrace is forbidden, or the process is gone."""


@contextlib.contextmanager
def attached(pids: Sequence[int], arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """strace on running processes and all their threads, until the block ends or the processes do."""
    chosen = [word for pid in pids for word in ("-p", str(pid))]
    with tempfile.NamedTemporaryFile() as said:  # no pipe: a full one would hold up whoever is traced
        tracer = subprocess.Popen(["strace", "-f", *chosen, *arguments], stdout=subprocess.DEVNULL, stderr=said)
        try:
            _await_attached(tracer, Path(said.name), len(pids))
            yield tracer
        finally:
            tracer.terminate()
            tracer.wait(timeout=WAIT_S)


def _await_attached(tracer: subprocess.Popen[bytes], said: Path, count: int) -> None:
    until, pause = time.monotonic() + WAIT_S, threading.Event()
    while said.read_text().count("attached") < count:
        if tracer.poll() is not None or time.monotonic() > until:
            raise CannotAttach(said.read_text().strip())
        pause.wait(0.01)
