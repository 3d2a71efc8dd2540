"""Days for which an archive does not answer: it is told from an archive that is away, and holds up nothing else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any

import pytest
from scripted import FIRST, LAST, Fetcher, ScriptedArchive
from sqlalchemy import func, select

from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    ArchiveSilent,
    Days,
    Found,
    StudyFailed,
    TooManyMatches,
)
from oculard.store import tables
from shelf import Shelf

MIDDLE = FIRST + timedelta(days=1)
TROUBLES = [
    ArchiveSilent("silent"),
    ArchiveAway("aborted"),
    ArchiveBusy("busy"),
    ArchiveRefused("no"),
    StudyFailed("x"),
]


def choke(archive: ScriptedArchive, day: date | None, why: Exception, hours: Collection[int] = range(24)) -> None:
    """Let an archive never answer for some hours of a day, or for any day but the first."""
    find = archive.find_studies

    def ask(days: Days, modalities: Sequence[str]) -> list[Found]:
        is_bad = days.first != FIRST if day is None else days.first == day
        if is_bad and any(days.hours[0] <= hour < days.hours[1] for hour in hours):
            archive.asked.append(f"find {days} {days.times} in vain")
            raise why
        return find(days, modalities)

    archive.find_studies = ask  # type: ignore[method-assign]  # a day is asked for in vain


def alarms_ever(shelf: Shelf) -> int:
    """How often somebody was called."""
    with shelf.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.alarm)).scalar_one())


def state(fetcher: Fetcher, backfill_id: int) -> tuple[str, Any]:
    """How an order stands, and up to which day it was asked for."""
    found = fetcher.shelf.backfills.get(backfill_id)
    assert found is not None
    return found.state, found.found_to


@pytest.mark.parametrize("why", TROUBLES, ids=lambda why: why.reason)
@pytest.mark.parametrize("day", [FIRST, MIDDLE, LAST])
def test_a_day_that_is_never_answered_for_holds_up_no_other(
    fetcher: Fetcher, archive: ScriptedArchive, day: date, why: Exception
) -> None:
    """Whatever the archive does on it: the others come, it is given up, and that is said."""
    choke(archive, day, why)
    backfill = fetcher.order()
    fetcher.run(hours=3)

    assert state(fetcher, backfill) == ("done", LAST)
    assert fetcher.states(backfill) == {"complete": 4}
    assert fetcher.remarks(backfill) == {"day-in-parts": 1, "day-not-answered": 1}
    assert sum(words.endswith("in vain") for words in archive.asked) < 15


@pytest.mark.parametrize("why", TROUBLES, ids=lambda why: why.reason)
def test_nobody_is_called_for_one_day(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf, why: Exception) -> None:
    """The archive answers for all the others: it is no archive that is silent or refuses us."""
    choke(archive, MIDDLE, why)
    fetcher.order()
    fetcher.run(hours=3)
    assert alarms_ever(shelf) == 0


def test_of_a_day_with_one_bad_hour_the_others_come(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The day is asked for in halves of halves; what cannot be had is an hour."""
    archive.studies = {f"1.{hour}": (MIDDLE, {f"1.{hour}.1": 1}) for hour in (0, 6, 7, 8, 9, 23)}
    archive.hours = {f"1.{hour}": hour for hour in (0, 6, 7, 8, 9, 23)}
    choke(archive, MIDDLE, ArchiveSilent("silent"), hours=[7])
    backfill = fetcher.order()
    fetcher.run(hours=3)

    assert fetcher.states(backfill) == {"complete": 5}
    assert fetcher.remarks(backfill) == {"day-in-parts": 1, "day-not-answered": 1}


@pytest.mark.parametrize("why", TROUBLES, ids=lambda why: why.reason)
def test_an_archive_that_answers_nothing_costs_no_day(
    fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf, why: Exception
) -> None:
    """A proxy before a dead archive answers each question with an error: it is away, an alarm stands, all days wait."""
    archive.script = {"find": [why] * 1000}
    backfill = fetcher.order()
    fetcher.run(hours=1)
    assert state(fetcher, backfill) == ("finding", None)
    assert [alarm.name for alarm in shelf.alarms.standing()] == ["archive-silent"]

    archive.script = {}
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}
    assert fetcher.remarks(backfill) == {}
    assert shelf.alarms.standing() == []


def test_an_archive_that_dies_in_the_middle_costs_no_day(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """It has answered for the first day: what fails after that is no more the day's fault than its own."""
    archive.script = {"find": [None] + [ArchiveSilent("silent")] * 30}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}
    assert fetcher.remarks(backfill) == {}


@pytest.mark.parametrize("why", TROUBLES, ids=lambda why: why.reason)
def test_what_was_found_comes_while_a_question_is_in_vain(
    fetcher: Fetcher, archive: ScriptedArchive, why: Exception
) -> None:
    """It answers no question for days any more; that it gives studies is enough for those that are known."""
    choke(archive, None, why)
    backfill = fetcher.order()
    fetcher.run(hours=0.5)
    assert fetcher.states(backfill) == {"complete": 2}


def test_an_archive_that_gives_every_day_at_once_is_alive(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The question that is asked to see whether it lives may have too many answers: it has answered."""
    find = archive.find_studies

    def ask(days: Days, modalities: Sequence[str]) -> list[Found]:
        if days.first < FIRST:
            raise TooManyMatches("it gives all that it has")
        return find(days, modalities)

    archive.find_studies = ask  # type: ignore[method-assign]  # it ignores dates that it does not know
    choke(archive, MIDDLE, ArchiveSilent("silent"))
    backfill = fetcher.order()
    fetcher.run(hours=3)
    assert fetcher.states(backfill) == {"complete": 4}


def test_a_new_process_asks_again_for_a_day_in_trouble(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """It begins anew with the day as a whole, and comes to the same end."""
    choke(archive, MIDDLE, ArchiveAway("aborted"))
    backfill = fetcher.order()
    for _ in range(8):
        fetcher.engine.step()
        fetcher.clock.pass_(10)
    fetcher.restart()
    fetcher.run(hours=3)
    assert fetcher.states(backfill) == {"complete": 4}
    assert fetcher.remarks(backfill)["day-not-answered"] == 1
