"""Group commit: writers that wait share one transaction, and nobody pays for another's fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from oculard.store.database import Database, DatabaseDown
from oculard.store.group import GroupCommit
from oculard.store.vault import DiskFull
from shelf import Shelf

WAIT_S = 20.0


class Crowd:
    """Writers that all wait while the first one holds the desk."""

    def __init__(self, group: GroupCommit[int], first: Callable[[int], object] = lambda _: None) -> None:
        self._group, self._first = group, first
        self.results: dict[int, int | Exception] = {}
        self._goes_on, self._is_in = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, *works: Callable[[Connection], int]) -> None:
        """The first work begins; the others come meanwhile; then all go on to their ends."""

        def first(connection: Connection) -> int:
            self._is_in.set()
            assert self._goes_on.wait(WAIT_S)
            return works[0](connection)

        self._start(0, first)
        assert self._is_in.wait(WAIT_S)
        for number, work in enumerate(works[1:], start=1):
            self._start(number, work)
        while len(self._group._waiting) < len(works) - 1:
            threading.Event().wait(0.005)
        self._goes_on.set()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _start(self, number: int, work: Callable[[Connection], int]) -> None:
        def go() -> None:
            try:
                self.results[number] = self._group.write(work, first=lambda: self._first(number))
            except (ValueError, DatabaseDown, DiskFull) as why:
                self.results[number] = why

        thread = threading.Thread(target=go)
        self._threads.append(thread)
        thread.start()


@pytest.fixture
def sqlite(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> tuple[Shelf, list[int]]:
    """A shelf on SQLite, and the number of transactions that were begun."""
    if not shelf.database.is_sqlite:
        pytest.skip("a server's writers do not wait for each other")
    begun: list[int] = []
    write = Database.write

    def counted(database: Database) -> object:
        begun.append(1)
        return write(database)

    monkeypatch.setattr(Database, "write", counted)
    return shelf, begun


def works(connection: Connection) -> int:
    """Some writing."""
    connection.exec_driver_sql(
        "INSERT INTO event (at, kind, subject_id, name, actor) VALUES ('2026-01-01', 'x', 1, 'x', 'x')"
    )
    return 7


def fails(connection: Connection) -> int:
    """A writing that goes wrong after it has written."""
    works(connection)
    raise ValueError("mine alone")


def count(shelf: Shelf) -> int:
    with shelf.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM event WHERE kind = 'x'").scalar_one())


def test_who_waits_shares_one_transaction(sqlite: tuple[Shelf, list[int]]) -> None:
    """Five writers, two transactions: the first one's, and that of all who came meanwhile."""
    shelf, begun = sqlite
    crowd = Crowd(GroupCommit(shelf.database))

    crowd.run(works, works, works, works, works)

    assert crowd.results == dict.fromkeys(range(5), 7)
    assert (count(shelf), len(begun)) == (5, 2)


def test_a_fault_is_its_own_writers_alone(sqlite: tuple[Shelf, list[int]]) -> None:
    """One of them fails: it is told, its writing is not there, and all others are on disk."""
    shelf, _ = sqlite
    crowd = Crowd(GroupCommit(shelf.database))

    crowd.run(works, works, fails, works)

    assert isinstance(crowd.results.pop(2), ValueError)
    assert crowd.results == {0: 7, 1: 7, 3: 7}
    assert count(shelf) == 3


def test_a_database_that_goes_away_is_told_to_all_at_once(sqlite: tuple[Shelf, list[int]]) -> None:
    """Nobody waits once more for a database that has just not answered."""
    shelf, begun = sqlite
    crowd = Crowd(GroupCommit(shelf.database))

    def down(connection: Connection) -> int:
        raise DatabaseDown("gone")

    crowd.run(works, down, works, works)

    assert [type(crowd.results[number]) for number in range(1, 4)] == [DatabaseDown] * 3
    assert (crowd.results[0], count(shelf), len(begun)) == (7, 1, 2)


def test_what_comes_first_is_done_before_any_row(sqlite: tuple[Shelf, list[int]]) -> None:
    """The names of all who wait are synced, and only then their rows are written; each once."""
    shelf, begun = sqlite
    group: GroupCommit[int] = GroupCommit(shelf.database)
    steps: list[str] = []

    def row(connection: Connection) -> int:
        steps.append("row")
        return works(connection)

    crowd = Crowd(group, first=lambda _: steps.append("name"))
    crowd.run(row, row, row)

    assert steps == ["name", "row", "name", "name", "row", "row"]
    assert (count(shelf), len(begun)) == (3, 2)


def test_a_name_that_cannot_be_synced_is_its_own_writers_trouble(sqlite: tuple[Shelf, list[int]]) -> None:
    """There is no row of it, and whoever waits beside it is served."""
    shelf, _ = sqlite

    def first(number: int) -> None:
        if number == 2:
            raise DiskFull("full")

    crowd = Crowd(GroupCommit(shelf.database), first=first)

    crowd.run(works, works, works, works)

    assert isinstance(crowd.results.pop(2), DiskFull)
    assert crowd.results == {0: 7, 1: 7, 3: 7}
    assert count(shelf) == 3


def test_on_a_server_each_has_a_transaction_of_its_own(shelf: Shelf, tmp_path: Path) -> None:
    """What is written is there, on either kind of database."""
    assert GroupCommit[int](shelf.database).write(works) == 7
    assert count(shelf) == 1
