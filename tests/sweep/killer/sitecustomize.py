"""Loaded by every process of a daemon under test: kills it at the very step that the file in $KILL_ORDERS names.

Steps are what the operating system is asked for (`sync`, `link`, `rename`, `unlink`, `send`) and the database's
`commit`, or on a server its single `statement`. A step inside of one of upkeep's chores, or of a heartbeat, bears its
name (`remove_images.unlink`, `pulse.commit`). The process that obeys removes the orders first: it dies once. Where
others lie beside them, in `.then`, they hold from there on.
$KILL_RECORD names a file in which each step is written down while it exists; $CLOCK_OFFSET one with seconds by which
the clock of the processes is wrong; beside it, in `.looks`, stands whose loop has seen which. $CHORES_EVERY_S lets each
chore come so often at least, and a sweep of orphans go round the whole vault at once.
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

ORDERS, RECORD, OFFSET, HURRY = (
    os.environ.get(name) for name in ("KILL_ORDERS", "KILL_RECORD", "CLOCK_OFFSET", "CHORES_EVERY_S")
)
ROLES = ("run", "intake", "worker", "sender", "fetcher", "upkeep", "web")  # `run` is the supervisor
ROLE = next((word for word in sys.argv if word in ROLES), "")
BY_THE_CLOCK = ("pulse", "lease")  # threads of heartbeats: their steps are none of the work's
steps: Counter[str] = Counter()  # of this process since the orders were given, and of a chore since it began
given_at = 0
counting = threading.Lock()  # threads of one role step side by side: each keeps the number it was given
here = threading.local()  # .chore: in which chore this thread is


def named(step: str) -> str:
    """A step with the name of the chore or the heartbeat that takes it."""
    thread = threading.current_thread().name
    owner = thread if thread in BY_THE_CLOCK else getattr(here, "chore", "")
    return f"{owner}.{step}" if owner else step


def begun_ns(file: str | None) -> int:
    """When orders or a recording began; 0 when there are none. It is the harness that sets this time of the file."""
    try:
        return Path(str(file)).stat().st_atime_ns
    except OSError:
        return 0


def count(step: str) -> int:
    """Give the number of a step that begins; new orders, and a new recording, count from their own beginning."""
    global given_at
    recording = begun_ns(RECORD)
    at = recording or begun_ns(ORDERS)
    if not at:
        return 0
    with counting:
        if at != given_at:
            steps.clear()
            given_at = at
        steps[step] += 1
        number = steps[step]
    if recording:
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            handle = OPEN(str(RECORD), os.O_WRONLY | os.O_APPEND)
            os.write(handle, f"{ROLE} {step} {number}\n".encode())
            os.close(handle)
    return number


def obey(step: str, number: int, side: str) -> None:
    """Die, if the orders are for this very step; with every other process of the daemon, if they say so."""
    if not number:
        return
    try:
        handle = OPEN(str(ORDERS), os.O_RDONLY | os.O_NOATIME)
        orders = json.loads(os.read(handle, 1000))
        os.close(handle)
    except (OSError, ValueError):
        return
    if (orders["role"], orders["step"], orders["number"], orders["side"]) == (ROLE, step, number, side):
        with contextlib.suppress(FileNotFoundError):
            next_orders()
            if orders["whole"]:
                kill_all(os.getpid() if ROLE == "run" else os.getppid())
            os.kill(os.getpid(), signal.SIGKILL)


def next_orders() -> None:
    """These were obeyed."""
    try:
        REPLACE(f"{ORDERS}.then", str(ORDERS))
    except FileNotFoundError:
        UNLINK(str(ORDERS))


def kill_all(supervisor: int) -> None:
    """Kill the supervisor and then its children, whoever of them does it last."""
    children = {
        int(pid) for file in Path(f"/proc/{supervisor}/task").glob("*/children") for pid in file.read_text().split()
    }
    for pid in [supervisor, *children]:
        with contextlib.suppress(ProcessLookupError):
            if pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


def deadly(step: str, do):  # type: ignore[no-untyped-def]
    """The same call, with a death on either side."""

    @functools.wraps(do)
    def call(*args, **more):  # type: ignore[no-untyped-def]
        own = named(step)
        number = count(own)
        obey(own, number, "before")
        try:
            return do(*args, **more)
        finally:  # what fails, as the removal of what is not there, has an end, too
            obey(own, number, "after")

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
    """The database's commit; a server's single statement that changed something is a step when it has happened."""
    from sqlalchemy.event import listen

    from oculard.store.database import Database

    write, single = Database.write, Database.single

    @contextlib.contextmanager
    def deadly_write(self):  # type: ignore[no-untyped-def]
        step = named("commit")
        number = count(step)
        with write(self) as connection:
            yield connection
            obey(step, number, "before")
        obey(step, number, "after")

    @contextlib.contextmanager
    def deadly_single(self):  # type: ignore[no-untyped-def]
        rows: list[int] = []
        with single(self) as connection:
            listen(connection, "after_cursor_execute", lambda _, cursor, *__: rows.append(cursor.rowcount))
            yield connection
        if max(rows, default=0) > 0 and not self.is_sqlite:  # SQLite's is a `write`; who waits for work asks in vain
            step = named("statement")
            obey(step, count(step), "after")

    Database.write, Database.single = deadly_write, deadly_single  # type: ignore[method-assign]


def inside(name: str, do):  # type: ignore[no-untyped-def]
    """The same call; its steps bear its name and are counted from its beginning."""

    @functools.wraps(do)
    def call(*args, **more):  # type: ignore[no-untyped-def]
        outer, here.chore = getattr(here, "chore", ""), name
        with counting:
            for step in [one for one in steps if one.startswith(f"{name}.")]:
                del steps[step]
        try:
            return do(*args, **more)
        finally:
            here.chore = outer

    return call


def arm_chores() -> None:
    """What upkeep does by the clock, each chore under its own name; the two halves of retention too."""
    from oculard.store.retention import Retention
    from oculard.upkeep import clockwork

    for name in ("remove_images", "remove_reports"):
        setattr(Retention, name, inside(name, getattr(Retention, name)))
    schedule = clockwork.schedule

    def armed(chores, clock, alarms):  # type: ignore[no-untyped-def]
        every_s = float(HURRY or "inf")
        chores = [
            clockwork.Chore(do=inside(one.name, one.do), every_s=min(one.every_s, every_s)) for one in list(chores)
        ]
        return schedule(chores, clock, alarms)

    clockwork.schedule = armed


def hurry_sweeps() -> None:
    """A sweep of orphans looks at one of 256 parts a time, five minutes apart: here at all of them."""
    from oculard.store.vault import PARTS
    from oculard.upkeep.housekeeping import Housekeeping

    part = Housekeeping._strays

    def all_parts(self, room):  # type: ignore[no-untyped-def]
        return [stray for _ in range(PARTS) for stray in part(self, room)]

    Housekeeping._strays = all_parts  # type: ignore[method-assign]


def bend_clock() -> None:
    """A clock that somebody has set."""
    from oculard.clock import Hands, SystemClock

    now, were_set_back, known = SystemClock.now, Hands.were_set_back, [None]

    def offset_s():  # type: ignore[no-untyped-def]
        try:
            return float(Path(str(OFFSET)).read_text())
        except FileNotFoundError:
            return 0.0

    def looked(self):  # type: ignore[no-untyped-def]
        before = offset_s()
        were = were_set_back(self)
        if not were and before == offset_s() != known[0]:  # who ends now has not seen it, nor who read it in between
            known[0] = before
            with Path(f"{OFFSET}.looks").open("a") as file:
                file.write(f"{os.getpid()} {before}\n")
        return were

    SystemClock.now = lambda self: now(self) + timedelta(seconds=offset_s())  # type: ignore[method-assign]
    Hands.were_set_back = looked  # type: ignore[method-assign]


OPEN, REPLACE, UNLINK = os.open, os.replace, os.unlink
if "oculard" in " ".join(sys.orig_argv) or "sweep" in " ".join(sys.orig_argv):
    if ORDERS and ROLE:
        arm_system()
        arm_database()
    if ORDERS and ROLE == "upkeep":
        arm_chores()
        if HURRY:
            hurry_sweeps()
    if OFFSET:
        bend_clock()
