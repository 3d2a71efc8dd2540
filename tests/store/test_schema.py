"""The schema: migrations make exactly the tables that the program uses, and its constraints hold the invariants."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, text, update
from sqlalchemy.exc import IntegrityError

from oculard.errors import Misconfigured
from oculard.store import tables
from oculard.store.database import Database
from shelf import Shelf


def test_migrations_and_tables_agree(database: Database) -> None:
    """What the migrations made is what the code expects."""
    with database.write() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert differences == []


def test_an_empty_database_is_refused_with_the_command_to_run(tmp_path: Any) -> None:
    """The program never starts on a database that was not upgraded."""
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")

    with pytest.raises(Misconfigured, match="there is no database") as why:
        database.check()
    assert "oculard db upgrade" in why.value.hint
    assert not (tmp_path / "new.db").exists(), "looking makes no file"


def test_another_revision_is_refused(database: Database) -> None:
    """The program never starts on a newer or older database."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Misconfigured, match="9999"):
        database.check()


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    """`db upgrade` may be run at any time."""
    assert database.upgrade() == database.revisions()
    database.check()


@pytest.mark.parametrize(
    "values",
    [
        {"state": "running"},
        {"lease_owner": "somebody"},
        {"state": "dreaming"},
        {"eye": "B"},
        {"attempts": -1},
    ],
)
def test_no_job_can_be_written_wrong(shelf: Shelf, values: dict[str, Any]) -> None:
    """A row that breaks an invariant is refused by the database itself."""
    shelf.receive("1.1")
    shelf.settle()

    with pytest.raises(IntegrityError), shelf.database.write() as connection:
        connection.execute(update(tables.job).values(**values))


def test_a_report_is_sent_once_to_each_peer(shelf: Shelf) -> None:
    """Two deliveries of one report to one peer cannot exist."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])

    with pytest.raises(IntegrityError), shelf.database.write() as connection:
        shelf.jobs._deliver(connection, shelf.study()["reports"][0]["id"], 1, "pacs")


def test_a_finding_has_a_value_or_a_reason(shelf: Shelf) -> None:
    """A finding that says nothing cannot be stored."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])

    with pytest.raises(IntegrityError), shelf.database.write() as connection:
        connection.execute(
            insert(tables.finding).values(report_id=shelf.study()["reports"][0]["id"], name="bmi", unit="kg/m2")
        )


def test_sqlite_is_durable(tmp_path: Any) -> None:
    """WAL and synchronous FULL: a commit that returned survives a power cut."""
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
