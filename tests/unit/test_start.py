"""A command loads what it uses, and nothing else: `status` is typed while somebody waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_status_loads_nothing_heavy(tmp_path: Path) -> None:
    """Neither DICOM nor models nor the web nor migrations are needed to say how the daemon is."""
    file = tmp_path / "oculard.toml"
    file.write_text(f'[store]\nfolder = "{tmp_path}/data"\n', encoding="utf-8")
    assert "alembic" in loaded(file, "db", "upgrade"), "what a command does use is seen"

    found = loaded(file, "status")

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
