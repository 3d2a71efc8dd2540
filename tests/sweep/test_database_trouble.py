"""The database is locked, away, or killed: nothing is acknowledged that is not in it, and all goes on afterwards."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import postgres
from oculard.clock import SystemClock
from oculard.store import database as database_module
from oculard.store.database import Database, DatabaseDown
from oculard.store.instances import Received
from peers import missing
from shelf import Shelf
from sweep.judge import Judge
from sweep.world import make_world


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "oculard.db"


@pytest.fixture
def on_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """A store on SQLite that has no patience with locks."""
    monkeypatch.setattr(database_module, "BUSY_S", 0.05)
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    return Shelf(database, SystemClock(), file.parent / "vault")


def test_a_database_that_somebody_locks_takes_nothing_and_loses_nothing(on_file: Shelf, file: Path) -> None:
    """Another program holds the write lock for longer than we wait."""
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseDown):
            on_file.receive("1.1")
        other.rollback()

    assert on_file.receive("1.1") is Received.NEW


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_database_that_is_not_in_its_place_takes_nothing(on_file: Shelf, file: Path, how: str) -> None:
    """Rows in a file that has no name any more are lost with the process: nobody is told Success for them."""
    on_file.receive("1.1")
    away = file.with_name("away.db")
    file.rename(away)
    if how == "deleted":
        away.unlink()
    if how == "replaced":
        Database(f"sqlite:///{file}").upgrade()
        Path(f"{file}-wal").unlink(missing_ok=True)

    for _ in range(2):
        with pytest.raises(DatabaseDown):
            on_file.receive("1.2")
    assert file.exists() is (how == "replaced"), "none is made that is empty"
    if how == "moved":
        away.rename(file)
        assert on_file.receive("1.2") is Received.NEW


@pytest.mark.timeout(600)
def test_a_lock_in_the_middle_of_the_work_costs_nothing(tmp_path: Path) -> None:
    """The real daemon: somebody holds the write lock for a while when a study has come, and when one comes."""
    with make_world(tmp_path / "world") as world:
        world.study()
        with closing(sqlite3.connect(world.database, isolation_level=None, check_same_thread=False)) as other:

            def lock() -> None:
                other.execute("BEGIN IMMEDIATE")
                SystemClock().sleep(3)  # what a backup or a curious person takes
                other.execute("ROLLBACK")

            world.study(meanwhile=lock)
        assert world.verdict() == []


@pytest.mark.timeout(600)
def test_a_server_that_crashes_twice_costs_nothing(tmp_path: Path) -> None:
    """PostgreSQL loses all connections and recovers, as after a SIGKILL to any of its processes."""
    if postgres.find_binaries() is None:
        missing("PostgreSQL's server is not installed")
    with postgres.cluster() as url, make_world(tmp_path / "world", database=url) as world:
        world.study(meanwhile=lambda: crash(world.judge))
        world.study(tried=lambda: crash(world.judge))
        assert world.verdict() == []


def crash(judge: Judge) -> None:
    """Kill the process that serves somebody: the server ends all others, and starts again from its log."""
    (row,) = judge.rows(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1"
    )
    os.kill(int(row["pid"]), signal.SIGKILL)
