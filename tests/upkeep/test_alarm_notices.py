"""Telling of alarms: each raising and each clearing once, a storm in one notice, in two languages."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from fakes import FakeClock
from oculard.alarm import CONDITIONS
from oculard.store import tables
from oculard.store.news import TOGETHER_MAX, News
from oculard.upkeep.alarm_notices import PAUSE, AlarmNotices
from oculard.upkeep.alarm_words import SHOWN_MAX, Language
from shelf import Shelf

PAUSE_S = PAUSE.total_seconds()


def teller(shelf: Shelf, language: Language = "en") -> AlarmNotices:
    """The chore over a shelf."""
    return AlarmNotices(
        news=News(shelf.database, shelf.clock, shelf.notices),
        language=language,
        zone=ZoneInfo("Asia/Tokyo"),
        station="eye-1",
        clock=shelf.clock,
    )


def told(shelf: Shelf) -> list[dict[str, Any]]:
    """The contents of the notices, oldest first."""
    table = tables.notice
    with shelf.database.read() as connection:
        return list(connection.execute(select(table.c.content).order_by(table.c.id)).scalars())


def test_an_alarm_is_told_when_it_is_raised_and_when_it_is_cleared(shelf: Shelf, clock: FakeClock) -> None:
    """Once each, over many wake-ups, with what it means and where to read on."""
    shelf.alarms.raise_("disk-full", "/var/lib/oculard")
    for _ in range(3):
        teller(shelf).tell_alarms()
        clock.pass_(PAUSE_S)
    (raised,) = told(shelf)
    assert raised["title"] == "oculard eye-1: alarms: 1 raised, 0 cleared"
    assert CONDITIONS["disk-full"].means in raised["text"]
    assert "/var/lib/oculard: since 2026-11-20 12:00" in raised["text"]
    assert "RUNBOOK.md" in raised["text"]

    shelf.alarms.clear("disk-full", "/var/lib/oculard")
    for _ in range(3):
        teller(shelf).tell_alarms()
        clock.pass_(PAUSE_S)
    _, cleared = told(shelf)
    assert cleared["title"] == "oculard eye-1: alarms: 0 raised, 1 cleared"
    assert "/var/lib/oculard: 2026-11-20 12:00 to 11-20 12:30" in cleared["text"]
    shelf.alarms.raise_("disk-full", "/var/lib/oculard")
    teller(shelf).tell_alarms()
    assert len(told(shelf)) == 3, "it came again"


def test_a_storm_is_one_notice(shelf: Shelf, clock: FakeClock) -> None:
    """A thousand alarms of one kind are a number and a few examples; those of another kind are not lost among them."""
    for number in range(1000):
        shelf.alarms.raise_("differing-duplicate", f"1.2.{number}")
    shelf.alarms.raise_("pacs-silent", "pacs")
    for _ in range(3):
        teller(shelf).tell_alarms()
        clock.pass_(PAUSE_S)

    (notice,) = told(shelf)
    assert notice["title"] == "oculard eye-1: alarms: 1001 raised, 0 cleared"
    assert notice["text"].count("1.2.") == SHOWN_MAX
    assert f"... and {1000 - SHOWN_MAX} more" in notice["text"]
    assert "pacs-silent" in notice["text"]
    assert len(notice["text"]) < 2000


def test_a_storm_that_lasts_is_told_at_intervals(shelf: Shelf, clock: FakeClock) -> None:
    """One alarm every half minute for an hour is a handful of notices that speak of all."""
    for number in range(120):
        shelf.alarms.raise_("differing-duplicate", f"1.2.{number}")
        teller(shelf).tell_alarms()
        clock.pass_(30)

    titles = [notice["title"] for notice in told(shelf)]
    assert titles[:2] == ["oculard eye-1: alarms: 1 raised, 0 cleared", "oculard eye-1: alarms: 20 raised, 0 cleared"]
    assert len(titles) == 6


def test_more_than_one_notice_may_hold_goes_into_the_next(
    shelf: Shelf, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a bound, and nothing is lost at it."""
    assert TOGETHER_MAX >= 1000
    monkeypatch.setattr("oculard.store.news.TOGETHER_MAX", 3)
    for number in range(4):
        shelf.alarms.raise_("pacs-silent", f"pacs-{number}")
    for _ in range(3):
        teller(shelf).tell_alarms()
        clock.pass_(PAUSE_S)

    assert ["3 raised" in notice["title"] for notice in told(shelf)] == [True, False]


def test_what_came_and_went_is_one_notice(shelf: Shelf, clock: FakeClock) -> None:
    """Raised and cleared between two wake-ups: said once, as over. In Japanese."""
    shelf.alarms.raise_("folder-away", "scanner")
    clock.pass_(5)
    shelf.alarms.clear("folder-away", "scanner")
    for _ in range(3):
        teller(shelf, "ja").tell_alarms()
        clock.pass_(PAUSE_S)

    (notice,) = told(shelf)
    assert notice["title"] == "oculard eye-1: アラーム: 発生1件、解除1件"
    assert CONDITIONS["folder-away"].means_ja in notice["text"]
    assert "発生後、自動解除" in notice["text"]


def test_what_was_over_long_ago_is_no_news(shelf: Shelf, clock: FakeClock) -> None:
    """Who configures an address later is told what stands, and no history."""
    shelf.alarms.raise_("pacs-silent", "old")
    shelf.alarms.clear("pacs-silent", "old")
    shelf.alarms.raise_("pacs-silent", "new")
    clock.pass_(25 * 3600)
    teller(shelf).tell_alarms()

    (notice,) = told(shelf)
    assert notice["title"] == "oculard eye-1: alarms: 1 raised, 0 cleared"


def test_that_a_notice_went_wrong_is_told_by_none(shelf: Shelf) -> None:
    """Else each failure to tell would be something more to tell."""
    shelf.alarms.raise_("notice-not-sent", "mailto://mail.clinic.test")
    teller(shelf).tell_alarms()
    shelf.alarms.clear("notice-not-sent", "mailto://mail.clinic.test")
    teller(shelf).tell_alarms()

    assert told(shelf) == []


def test_a_clock_that_goes_back_silences_nobody(shelf: Shelf, clock: FakeClock) -> None:
    """The last notice lies in the future: the next is written all the same."""
    shelf.alarms.raise_("pacs-silent", "one")
    teller(shelf).tell_alarms()
    clock.pass_(-86400)
    shelf.alarms.raise_("pacs-silent", "two")
    teller(shelf).tell_alarms()

    assert len(told(shelf)) == 2


def test_a_hostile_subject_is_one_line(shelf: Shelf) -> None:
    """A device may call itself anything; it writes no lines of its own into a mail."""
    shelf.alarms.raise_("commitment-unanswered", "AE\r\nBcc: x\u2028\x1b[2J")
    teller(shelf).tell_alarms()

    (notice,) = told(shelf)
    assert "AE??Bcc: x??[2J: since" in notice["text"]
    assert "AE" not in notice["title"]


def test_an_alarm_of_another_program_is_told_without_its_meaning(shelf: Shelf) -> None:
    """A row that a newer program left behind is no bug of this one."""
    shelf.alarms.raise_("from-the-future", "x")
    teller(shelf).tell_alarms()

    (notice,) = told(shelf)
    assert "- from-the-future:" in notice["text"]
