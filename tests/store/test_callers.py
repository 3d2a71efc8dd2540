"""Who was refused and who is allowed: bounded, decided by number, recorded."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from oculard.store import callers as callers_module
from oculard.store import tables
from oculard.store.callers import Caller
from shelf import Shelf


def refuse(shelf: Shelf, calling_ae: str, *, address: str = "192.0.2.1", called_ae: str = "OCULARD") -> Caller:
    """One refusal; gives its row."""
    shelf.clock.sleep(1)
    shelf.callers.refused(
        calling_ae=calling_ae, called_ae=called_ae, address=address, reason="calling-ae-unknown", proposed=[]
    )
    return next(one for one in shelf.callers.list() if (one.calling_ae, one.called_ae) == (calling_ae, called_ae))


def test_a_full_list_forgets_the_oldest_refused_and_never_an_allowed(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many have called, a new device is listed."""
    monkeypatch.setattr(callers_module, "KEPT_MAX", 3)
    allowed = refuse(shelf, "ALLOWED")
    shelf.callers.allow(allowed.id, actor="person:test")
    for name in ("A", "B", "C"):
        refuse(shelf, name)
    refuse(shelf, "A")  # called again: it is the newest now

    refuse(shelf, "D")

    assert {one.calling_ae for one in shelf.callers.list(state="refused")} == {"C", "A", "D"}
    assert [one.calling_ae for one in shelf.callers.list(state="allowed")] == ["ALLOWED"]


def test_only_the_named_number_is_let_in_and_can_be_taken_back(shelf: Shelf) -> None:
    """The same AE title from another address stays outside; both decisions leave who made them."""
    here, there = refuse(shelf, "CAM"), "192.0.2.9"
    shelf.callers.refused(
        calling_ae="CAM", called_ae="OCULARD", address=there, reason="calling-ae-unknown", proposed=[]
    )
    callers = shelf.callers

    callers.allow(here.id, actor="person:test")
    assert callers.allowed_id(calling_ae="CAM", address=here.address) == here.id
    assert callers.allowed_id(calling_ae="CAM", address=there) is None
    assert callers.remove(here.id, actor="person:test") is not None
    assert callers.allowed_id(calling_ae="CAM", address=here.address) is None

    assert callers.remove(here.id, actor="person:test") is None
    assert callers.allow(999, actor="person:test") is None
    with shelf.database.read() as connection:
        events: list[Any] = connection.execute(
            select(tables.event.c.name, tables.event.c.subject_id, tables.event.c.actor)
        ).all()  # type: ignore[assignment]  # rows are tuples
    assert events == [("allow", here.id, "person:test"), ("remove", here.id, "person:test")]


def test_a_commitment_port_belongs_to_an_allowed_caller(shelf: Shelf) -> None:
    """It is kept when the caller is allowed again without one, and forgotten when the caller is removed."""
    caller, callers = refuse(shelf, "CAM"), shelf.callers

    def port() -> int | None:
        return callers.commitment_port(calling_ae="CAM", address=caller.address)

    callers.allow(caller.id, actor="person:test", commitment_port=11112)
    callers.allow(caller.id, actor="person:test")
    assert port() == 11112
    callers.remove(caller.id, actor="person:test")
    assert port() is None
    callers.allow(caller.id, actor="person:test")
    assert port() is None
    with pytest.raises(IntegrityError), shelf.database.write() as connection:
        connection.execute(update(tables.caller).values(commitment_port=70000))
