"""A PostgreSQL cluster of our own: on a free port of loopback, in a temporary folder, ended by the test run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers import free_port


def find_binaries() -> Path | None:
    """The folder of the server's programs, or None when it is not installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster(*, fsync: str = "off") -> Iterator[str]:
    """A running server; gives the URL of its database `postgres`. A benchmark of commits wants fsync=on."""
    binaries = find_binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="oculard-pg-"))
    port = free_port()
    become: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        become = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    run = [*become, str(binaries / "initdb"), "-D", str(data), "-U", "oculard", "-A", "trust", "--no-sync"]
    subprocess.run(run, check=True, capture_output=True, cwd=folder)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync={fsync}"
    start = [
        *become,
        str(binaries / "pg_ctl"),
        "-D",
        str(data),
        "-w",
        "-o",
        options,
        "-l",
        str(folder / "log"),
        "start",
    ]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield f"postgresql+psycopg://oculard@127.0.0.1:{port}/postgres"
    finally:
        stop = [*become, str(binaries / "pg_ctl"), "-D", str(data), "-w", "-m", "immediate", "stop"]
        subprocess.run(stop, check=False, stdout=subprocess.DEVNULL, cwd=folder)
        shutil.rmtree(folder, ignore_errors=True)
