"""The disk's forecast: free space above the mark, at the pace of the last two weeks."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from oculard.store import tables
from oculard.store.forecast import days_left
from shelf import Shelf

DAY = 24 * 3600.0


def forecast(shelf: Shelf, free: float, mark: float = 0) -> float | None:
    """What is said now."""
    return days_left(shelf.database, free, mark, shelf.clock.now())


def test_the_disk_lasts_as_long_as_the_pace_of_two_weeks_says(shelf: Shelf) -> None:
    """A hundred bytes a day, images and reports and companions together, and a thousand above the mark: ten days."""
    shelf.receive("1.1", b"i" * 600)
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job, data=b"r" * 300, companions=[shelf.companion("sc", "2.2", b"c" * 100)])
    shelf.clock.pass_(10 * DAY)

    assert forecast(shelf, 1500, mark=500) == pytest.approx(10)
    assert forecast(shelf, 500, mark=500) == 0.0


def test_what_is_older_than_two_weeks_does_not_count(shelf: Shelf) -> None:
    """A great move years ago says nothing of tomorrow."""
    shelf.receive("1.1", b"i" * 100_000)
    shelf.clock.pass_(30 * DAY)
    shelf.receive("1.2", b"i" * 200)
    shelf.clock.pass_(2 * DAY)

    assert forecast(shelf, 1000) == pytest.approx(10)


def test_a_first_day_and_a_century_are_not_forecast(shelf: Shelf) -> None:
    """Too little is known, or nobody needs to know."""
    assert forecast(shelf, 1000) is None
    shelf.receive("1.1", b"i" * 100)
    shelf.clock.pass_(0.5 * DAY)
    assert forecast(shelf, 1000) is None
    shelf.clock.pass_(0.5 * DAY)
    assert forecast(shelf, 1000) == pytest.approx(10)
    assert forecast(shelf, 1e9) is None


def test_a_vault_in_balance_lasts_for_ever(shelf: Shelf) -> None:
    """What retention deletes is taken off what comes."""
    shelf.receive("1.1", b"i" * 100)
    shelf.clock.pass_(2 * DAY)
    shelf.receive("1.2", b"i" * 300)
    with shelf.database.write() as connection:
        table = tables.instance
        gone = update(table).where(table.c.sop_instance_uid == "1.1").values(removed_at=shelf.clock.now())
        connection.execute(gone)
    shelf.clock.pass_(1 * DAY)
    assert forecast(shelf, 1000) == pytest.approx(1000 / (300 / 3))

    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now() - timedelta(hours=1)))
    assert forecast(shelf, 1000) is None
