"""A process of the daemon: its name, its log, and its end with its supervisor."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from typing import TextIO, cast

from oculard import log
from oculard.clock import SystemClock
from oculard.log_files import MIB, LogFile
from oculard.settings import Settings


def configure_log(settings: Settings, role: str) -> None:
    """Events of this process go to stderr, or into its role's file."""
    to, where = sys.stderr, settings.log
    if where.folder is not None:
        file = LogFile(where.folder, role, bytes_max=int(where.file_mib * MIB), files=where.files)
        to = cast("TextIO", file)  # all of it that a log needs
    log.configure(level=where.level, form=where.form, role=role, to=to)


def role_name(role: str) -> str:
    """A name that no other process has, now or later: leases are held under it."""
    return f"{role}@{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def is_dead(name: str) -> bool:
    """Whether a name belongs to a process of this machine that is gone; of another machine's nothing is known."""
    _, host, pid, *_ = (*name.replace("@", ":").split(":"), "", "", "")
    if host != socket.gethostname()[:40] or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it lives, under another user
    return False


def follow_supervisor(clock: SystemClock) -> None:
    """The supervisor holds the other end of our stdin: when it dies, however it dies, we end too."""
    while os.read(0, 4096):
        pass
    clock.stop()
