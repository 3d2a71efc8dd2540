"""`oculard night report`, as an administrator gives it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes import FakeClock
from oculard.job import JobEvent
from oculard.store.database import Database
from shelf import Shelf

Run = Callable[..., subprocess.CompletedProcess[str]]
CONFIG = """
[site]
time_zone = "Asia/Tokyo"
[store]
folder = "{folder}"
disk_free_min_gib = 0
[night]
start = "00:00"
end = "00:00"
report_language = "ja"
"""
KEYS = [
    "alarms",
    "backfills",
    "bad_ends",
    "demonstration",
    "disk",
    "events",
    "families",
    "folders",
    "models",
    "needs_a_person",
    "new_senders",
    "night",
    "not_reached",
    "open_matters",
    "over",
    "peers",
    "period",
    "reasons",
    "received",
    "refused_callers",
    "slowest",
    "totals",
    "verdict",
    "window",
]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database, where the configuration has it."""
    (tmp_path / "vault").mkdir()
    (tmp_path / "oculard.toml").write_text(CONFIG.format(folder=tmp_path / "vault"), encoding="utf-8")
    database = Database(f"sqlite:///{tmp_path / 'vault' / 'oculard.db'}")
    database.upgrade()
    return database


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Run:
    """The command, in an English machine."""
    command = [sys.executable, "-m", "oculard", "--config", str(tmp_path / "oculard.toml"), "night", "report"]
    return lambda *words: subprocess.run([*command, *words], capture_output=True, text=True, check=False)


def fill(database: Database, tmp_path: Path) -> str:
    """Two jobs of yesterday in Tokyo, one of which failed, and a stranger with an odd name; gives the night's name."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    shelf = Shelf(database, FakeClock(yesterday), tmp_path / "vault")
    for number, event in enumerate((JobEvent.DONE, JobEvent.GIVE_UP)):
        shelf.receive(f"1.{number}", str(number).encode(), study_instance_uid=f"1.2.{number}")
        shelf.settle()
        (job,) = shelf.claim()
        shelf.finish(job, event=event, data=str(number).encode())
    shelf.callers.refused(
        calling_ae="[red]\x1b[2J<b>", called_ae="X\tY", address="192.0.2.9", reason="calling-ae-unknown", proposed=[]
    )
    database.close()
    return (yesterday + timedelta(hours=9)).date().isoformat()


def test_the_report_as_a_table(run: Run, database: Database, tmp_path: Path) -> None:
    """The verdict comes first, a stranger's name moves no cursor, and the exit code says that somebody should look."""
    told = run(fill(database, tmp_path), "--language", "en")

    assert told.returncode == 1
    assert told.stdout.splitlines()[0].startswith(
        "1 of 2 jobs are done; 1 failed. A person should look at: failed jobs (1)"
    )
    assert "[red]?[2J<b> > X?Y (192.0.2.9)\tcalling-ae-unknown: 1 calls refused since" in told.stdout
    assert "Demonstration weights were used" in told.stdout
    assert "P1" not in told.stdout
    assert not any(sign in told.stdout + told.stderr for sign in ("\x1b", "Traceback"))


def test_the_report_as_json(run: Run, database: Database, tmp_path: Path) -> None:
    """The keys are always there, with the words of the configuration's language."""
    night = fill(database, tmp_path)
    told = json.loads(run(night, "--json").stdout)

    assert sorted(told) == KEYS
    assert (told["night"], told["totals"]["done"], told["totals"]["failed"]) == (night, 1, 1)
    assert told["verdict"].startswith("ジョブ 2 件のうち 1 件が完了しました")


def test_the_report_as_a_page(run: Run, database: Database, tmp_path: Path) -> None:
    """A file, also together with JSON; one that cannot be written is said."""
    night, path = fill(database, tmp_path), tmp_path / "report.html"
    told = run(night, "--html", str(path), "--json")

    assert json.loads(told.stdout)["night"] == night
    page = path.read_text(encoding="utf-8")
    assert '<html lang="ja">' in page
    assert "<b>" not in page
    refused = run(night, "--html", str(tmp_path / "nowhere" / "report.html"))
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "cannot write" in refused.stderr


def test_an_empty_database_has_a_report(run: Run) -> None:
    """Nothing was done and nobody needs to look; JSON has the same keys."""
    told = run("--language", "en")
    assert (told.returncode, told.stdout.splitlines()[0]) == (0, "There was nothing to do. Nothing needs a person.")
    assert sorted(json.loads(run("--json").stdout)) == KEYS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["yesterday"], "is no date"),
        (["2026-02-30"], "is no date"),
        (["2999-01-01"], "has not begun"),
        (["9999-12-31"], "has not begun"),
        (["0001-01-01"], "nothing is known"),
        (["--language", "fr"], "fr"),
    ],
)
def test_bad_input_is_said_in_one_line(run: Run, words: list[str], said: str) -> None:
    """With a hint, and never as a bug."""
    told = run(*words)
    assert (told.returncode, told.stdout) == (2, "")
    assert said in told.stderr
    assert not any(word in told.stderr for word in ("Traceback", "a bug"))
