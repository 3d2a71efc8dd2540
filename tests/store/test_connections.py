"""Connections of a server: one that was cut while it rested is replaced, and claims never wait for each other."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from oculard.store import database as module
from oculard.store.database import Database
from oculard.store.picks import ANY
from shelf import Shelf


def test_a_connection_that_was_cut_while_it_rested_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was started again costs nobody a failed transaction, though not every use asks for it."""
    if database.is_sqlite:
        pytest.skip("there is no server")
    monkeypatch.setattr(module, "RESTED_S", 0.0)
    with database.read() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = Database(database.url.render_as_string(hide_password=False))
    with other.outside() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    other.close()

    with database.write() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid


def test_a_claim_passes_over_what_another_one_is_claiming(shelf: Shelf) -> None:
    """A worker whose transaction hangs holds up no other one."""
    if shelf.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    shelf.receive("1.1")
    shelf.settle(eyes=("R", "L"))

    with shelf.database.write() as connection:
        connection.execute(text("SET lock_timeout = '2s'"))
        (first,) = shelf.jobs.queue.claim_in(connection, "slow", ANY, lease_s=60)
        with shelf.database.single() as other:
            other.execute(text("SET lock_timeout = '2s'"))
            (second,) = shelf.jobs.queue.claim_in(other, "quick", ANY, lease_s=60)

    assert first.ticket.id != second.ticket.id
    assert shelf.jobs.queue.counts() == {"running": 2}
