"""The morning report: periods without gaps that add up to the events, every surface, both languages."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, insert, select

from fakes import FakeClock
from oculard.errors import Misconfigured
from oculard.job import DeliveryEvent, JobEvent
from oculard.settings import Settings
from oculard.store import tables
from oculard.store.notices import Notices
from oculard.upkeep.morning import Morning, MorningMaker, as_json
from oculard.upkeep.morning_notice import MorningNotice
from oculard.upkeep.morning_page import page, text, verdict
from oculard.upkeep.morning_words import EN, JA
from shelf import Shelf

TOKYO = ZoneInfo("Asia/Tokyo")
EVIL = "<script>alert('x')</script>"
Row = dict[str, Any]


@pytest.fixture
def clock() -> FakeClock:
    """Ten in the morning in Tokyo."""
    return FakeClock(datetime(2026, 11, 20, 1, 0, tzinfo=UTC))


def maker(shelf: Shelf, **night: Any) -> MorningMaker:
    """Makes reports; the night is from 20 to 6."""
    values = {"site": {"time_zone": "Asia/Tokyo"}, "store": {"disk_free_min_gib": 0.0}}
    settings = Settings.model_validate(values | {"night": {"start": "20:00", "end": "06:00"} | night})
    return MorningMaker(settings=settings, database=shelf.database, vault=shelf.vault, clock=shelf.clock)


def at(clock: FakeClock, day: int, hour: int) -> None:
    """Go to an hour of a day of November, in Tokyo."""
    moment = datetime(2026, 11, day, hour, tzinfo=TOKYO)
    assert moment >= clock.now(), "time goes on"
    clock.at = moment.astimezone(UTC)


def make(shelf: Shelf, day: int | None = None, **night: Any) -> Morning:
    """The report of the night of a day of November; of the last one when none is given."""
    making = maker(shelf, **night)
    return making.make(making.night(None if day is None else date(2026, 11, day)))


def work(shelf: Shelf, number: int, event: JobEvent = JobEvent.DONE, **how: Any) -> None:
    """A study comes, its job ends, its report is owed."""
    study = f"1.2.{number}"
    shelf.receive(f"{study}.1", str(number).encode(), study_instance_uid=study, **how)
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job, event=event, data=f"report {number}".encode())


def test_nights_add_up_to_the_events(shelf: Shelf, clock: FakeClock) -> None:
    """Reports of nights that follow each other count every event once, whenever it happened, and none twice."""
    number = 0
    for day in range(20, 24):
        for hour in (12, 21, 23):
            at(clock, day, hour)
            number += 1
            work(shelf, number, [JobEvent.DONE, JobEvent.REJECT, JobEvent.GIVE_UP][number % 3])
            shelf.alarms.raise_("pacs-silent", f"pacs{number}")
            for delivery in shelf.deliveries.claim("s", "pacs", lease_s=60, limit=1):
                shelf.took(delivery, awaits_commitment=False)
    at(clock, 24, 9)

    reports = [make(shelf, day) for day in range(19, 24)]
    added: dict[tuple[str, str], int] = {}
    for one in reports:
        for kind, names in one.events.items():
            for name, count in names.items():
                added[kind, name] = added.get((kind, name), 0) + count
    event = tables.event
    with shelf.database.read() as connection:
        query = select(event.c.kind, event.c.name, func.count()).group_by(event.c.kind, event.c.name)
        table = {(kind, name): count for kind, name, count in connection.execute(query).all()}
    assert added == table
    assert [one.span.start for one in reports[1:]] == [one.span.end for one in reports[:-1]]
    assert sum(one.total("done") + one.total("rejected") + one.total("failed") for one in reports) == number
    assert [sum(one.total(name) for one in reports) for name in ("done", "rejected", "failed")] == [4, 4, 4]
    assert sum(row["delivered"] for one in reports for row in one.peers) == number


def test_what_was_not_reached_is_said_with_its_reason(shelf: Shelf, clock: FakeClock) -> None:
    """What the window was too short for, and what a quota held back; later nights do not change the report."""
    for number in (1, 2, 3):
        shelf.receive(f"1.2.{number}.1", str(number).encode(), study_instance_uid=f"1.2.{number}")
    jobs = shelf.settle(window="night")
    at(clock, 20, 21)
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(connection, jobs[0], "waiting", JobEvent.RELEASE, actor="night", run_after=clock.now())
    at(clock, 21, 6)
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(connection, jobs[0], "queued", JobEvent.WITHDRAW, actor="night", reason="night-over")
    at(clock, 21, 9)
    assert [(row["why"], row["count"]) for row in make(shelf, 20).not_reached] == [("time", 3)]
    held = [(row["why"], row["count"]) for row in make(shelf, 20, quotas={"systemic": 1}).not_reached]
    assert held == [("quota", 2), ("time", 1)]

    at(clock, 21, 21)
    with shelf.database.write() as connection:
        for job in jobs:
            shelf.jobs.queue.move(connection, job, "waiting", JobEvent.RELEASE, actor="night", run_after=clock.now())
    for number in (1, 2, 3):
        (job,) = shelf.claim()
        shelf.finish(job, data=str(number).encode())
    at(clock, 22, 9)
    assert make(shelf, 21).not_reached == []
    assert make(shelf, 20).missed == 3


def full(shelf: Shelf, clock: FakeClock) -> None:
    """A night on which everything happened, with a sender that writes markup."""
    at(clock, 20, 21)
    for number, event in enumerate((JobEvent.DONE, JobEvent.DONE, JobEvent.REJECT, JobEvent.GIVE_UP), 1):
        work(shelf, number, event, sender="topcon-1")
    first, second, *_ = shelf.deliveries.claim("s", "pacs", lease_s=60, limit=2)
    shelf.took(first, awaits_commitment=False)
    shelf.deliveries.queue.settle(second.ticket, DeliveryEvent.PARK, reason="sop-class-refused")
    shelf.alarms.raise_("pacs-silent", EVIL)
    now = clock.now()
    with shelf.database.write() as connection:
        connection.execute(
            insert(tables.caller).values(
                calling_ae=EVIL[:16],
                called_ae="A\nB",
                address="192.0.2.9",
                state="refused",
                reason="calling-ae-unknown",
                count=3,
                first_at=now,
                last_at=now,
                proposed=[],
            )
        )
        backfill = connection.execute(
            insert(tables.backfill)
            .values(
                archive="pacs",
                origin="night",
                date_from="20261119",
                date_to="20261119",
                modalities=[],
                families=[],
                anytime=0,
                state="done",
                remarks={"match-without-uid": 2},
                created_at=now,
                changed_at=now,
            )
            .returning(tables.backfill.c.id)
        ).scalar_one()
        for uid, state, reason in (("1.9.1", "complete", None), ("1.9.2", "failed", "incomplete")):
            connection.execute(
                insert(tables.retrieval).values(
                    backfill_id=backfill,
                    study_instance_uid=uid,
                    study_date="20261119",
                    expected={"1": 5},
                    held={"1": 3},
                    state=state,
                    reason=reason,
                    run_after=now,
                    changed_at=now,
                )
            )
        connection.execute(
            insert(tables.watched_file).values(
                folder="stick",
                path="a.xml",
                size_bytes=1,
                mtime_ns=1,
                outcome="refused",
                reason="not-dicom",
                looked_at=now,
                seen_at=now,
            )
        )
    at(clock, 21, 9)


class Tags(HTMLParser):
    """Counts tags, and sees that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_surface_says_the_same(shelf: Shelf, clock: FakeClock, language: str) -> None:
    """Verdict, page, text and JSON; what a stranger wrote is text and nothing else."""
    full(shelf, clock)
    morning = make(shelf)

    sentence = verdict(morning, language)
    html, plain = page(morning, language, TOKYO, station="EYE1"), text(morning, language, TOKYO)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert "script" not in tags.seen
    assert sentence in html
    assert plain.splitlines()[0] == sentence
    assert not any(sign in plain for sign in ("A\nB", "\r"))
    words = {"en": EN, "ja": JA}[language]
    assert words["none"] in tags.words
    assert words["estimates"] in html
    assert words["demonstration"] in html  # the shelf's reports are
    for word in ("sop-class-refused", "match-without-uid 2", "not-dicom", "topcon-1", "incomplete"):
        assert word in "".join(tags.words), word
        assert word in plain, word
    told = json.loads(json.dumps(as_json(morning, language), default=str))
    assert told["needs_a_person"] is True
    assert told["backfills"][0]["missing"] == 2
    assert "people" not in told
    assert "P1" not in json.dumps(told) + html + plain


