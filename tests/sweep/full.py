"""A small disk that is filled to the last pages while a study comes: `python -m sweep.full`.

It is a tmpfs in a mount namespace of our own, which a user without rights may have on most machines. Every amount of
free space lets another write fail: of the spool, of the log of the database, of a folder. Prints what is wrong.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import structlog

from sweep.world import World, make_world

SIZE_MIB = 160  # a worker begins nothing below 51 MiB
PAGE = 4096
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
ROOMY = {"OCULARD_STORE__DISK_FREE_MIN_GIB": "0"}  # the mark, which keeps a disk from being filled, is out of the way


@cache
def why_not() -> str:
    """Why there is no small disk here; "" when there is."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "small", folder]
        tried = subprocess.run([*NAMESPACE, *mount], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no namespace with a small disk: {tried.stderr.strip()}"


def main(folder: Path, pages: Sequence[int]) -> None:
    """The small disk below a world, filled up to each of these numbers of pages."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    (folder / "data").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=750", "small", str(folder / "data")]
    subprocess.run(mount, check=True)
    with make_world(folder, environment=ROOMY) as world:
        world.study()
        for free in pages:
            fill(world, free)
        wrong = world.verdict()
        refused = [event.get("reason") for event in world.daemon.log() if event["event"] == "instance refused"]
    print(json.dumps({"wrong": wrong, "refused": refused}))  # noqa: T201  its output


def fill(world: World, free: int) -> None:
    """One study on a disk that has so many pages left, until somebody makes room."""
    ballast = world.folder / "data" / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError:
            pass
    with ballast.open("rb+") as file:
        file.truncate(max(0, ballast.stat().st_size - free * PAGE))
    world.study(tried=ballast.unlink)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2].split(",")])
