"""A command and a role load what they use, and nothing else: `status` is typed while somebody waits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from oculard.cli.commands import VERBS, build

HEAVY = (
    "alembic",
    "apprise",
    "cryptography",
    "fastapi",
    "highdicom",
    "numpy",
    "onnxruntime",
    "pydicom",
    "pynetdicom",
    "rich",
    "scipy",
    "structlog",
    "uvicorn",
    "sqlalchemy.dialects.postgresql",  # 15 ms: the test's database is SQLite
)
PIXELS = ("gdcm", "highdicom", "onnxruntime", "requests", "scipy")  # only who looks at images needs them
UNUSED = {
    "intake": (*PIXELS, "numpy", "PIL"),
    "sender": (*PIXELS, "PIL"),
    "upkeep": (*PIXELS, "pynetdicom"),
    "web": (*PIXELS, "numpy", "pydicom"),
}
STARTED = """
import atexit, gc, json, sys

if sys.argv[2] in ("intake", "sender", "upkeep", "web"):
    import oculard.loop
    oculard.loop.loop = lambda *arguments, **named: None  # a role ends where its work would begin
collecting = {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        collecting.setdefault(name, gc.isenabled())
sys.meta_path.insert(0, Watch())
bound = []
sys.addaudithook(lambda event, _: bound.append("structlog" in sys.modules) if event == "socket.bind" else None)
atexit.register(lambda: print(json.dumps({
    "modules": sorted(name for name, module in sys.modules.items() if module is not None),
    "collecting": collecting,
    "bound": bound,
    "left": len(gc.get_objects()),
}), file=sys.stderr))
sys.argv = ["oculard", "--config", *sys.argv[1:]]
from oculard.cli import main
main()
"""


def started(file: Path, *arguments: str) -> dict[str, Any]:
    """What stood in a command's process when it ended: `modules`, whether garbage was looked for while each was loaded
    (`collecting`), whether the log was there when a port was `bound`, and how many objects are `left` for the
    interpreter to look through."""
    command = [sys.executable, "-c", STARTED, str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a daemon that has a database."""
    folder = tmp_path_factory.mktemp("start")
    made = folder / "oculard.toml"
    ports = '[intake]\nhost = "127.0.0.1"\nport = 0\n[web]\nport = 0\n'
    made.write_text(f'[store]\nfolder = "{folder}/data"\n{ports}', encoding="utf-8")
    assert "alembic" in started(made, "db", "upgrade")["modules"], "what a command does use is seen"
    return made


@pytest.mark.parametrize("command", ["status", "jobs", "retry --all-jobs", "allow SOMEBODY", "acknowledge an-alarm"])
def test_what_only_looks_or_decides_loads_nothing_heavy(file: Path, command: str) -> None:
    """Neither DICOM nor models nor the web nor migrations are needed to say how the daemon is, or to decide."""
    found = started(file, *command.split())["modules"]

    assert "sqlalchemy" in found
    assert set(found).isdisjoint(HEAVY)


def test_status_loads_nothing_of_what_is_not_there(file: Path) -> None:
    """Without a back-fill under way and without a job to claim, neither back-fills nor the queue are loaded."""
    found = started(file, "status")["modules"]

    assert "oculard.store.trace" in found
    assert {"oculard.cli.backfill", "oculard.store.backfills", "oculard.store.queue"}.isdisjoint(found)


@pytest.mark.parametrize("role", UNUSED)
def test_a_role_loads_nothing_that_others_use(file: Path, role: str) -> None:
    """Five roles start at once on few cores: what one does not load, the others need not wait for."""
    found = started(file, role)["modules"]

    assert "oculard.roles" in found
    assert set(found).isdisjoint(UNUSED[role])


@pytest.mark.parametrize("role", ["intake", "web"])
def test_a_role_can_speak_before_it_opens_a_port(file: Path, role: str) -> None:
    """To load what the first line needs takes file handles, which a crowd at the port takes as soon as it is open."""
    bound = started(file, role)["bound"]

    assert bound
    assert all(bound)


@pytest.mark.parametrize(
    ("command", "large"),
    [
        ("status", ("oculard.settings", "sqlalchemy.sql.compiler", "oculard.store.tables")),
        ("upkeep", ("pydicom", "apscheduler", "apprise")),
    ],
)
def test_no_garbage_is_looked_for_while_libraries_are_loaded(file: Path, command: str, large: tuple[str, ...]) -> None:
    """Nothing of what is loaded is garbage, and to look through it again and again takes up to a fifth of the time."""
    collecting = started(file, command)["collecting"]

    assert {name: collecting[name] for name in large} == dict.fromkeys(large, False)


def test_a_command_that_ends_does_not_look_through_all_that_it_loaded(file: Path) -> None:
    """The interpreter's last look for garbage would take a fifth of the whole command's time."""
    assert started(file, "status")["left"] < 1000


def test_a_command_that_ends_leaves_nothing_beside_the_database(file: Path) -> None:
    """It closes the database itself: what it wrote is in the one file that a person would copy."""
    started(file, "acknowledge", "an-alarm")
    started(file, "upkeep")

    assert sorted(path.name for path in (file.parent / "data").glob("oculard.db*")) == ["oculard.db"]


def test_every_verb_is_found_by_its_own_name() -> None:
    """The file that a verb is looked for in is the one that has it: what `--help` lists can be called."""
    of_all = set(typer.main.get_group(build()).commands)

    assert of_all == {verb for verbs in VERBS.values() for verb in verbs}
    for verbs in VERBS.values():
        for verb in verbs:
            assert verb in typer.main.get_group(build(["--config", "x", verb])).commands, verb


def test_a_misspelt_verb_is_compared_with_all() -> None:
    """Where no word is a verb, every verb is there to be suggested."""
    assert len(typer.main.get_group(build(["stauts"])).commands) > len(VERBS)
