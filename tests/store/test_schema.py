"""The schema: migrations make exactly the tables that the program uses, and its constraints hold the invariants."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from fakes import FakeClock
from oculard.errors import Misconfigured
from oculard.store import database as module
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.deliveries import Deliveries
from oculard_migrations import NEWEST
from shelf import Shelf


def test_migrations_and_tables_agree(database: Database) -> None:
    """What the migrations made is what the code expects."""
    with database.write() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert differences == []


def test_migrations_and_tables_agree_which_rows_an_index_holds(database: Database) -> None:
    """What is unique only among some rows is so in the database too; Alembic does not compare that."""
    said = {
        index.name: index.info.get("where", "") for table in tables.metadata.tables.values() for index in table.indexes
    }
    with database.read() as connection:
        looking, dialect = inspect(connection), connection.dialect.name
        made = {
            str(index["name"]): str(index.get("dialect_options", {}).get(f"{dialect}_where", ""))
            for name in tables.metadata.tables
            for index in looking.get_indexes(name)
        }

    plain = {name: re.sub(r"::text|[()]", "", where) for name, where in made.items()}  # as PostgreSQL writes it back
    assert {name: plain[str(name)] for name in said} == said
    assert sum(map(bool, said.values())) == 4


def test_the_newest_revision_is_known_without_alembic(bare: Database) -> None:
    """The revision that the program asks for is the last of the migrations, and what a database has is read alike."""
    script = ScriptDirectory.from_config(module._alembic())
    assert script.get_current_head() == NEWEST
    assert bare.revisions() == (None, NEWEST)

    bare.upgrade()

    with bare.read() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == bare.revisions()[0] == NEWEST


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
        {"eye": "X"},
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
    (tmp_path / "x.db").touch()  # a database that is not there is never made by the way
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def bring_to(database: Database, revision: str) -> None:
    """Bring an older or empty database to one revision only, as the program of its day made it."""
    config = module._alembic()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


# Columns that came with a later revision, and hold nothing after an upgrade.
LATER = ("removed_at", "raise_told_at", "clear_told_at")
NEW = ("backfill", "retrieval", "watched_file", "notice", "vault")  # tables of the fourth revision: they begin empty


def rows_of(database: Database) -> dict[str, Any]:
    """Every row of the tables that there are, as far as the program of today has their columns."""
    with database.read() as connection:
        looking = inspect(connection)
        there = {name: {column["name"] for column in looking.get_columns(name)} for name in looking.get_table_names()}
        known = [table for table in tables.metadata.sorted_tables if table.name in there]
        return {
            table.name: connection.execute(
                select(*(c for c in table.c if c.name in there[table.name] and c.name not in LATER))
            ).all()
            for table in known
        }


def fill(database: Database) -> None:
    """A study, a job, the job that amends it, an input and a report, in a database of any revision."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    job = {"study_id": 1, "family": "systemic", "eye": "R", "estimator": "painted@1.0.0", "run_window": "now"}
    job |= {"priority": 5, "created_at": at, "run_after": at, "changed_at": at}
    uids = {"sop_instance_uid": "1.2", "sop_class_uid": "1.3", "series_instance_uid": "1.4", "sha256": "0" * 64}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (tables.study, {"study_instance_uid": "1.1", "patient_id": "", "accession_number": "", "state": "open"}),
        (tables.instance, uids | {"study_id": 1, "variant": 0, "transfer_syntax_uid": "1", "path": "p", "facts": {}}),
        (tables.job, job | {"state": "reported", "inputs_digest": "a"}),
        (tables.job, job | {"state": "running", "inputs_digest": "b", "after_job_id": 1, "attempts": 2}),
        (tables.job_input, {"job_id": 1, "instance_id": 1}),
        (tables.report, uids | {"job_id": 1, "generation": 0, "study_id": 1, "path": "p", "outcome": "complete"}),
    ]
    more: dict[Any, dict[str, Any]] = {
        tables.study: {"first_received_at": at, "active_at": at},
        tables.instance: {"size_bytes": 1, "sender": "s", "calling_ae": "A", "called_ae": "B", "address": "x"},
        tables.report: {"remark": "", "estimator": "painted@1.0.0", "weights_sha256": "0", "demonstration": 1},
    }
    more[tables.instance] |= {"received_at": at}
    more[tables.report] |= {"size_bytes": 1, "took": {}, "created_at": at}
    with database.write() as connection:
        for table, values in rows:
            leased = {"lease_owner": "w", "lease_until": at} if values.get("state") == "running" else {}
            connection.execute(insert(table).values(**values, **more.get(table, {}), **leased))


@pytest.fixture
def first(bare: Database) -> Database:
    """A database of the first revision with something in it."""
    bring_to(bare, "0001")
    fill(bare)
    return bare


def test_the_second_revision_keeps_what_the_first_held(first: Database) -> None:
    """Every row, reference and constraint is there after the upgrade, and a job on both eyes can be written."""
    before = rows_of(first)
    assert first.upgrade() == ("0001", first.revisions()[1])

    assert rows_of(first) == before | {"report_object": [], "delivery_object": []} | {name: [] for name in NEW}
    with first.write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        connection.execute(update(tables.job).where(tables.job.c.id == 2).values(eye="B"))
    twice = {"eye": "R", "inputs_digest": "a"}
    for values in ({"eye": "X"}, {"attempts": -1}, {"state": "dreaming"}, {"after_job_id": 99}, twice):
        with pytest.raises(IntegrityError), first.write() as connection:
            connection.execute(update(tables.job).where(tables.job.c.id == 2).values(**values))
    with pytest.raises(IntegrityError), first.write() as connection:
        connection.execute(tables.job.delete().where(tables.job.c.id == 1))  # its input and its report hold it