def test_a_site_may_ask_for_its_patients(shelf: Shelf, clock: FakeClock) -> None:
    """Then, and only then, who stands behind a rejected or failed job."""
    full(shelf, clock)

    people = make(shelf, report_patients=True).people
    assert sorted((row["event"], row["patient_id"], row["accession_number"]) for row in people) == [
        ("give-up", "P1", "A1"),
        ("reject", "P1", "A1"),
    ]


def test_an_empty_night_is_a_short_report(shelf: Shelf, clock: FakeClock) -> None:
    """Nothing happened, and that is said."""
    morning = make(shelf)

    assert verdict(morning, "en") == "There was nothing to do. Nothing needs a person."
    assert not morning.needs_a_person
    assert text(morning, "ja", TOKYO)


def test_a_night_that_runs_is_told_so_far(shelf: Shelf, clock: FakeClock) -> None:
    """Up to now, and it says that it is not over."""
    at(clock, 20, 23)
    work(shelf, 1)
    clock.pass_(1)
    morning = make(shelf, 20)

    assert (morning.is_over, morning.total("done")) == (False, 1)
    assert EN["so_far"] in text(morning, "en", TOKYO)


def test_nights_that_are_none_are_refused(shelf: Shelf, clock: FakeClock) -> None:
    """One that has not begun, and a day on which none does."""
    with pytest.raises(Misconfigured, match="has not begun"):
        make(shelf, 25)
    with pytest.raises(Misconfigured, match="no night begins"):
        make(shelf, 15, days=["mon"])  # a Sunday


