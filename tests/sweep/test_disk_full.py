"""The disk is full, at one write after another: the device keeps what we did not take, and all goes on with room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from peers import forbidden
from sweep import full
from sweep.tracing import CannotAttach, Injection, attached, why_not
from sweep.world import World, make_world

PAGES = (0, 1, 4, 7, 14, 20, 30)  # a photograph has 7, the database's log of one some 20


@pytest.mark.timeout(600)
def test_a_disk_without_room_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """A real small disk, filled up to some pages; then there is room again, and every study ends as it should."""
    if full.why_not():
        forbidden(full.why_not())
    pages = ",".join(map(str, PAGES))
    command = [*full.NAMESPACE, sys.executable, "-m", "sweep.full", str(tmp_path / "world"), pages]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)

    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout)
    assert said["wrong"] == []
    assert {"disk-full", "database-down"} <= set(said["refused"]), "the vault's writes failed, and the database's"


@pytest.mark.timeout(600)
def test_a_call_that_finds_no_room_costs_nothing(tmp_path: Path) -> None:
    """The system's own calls say ENOSPC, once, deep inside: the name of a file, its sync, the database's log."""
    if why_not():
        forbidden(why_not())
    with make_world(tmp_path / "world") as world:
        world.study()
        log = (Path(world.database), Path(f"{world.database}-wal"))
        calls = ((("link",), ()), (("fsync",), ()), (("pwrite64",), log), (("fdatasync", "fsync"), log))
        for number, (names, paths) in enumerate((*calls, *calls[2:])):
            injection = Injection(calls=names, paths=paths, how="error=ENOSPC", when="2")
            hinder(world, ("intake", "worker", "sender")[number % 3], injection)
        assert world.verdict() == []


def hinder(world: World, role: str, injection: Injection) -> None:
    """One study while the second such call of each of the role's threads fails; intake has a thread an association."""
    with ExitStack() as stack:
        with suppress(CannotAttach):  # it has just been started again: nothing fails then
            stack.enter_context(attached([world.pid(role)], ["-o", "/dev/null", *injection.arguments()]))
        world.study(tried=stack.close if role == "intake" else lambda: None)
