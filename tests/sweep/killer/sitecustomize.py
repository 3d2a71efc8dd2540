"""Loaded by every process of a daemon under test: kills it at the very step that the file in $KILL_ORDERS names.

Steps are what the operating system is asked for (`sync`, `link`, `rename`, `unlink`, `send`) and the database's
`commit`. The process that obeys removes the orders first: it dies once. $KILL_RECORD names a file in which each step
is written down while it exists; $CLOCK_OFFSET one with seconds by which the clock of the processes is wrong.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

ORDERS, RECORD, OFFSET = (os.environ.get(name) for name in ("KILL_ORDERS", "KILL_RECORD", "CLOCK_OFFSET"))
ROLES = ("intake", "worker", "sender", "fetcher", "upkeep", "remover")
ROLE = next((word for word in sys.argv if word in ROLES), "")
UNCOUNTED = ("pulse", "lease")  # threads of heartbeats: they come by the clock
steps: Counter[str] = Counter()  # of this process since the orders were given
given_at = 0
counting = threading.Lock()  # threads of one role step side by side: each keeps the number it was given


def count(step: str) -> int:
    """Give the number of a step that begins; new orders count from their own beginning."""
    global given_at
    if threading.current_thread().name in UNCOUNTED:
        return 0
    if RECORD and Path(RECORD).exists():
        handle = OPEN(RECORD, os.O_WRONLY | os.O_APPEND)
        os.write(handle, f"{ROLE} {step}\n".encode())
        os.close(handle)
    try:
        at = Path(str(ORDERS)).stat().st_mtime_ns
    except OSError:
        return 0
    with counting:
        if at != given_at:
            steps.clear()
            given_at = at
        steps[step] += 1
        return steps[step]


def obey(step: str, number: int, side: str) -> None:
    """Die, if the orders are for this very step; with every other process of the daemon, if they say so."""
    if not number:
        return
    try:
        orders = json.loads(Path(str(ORDERS)).read_text())
    except (OSError, ValueError):
        return
    if (orders["role"], orders["step"], orders["number"], orders["side"]) == (ROLE, step, number, side):
        with contextlib.suppress(FileNotFoundError):
            UNLINK(str(ORDERS))
            if orders["whole"]:
                kill_all(os.getppid())
            os.kill(os.getpid(), signal.SIGKILL)


def kill_all(supervisor: int) -> None:
    """Kill the supervisor and then its children but this one."""
    children = {
        int(pid) for file in Path(f"/proc/{supervisor}/task").glob("*/children") for pid in file.read_text().split()
    }
    os.kill(supervisor, signal.SIGKILL)
    for pid in children - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def deadly(step: str, do):  # type: ignore[no-untyped-def]
    """The same call, with a death on either side."""

    @functools.wraps(do)
    def call(*args, **more):  # type: ignore[no-untyped-def]
        number = count(step)
        obey(step, number, "before")
        result = do(*args, **more)
        obey(step, number, "after")
        return result

    return call


def arm_system() -> None:
    """What the operating system is asked for."""
    for step, names in {
        "sync": ("fsync",),
        "link": ("link",),
        "rename": ("replace", "rename"),
        "unlink": ("unlink",),
    }.items():
        for name in names:
            setattr(os, name, deadly(step, getattr(os, name)))
    for name in ("send", "sendall", "sendmsg"):
        setattr(socket.socket, name, deadly("send", getattr(socket.socket, name)))


def arm_database() -> None:
    """The database's commit."""
    from oculard.store.database import Database

    write = Database.write

    @contextlib.contextmanager
    def deadly_write(self):  # type: ignore[no-untyped-def]
        number = count("commit")
        with write(self) as connection:
            yield connection
            obey("commit", number, "before")
        obey("commit", number, "after")

    Database.write = deadly_write  # type: ignore[method-assign]


def bend_clock() -> None:
    """A clock that somebody has set."""
    from oculard.clock import SystemClock

    now = SystemClock.now

    def wrong(self):  # type: ignore[no-untyped-def]
        try:
            return now(self) + timedelta(seconds=float(Path(str(OFFSET)).read_text()))
        except (OSError, ValueError):
            return now(self)

    SystemClock.now = wrong  # type: ignore[method-assign]


OPEN, UNLINK = os.open, os.unlink
if "oculard" in " ".join(sys.orig_argv) or "sweep" in " ".join(sys.orig_argv):
    if ORDERS and ROLE:
        arm_system()
        arm_database()
    if OFFSET:
        bend_clock()
