"""Loaded by every process of a daemon under test: kills it at the commit that the file in $KILL_ORDERS names.

The file says "ROLE NUMBER before|after"; the process that obeys removes the file first, so that it dies once.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

ORDERS = os.environ.get("KILL_ORDERS")
ROLE = next((word for word in sys.argv if word in ("intake", "worker", "sender", "upkeep")), "")
commits = 0  # of this process since the orders were given
given_at = 0
counting = threading.Lock()  # threads of one role commit side by side: each keeps the number it was given


def obey(commit: int, side: str) -> None:
    """Die, if the orders are for this very commit."""
    path = Path(str(ORDERS))
    try:
        role, number, when = path.read_text().split()
    except (OSError, ValueError):
        return
    if (role, int(number), when) == (ROLE, commit, side):
        path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def count() -> int:
    """Give the number of a commit that begins; new orders count from their own beginning."""
    global commits, given_at
    try:
        at = Path(str(ORDERS)).stat().st_mtime_ns
    except OSError:
        return 0
    with counting:
        commits = commits + 1 if at == given_at else 1
        given_at = at
        return commits


if ORDERS and "oculard" in sys.argv[0] + " ".join(sys.orig_argv):
    from oculard.store.database import Database

    write = Database.write

    @contextlib.contextmanager
    def deadly(self):  # type: ignore[no-untyped-def]
        """The program's `write`, with a death on either side of its commit; heartbeats do not count."""
        if threading.current_thread().name in ("pulse", "lease"):
            with write(self) as connection:
                yield connection
            return
        commit = count()
        with write(self) as connection:
            yield connection
            obey(commit, "before")
        obey(commit, "after")

    Database.write = deadly  # type: ignore[method-assign]