def test_people_are_told_once(shelf: Shelf, clock: FakeClock) -> None:
    """After the window, however often the clock wakes, also by another process; not of nights that are long over."""

    def telling() -> MorningNotice:
        return MorningNotice(maker=maker(shelf), notices=Notices(shelf.database, clock), is_wanted=True)

    def subjects() -> list[str]:
        with shelf.database.read() as connection:
            return list(connection.execute(select(tables.notice.c.subject).order_by(tables.notice.c.id)).scalars())

    shelf.receive("1.1")
    at(clock, 21, 5)
    first = telling()
    first.tell_of_night()
    assert subjects() == []  # the last night was over before this daemon was there
    at(clock, 21, 6)
    at(clock, 22, 5)
    first = telling()
    first.tell_of_night()
    assert subjects() == ["2026-11-20"]
    at(clock, 22, 6)
    for chore in (first, first, telling()):
        chore.tell_of_night()
    assert subjects() == ["2026-11-20", "2026-11-21"]
    clock.pass_(timedelta(days=2, hours=1).total_seconds())
    assert [chore.name for chore in telling().all()] == ["tell_of_night"]
    assert MorningNotice(maker=maker(shelf), notices=Notices(shelf.database, clock), is_wanted=False).all() == []


def test_an_old_night_is_no_news(shelf: Shelf, clock: FakeClock) -> None:
    """A daemon that was off for a week does not begin with last week."""
    shelf.receive("1.1")
    clock.at = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)
    making = maker(shelf, days=["mon"])  # the last one ended on Tuesday the 24th, the one before a week earlier
    MorningNotice(maker=making, notices=Notices(shelf.database, clock), is_wanted=True).tell_of_night()
    clock.pass_(timedelta(days=3).total_seconds())
    MorningNotice(maker=making, notices=Notices(shelf.database, clock), is_wanted=True).tell_of_night()
    with shelf.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.notice)).scalar_one() == 1


def test_both_languages_have_the_same_places(shelf: Shelf) -> None:
    """Every word of one has the other's placeholders."""
    import string

    for key, sentence in EN.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (sentence, JA[key])]
        assert fields[0] == fields[1], key
