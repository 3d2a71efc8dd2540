"""A command loads what it uses, and nothing else: `status` is typed while somebody waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
)
LOADED = """
import sys
sys.argv = ["oculard", "--config", sys.argv[1], *sys.argv[2:]]
from oculard.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded(file: Path, *arguments: str) -> set[str]:
    """The packages that a command has loaded when it ends."""
    command = [sys.executable, "-c", LOADED, str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a daemon that has a database."""
    folder = tmp_path_factory.mktemp("start")
    made = folder / "oculard.toml"
    made.write_text(f'[store]\nfolder = "{folder}/data"\n', encoding="utf-8")
    assert "alembic" in loaded(made, "db", "upgrade"), "what a command does use is seen"
    return made


@pytest.mark.parametrize("command", ["status", "jobs", "retry --all-jobs", "allow SOMEBODY", "acknowledge an-alarm"])
def test_what_only_looks_or_decides_loads_nothing_heavy(file: Path, command: str) -> None:
    """Neither DICOM nor models nor the web nor migrations are needed to say how the daemon is, or to decide."""
    found = loaded(file, *command.split())

    assert "sqlalchemy" in found
    assert found.isdisjoint(HEAVY)


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
