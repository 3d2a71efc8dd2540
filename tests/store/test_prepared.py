"""Prepared statements: on SQLite they go straight to the driver, and write what SQLAlchemy would have written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, select

from oculard.store import database as database_module
from oculard.store import events, instances, tables
from oculard.store.database import Database, DatabaseDown
from oculard.store.prepared import Prepared
from shelf import Shelf

Run = Callable[[Connection, Prepared, Mapping[str, Any]], list[tuple[Any, ...]]]
AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=9)))
LATER = datetime(2026, 1, 2, tzinfo=UTC)
ODD = "Ж'\"?:x %s 山田"
STUDY = {
    "study_instance_uid": "1.2",
    "patient_id": ODD,
    "accession_number": "",
    "state": "open",
    "first_received_at": AT,
    "active_at": AT,
}
EVENT = {
    "at": AT,
    "kind": "instance",
    "subject_id": 7,
    "study_id": None,
    "name": ODD,
    "source": None,
    "target": "x",
    "actor": "a@b",
    "reason": None,
}
FACTS = {"patient_id": ODD, "image_type": ("A", ""), "rows": 3, "eye": None}


def ours(connection: Connection, statement: Prepared, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in statement.run(connection, values)]


def sqlalchemys(connection: Connection, statement: Prepared, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    result = connection.execute(statement._make(connection.dialect.name), dict(values))
    return [tuple(row) for row in result.all()] if result.returns_rows else []


def instance(study_id: int) -> dict[str, Any]:
    """A row's values."""
    values = dict.fromkeys(instances.COLUMNS, "1.2.3") | {"sha256": "0" * 64, "facts": FACTS}
    return values | {"path": "a", "size_bytes": 1 << 40, "study_id": study_id, "variant": 0, "received_at": AT}


def everything(connection: Connection, run: Run) -> list[list[tuple[Any, ...]]]:
    """Every prepared statement that there is, twice where that changes something, and the tables afterwards."""
    found = [run(connection, instances.OPEN_STUDY, STUDY)]
    study_id = found[0][0][0]
    found.append(run(connection, instances.OPEN_STUDY, STUDY | {"patient_id": "other", "active_at": LATER}))
    found.append(run(connection, instances.NEW_INSTANCE, instance(study_id)))
    found.append([row[:4] for row in run(connection, instances.TWINS, {"sop_instance_uid": "1.2.3"})])
    for beat_at in (AT, LATER):
        values = {"association": "a", "study_id": study_id, "owner": ODD, "beat_at": beat_at}
        found.append(run(connection, instances.HOLD, values))
    found.append(run(connection, events.NEW_EVENT, EVENT))
    written = (tables.study, tables.instance, tables.reception, tables.event)
    return found + [[tuple(row) for row in connection.execute(select(table))] for table in written]


def test_both_ways_write_the_same_rows(shelf: Shelf) -> None:
    """Moments with an offset, JSON, None, large numbers, and text that would end a careless statement."""
    if not shelf.database.is_sqlite:
        pytest.skip("on a server SQLAlchemy's way is the only one")
    seen = []
    for run in (ours, sqlalchemys):
        with contextlib.suppress(InterruptedError), shelf.database.write() as connection:
            seen.append(everything(connection, run))
            raise InterruptedError  # the other way begins with the same empty tables

    assert seen[0] == seen[1]
    assert len(seen[0][-1]) == len(seen[0][-4]) == 1


def test_a_value_that_is_missing_is_a_bug(shelf: Shelf) -> None:
    """Nothing is written as NULL because somebody forgot it."""
    forgetful = {name: value for name, value in EVENT.items() if name != "reason"}
    with pytest.raises(KeyError, match="reason"), shelf.database.write() as connection:
        events.NEW_EVENT.run(connection, forgetful)


def test_what_the_driver_says_is_told_alike(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that another program has locked, or a table that has gone, is down: the sender keeps the image."""
    if shelf.database.file is None:
        pytest.skip("SQLite's own driver")
    monkeypatch.setattr(database_module, "BUSY_S", 0.0)
    impatient = Database(str(shelf.database.url))
    other = sqlite3.connect(shelf.database.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseDown), impatient.write():
        pass
    other.execute("ROLLBACK")

    other.execute("DROP TABLE event")
    with pytest.raises(DatabaseDown), impatient.write() as connection:
        events.NEW_EVENT.run(connection, EVENT)
    other.close()
    impatient.close()