DELIVERIES = """
INSERT INTO delivery (id, report_id, peer, sent_sop_class_uid, sent_sop_instance_uid, sent_at, transaction_uid,
                      silences, created_at, state, run_after, attempts, changed_at)
VALUES (1, 1, 'owed', NULL, NULL, NULL, NULL, 0, :at, 'pending', :at, 0, :at),
       (2, 1, 'asked', '1.3', '1.2', :at, '2.25.1', 1, :at, 'sent', :at, 1, :at),
       (3, 1, 'kept', '1.3', '1.2', :at, '2.25.2', 0, :at, 'delivered', :at, 1, :at),
       (4, 1, 'older', '1.4', '1.2.1', :at, NULL, 0, :at, 'delivered', :at, 1, :at)
"""
OWED, ASKED, KEPT, OLDER = 1, 2, 3, 4


@pytest.fixture
def second(bare: Database) -> Database:
    """A database of the second revision whose report is owed to one peer, and was taken by three in their ways."""
    bring_to(bare, "0002")
    fill(bare)
    with bare.write() as connection:
        connection.execute(text(DELIVERIES), {"at": "2026-11-20 00:00:00"})
    return bare


def test_the_third_revision_knows_what_a_peer_took(second: Database) -> None:
    """What stood in a delivery stands in its one object; promises that were kept are kept, and nothing else changes."""
    before = rows_of(second)
    assert second.upgrade() == ("0002", second.revisions()[1])

    at = datetime(2026, 11, 20, tzinfo=UTC)
    assert rows_of(second) == before | {name: [] for name in NEW} | {
        "report_object": [],
        "delivery_object": [
            (ASKED, 0, "sr", "1.3", "1.2", None, None),
            (KEPT, 0, "sr", "1.3", "1.2", None, at),
            (OLDER, 0, "sr", "1.4", "1.2.1", None, None),
        ],
    }
    with second.write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert "sent_sop_class_uid" not in {column["name"] for column in inspect(connection).get_columns("delivery")}
    kept = update(tables.delivery_object).where(tables.delivery_object.c.delivery_id == KEPT)
    for values in ({"role": "xml"}, {"reason": "x"}, {"delivery_id": 99}, {"delivery_id": OLDER}):
        with pytest.raises(IntegrityError), second.write() as connection:
            connection.execute(kept.values(**values))


def test_a_question_of_the_second_revision_is_answered_to_the_third(second: Database, clock: FakeClock) -> None:
    """A PACS that was asked before the upgrade answers after it: the report is delivered, or sent again."""
    second.upgrade()
    deliveries = Deliveries(second, clock)

    assert deliveries.commitment_answered("2.25.1", committed=["1.2"], failed=(), actor="asked") == 1

    assert deliveries.queue.counts() == {"delivered": 3, "pending": 1}


def test_an_object_plays_a_known_part(shelf: Shelf) -> None:
    """What no PACS has a class for cannot be stored, nor one object in two reports."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0], companions=[shelf.companion("seg", "2.25.1", b"seg")])

    for values in ({"role": "sr"}, {"ordinal": -1}, {"report_id": 99}):
        with pytest.raises(IntegrityError), shelf.database.write() as connection:
            connection.execute(update(tables.report_object).values(**values))
    with pytest.raises(ValueError, match="expected a companion"):
        replace(shelf.companion("seg", "2.25.2", b"seg"), role="sr")


def test_a_migration_that_breaks_references_changes_nothing(first: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's foreign keys are off while a table is written anew: what they would have refused is found before the
    commit, and they are on again afterwards."""
    if not first.is_sqlite:
        pytest.skip("PostgreSQL never turns its foreign keys off")

    def break_it(config: Any, revision: str) -> None:
        upgrade(config, revision)
        config.attributes["connection"].exec_driver_sql("DELETE FROM job WHERE id = 1")

    upgrade = command.upgrade

    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", break_it)
        with pytest.raises(AssertionError, match="broke 3 references"):
            first.upgrade()

    assert first.revisions()[0] == "0001"
    with first.read() as connection:
        assert len(connection.execute(select(tables.job.c.id)).all()) == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from oculard.store.database import Database
from oculard.store.deliveries import Deliveries

event.listen(Engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))  # all is written, nothing is committed
Database(sys.argv[1]).upgrade()
"""


def test_an_upgrade_killed_before_its_commit_changes_nothing(first: Database) -> None:
    """SIGKILL with the table written anew: the first revision and its rows are there, and the next upgrade succeeds."""
    with first.read() as connection:
        before = connection.execute(select(tables.job)).all()
    url = first.url.render_as_string(hide_password=False)
    died = subprocess.run([sys.executable, "-c", KILLED, url], check=False, env=os.environ | {"PYTHONPATH": ""})
    assert died.returncode == -signal.SIGKILL

    assert first.revisions()[0] == "0001"
    assert first.upgrade() == ("0001", first.revisions()[1])
    with first.read() as connection:
        assert connection.execute(select(tables.job)).all() == before
