"""The bench itself: what it prints and keeps when an item fails or cannot run, and its queue on a small scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from bench.__main__ import ITEMS, measure_of, run
from bench.backlog import Backlog, fill
from bench.crew import crew
from bench.machine import commit
from bench.queue import pace
from bench.tables import Table
from oculard.store.database import Database

TABLE = Table(
    title="Speed", heads=["what", "a second"], rows=[["eyes", "3"]], remarks=["Measured."], raw={"eyes": [3.0]}
)


def good() -> Table:
    """What an item gives."""
    return TABLE


def bad() -> Table:
    """An item with a bug."""
    raise ValueError("it broke")


def absent() -> Table:
    """An item whose peer is not there."""
    return pytest.skip("Orthanc is not installed")


def chosen(item: str) -> Callable[[], Table]:
    """What measures an item of these tests."""
    return {"good": good, "bad": bad, "absent": absent, "last": good}[item]


def ran(items: list[str], file: Path | None = None) -> int:
    """The exit code of a bench of these; an item's skip is not this test's."""
    try:
        return run(items, file, chosen)
    except pytest.skip.Exception:
        pytest.fail("a missing peer ended the bench")


def test_every_item_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name leads to what measures it, where the command finds its modules."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "delivery"))
    assert all(callable(measure_of(item)) for item in ITEMS)


def test_an_item_that_fails_or_cannot_run_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are measured, printed and kept; each says how long it took, and the exit code says that one failed."""
    code = ran(["absent", "bad", "good"], tmp_path / "raw.json")

    shown, kept = capsys.readouterr().out, json.loads((tmp_path / "raw.json").read_text())
    assert code == 1
    assert "absent cannot run here: Orthanc is not installed" in shown
    assert "bad FAILED" in shown
    assert "it broke" in shown
    assert "eyes  3\nMeasured.\ngood took" in shown
    assert kept["machine"]["commit"]
    assert kept["absent"]["cannot_run"] == "Orthanc is not installed"
    assert "it broke" in kept["bad"]["failed"]
    assert kept["good"]["figures"] == {"eyes": [3.0]}
    assert all(kept[item]["took_s"] >= 0.0 for item in ("absent", "bad", "good"))


def test_a_missing_peer_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot run here does not make the command fail."""
    assert ran(["absent", "good"]) == 0


def test_figures_are_kept_as_items_end(tmp_path: Path) -> None:
    """Whoever stops the bench has what was measured until then."""

    def chosen_until_stopped(item: str) -> Callable[[], Table]:
        if item == "last":
            raise KeyboardInterrupt
        return chosen(item)

    with pytest.raises(KeyboardInterrupt):
        run(["good", "last"], tmp_path / "raw.json", chosen_until_stopped)

    assert json.loads((tmp_path / "raw.json").read_text())["good"]["figures"] == {"eyes": [3.0]}


def test_a_folder_without_git_is_said(tmp_path: Path) -> None:
    """The commit is not invented."""
    assert commit(tmp_path).startswith("not known")


@pytest.fixture
def backlog(bare: Database) -> Backlog:
    """A hundred jobs, on each kind of database."""
    return fill(bare.url.render_as_string(hide_password=False), 100)


def states(backlog: Backlog) -> dict[str, int]:
    """How many jobs stand in each state, and how many events there are."""
    database = Database(backlog.url)
    with database.read() as connection:
        found = dict(connection.execute(text("SELECT state, count(*) FROM job GROUP BY state")).all())
        found["events"] = connection.execute(text("SELECT count(*) FROM event")).scalar_one()
    database.close()
    return found


def test_two_workers_are_measured_on_a_queue_that_is_as_before(backlog: Backlog) -> None:
    """Half of the jobs wait; they are worked off several times, and are there again afterwards."""
    before = states(backlog)

    with crew(2, "bench.queue_worker") as hands:
        measured = pace(backlog, hands)

    assert before == {"queued": 50, "reported": 50, "events": 100}
    assert measured.jobs_a_second > 0.0
    assert measured.cpu_ms > 0.0
    assert states(backlog) == before
