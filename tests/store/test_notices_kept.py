"""Notices as they are kept: told once, held by one, given again only to who has not got them."""

from __future__ import annotations

import pytest

from fakes import FakeClock
from oculard.job import DeliveryEvent
from oculard.store.queue import LeaseLost
from shelf import Shelf

CONTENT = {"title": "Night of 2026-11-28", "text": "All done.", "html": "<p>All done.</p>"}


def test_a_subject_is_told_once(shelf: Shelf) -> None:
    """A doubled wake-up tells nobody twice; another kind of the same subject is another notice."""
    assert shelf.notices.tell("night", "2026-11-28", CONTENT)
    assert not shelf.notices.tell("night", "2026-11-28", CONTENT | {"title": "again"})
    assert shelf.notices.tell("alarm", "2026-11-28", CONTENT | {"html": None})

    first, second = shelf.notices.claim("upkeep", lease_s=60), shelf.notices.claim("upkeep", lease_s=60)
    assert first is not None
    assert second is not None
    assert (first.kind, first.content.title, first.content.html) == ("night", CONTENT["title"], CONTENT["html"])
    assert (second.kind, second.content.html) == ("alarm", None)
    assert shelf.notices.claim("upkeep", lease_s=60) is None


@pytest.mark.parametrize("changes", [{"title": ""}, {"text": None}, {"body": "x"}])
def test_a_notice_that_says_nothing_is_not_kept(shelf: Shelf, changes: dict[str, str | None]) -> None:
    """Title and text are needed, and nothing else is understood."""
    with pytest.raises((ValueError, TypeError)):
        shelf.notices.tell("night", "2026-11-28", CONTENT | changes)
    assert shelf.notices.queue.counts() == {}


def test_who_has_it_is_remembered(shelf: Shelf, clock: FakeClock) -> None:
    """The next try knows which addresses have it, also after it was parked and a person sent it again."""
    shelf.notices.tell("night", "2026-11-28", CONTENT)
    notice = shelf.notices.claim("upkeep", lease_s=60)
    assert notice is not None
    assert notice.taken == frozenset()
    shelf.notices.settle(notice, DeliveryEvent.RETRY, taken=["b", "a"], reason="notice-not-sent", delay_s=10)
    assert shelf.notices.claim("upkeep", lease_s=60) is None
    clock.pass_(10)

    notice = shelf.notices.claim("upkeep", lease_s=60)
    assert notice is not None
    assert (notice.taken, notice.ticket.attempts) == ({"a", "b"}, 2)
    shelf.notices.settle(notice, DeliveryEvent.PARK, taken=notice.taken, reason="notice-not-sent")
    assert shelf.notices.resend(actor="person:x") == 1
    notice = shelf.notices.claim("upkeep", lease_s=60)
    assert notice is not None
    assert (notice.taken, notice.ticket.attempts) == ({"a", "b"}, 1)


def test_what_a_dead_process_held_is_given_back(shelf: Shelf, clock: FakeClock) -> None:
    """Its lease ends; what it says afterwards is thrown away."""
    shelf.notices.tell("night", "2026-11-28", CONTENT)
    notice = shelf.notices.claim("upkeep", lease_s=60)
    assert notice is not None
    clock.pass_(61)
    assert shelf.notices.queue.reap() == 1

    assert shelf.notices.claim("other", lease_s=60) is not None
    with pytest.raises(LeaseLost):
        shelf.notices.settle(notice, DeliveryEvent.DONE, taken=["a"])
