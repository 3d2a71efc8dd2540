"""The morning report: periods without gaps that add up to the events, every surface, both languages."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, insert, select

from fakes import FakeClock
from oculard.errors import Misconfigured
from oculard.job import ANSWER, DELIVERY, JOB, NOTICE, RETRIEVAL, DeliveryEvent, JobEvent
from oculard.settings import Settings
from oculard.settings_night import Archive
from oculard.store import tables
from oculard.store.backfills import Range
from oculard.store.events import record
from oculard.store.mornings import LISTED_MAX
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


def _flat(events: dict[str, dict[str, int]]) -> Counter[tuple[str, str]]:
    return Counter({(kind, name): count for kind, names in events.items() for name, count in names.items()})


def _counted(shelf: Shelf) -> Counter[tuple[str, str]]:
    """The table of events, counted."""
    event = tables.event
    with shelf.database.read() as connection:
        query = select(event.c.kind, event.c.name, func.count()).group_by(event.c.kind, event.c.name)
        return Counter({(kind, name): count for kind, name, count in connection.execute(query).all()})


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
    assert sum((_flat(one.events) for one in reports), Counter()) == _counted(shelf)
    assert [one.span.start for one in reports[1:]] == [one.span.end for one in reports[:-1]]
    assert sum(one.total("done") + one.total("rejected") + one.total("failed") for one in reports) == number
    assert [sum(one.total(name) for one in reports) for name in ("done", "rejected", "failed")] == [4, 4, 4]
    assert sum(row["delivered"] for one in reports for row in one.peers) == number


def test_what_was_not_reached_is_said_with_its_reason(shelf: Shelf, clock: FakeClock) -> None:
    """What the window was too short for, and what a quota held back; later nights do not change the report."""
    for number in (1, 2, 3, 4):
        shelf.receive(f"1.2.{number}.1", str(number).encode(), study_instance_uid=f"1.2.{number}")
    *jobs, hurried = shelf.settle(window="night")
    at(clock, 20, 21)
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(connection, hurried, "waiting", JobEvent.RELEASE, actor="person", run_after=clock.now())
    shelf.finish(shelf.claim()[0], data=b"4")
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(connection, jobs[0], "waiting", JobEvent.RELEASE, actor="night", run_after=clock.now())
    at(clock, 21, 6)
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(connection, jobs[0], "queued", JobEvent.WITHDRAW, actor="night", reason="night-over")
    at(clock, 21, 9)

    def why(day: int, quota: int | None) -> list[tuple[str, int]]:
        quotas = {} if quota is None else {"systemic": quota}
        return [(row["why"], row["count"]) for row in make(shelf, day, quotas=quotas).not_reached]

    assert why(20, None) == [("time", 3)]
    assert why(20, 1) == [("quota", 2), ("time", 1)]
    assert why(20, 2) == [("time", 3)]  # one of the two it might have had was never let run
    assert why(20, 0) == [("quota", 2), ("time", 1)]
    at(clock, 21, 20)
    assert why(21, 0) == [("quota", 3)]  # that one was let run does not count: it was another night

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


def test_every_move_is_counted_once(shelf: Shelf, clock: FakeClock) -> None:
    """Each move of each machine, by night, by day and at the very moment when a night ends or begins."""
    machines = (JOB, DELIVERY, ANSWER, RETRIEVAL, NOTICE)
    moves = [(machine.name, source, name, to) for machine in machines for (source, name), to in machine.moves.items()]
    moments = [(20, 6), (20, 12), (20, 20), (21, 3), (21, 6), (21, 13), (21, 20), (22, 6)]
    odd = random.Random(5)
    expected: list[Counter[tuple[str, str]]] = [Counter(), Counter()]
    with shelf.database.write() as connection:
        for day, hour in moments:
            for number, (kind, source, name, to) in enumerate(moves):
                for moment in (-1, 0, 1)[: 1 + odd.randrange(3)]:
                    at_ = datetime(2026, 11, day, hour, tzinfo=TOKYO) + timedelta(microseconds=moment)
                    record(
                        connection,
                        at=at_,
                        kind=kind,
                        subject_id=number,
                        study_id=None,
                        name=name,
                        source=source,
                        target=to,
                        actor="x",
                    )
                    for night, first in enumerate((20, 21)):
                        begins, ends = (datetime(2026, 11, first + n, 6, tzinfo=TOKYO) for n in (0, 1))
                        expected[night][kind, name] += begins <= at_ < ends
    at(clock, 23, 9)

    reports = [make(shelf, day) for day in (19, 20, 21, 22)]
    assert [_flat(one.events) for one in reports[1:3]] == expected
    assert sum((_flat(one.events) for one in reports), Counter()) == _counted(shelf)


def test_what_is_owed_is_told_as_it_was_in_the_morning(shelf: Shelf, clock: FakeClock) -> None:
    """What was on its way or parked when the night ended, whatever became of it by day."""
    at(clock, 20, 21)
    for number in (1, 2, 3):
        work(shelf, number)
    first, second, third = shelf.deliveries.claim("s", "pacs", lease_s=60, limit=3)
    shelf.took(first, awaits_commitment=False)
    shelf.deliveries.queue.settle(second.ticket, DeliveryEvent.PARK, reason="sop-class-refused")
    at(clock, 21, 9)
    shelf.took(third, awaits_commitment=False)
    with shelf.database.write() as connection:
        shelf.deliveries.queue.move(
            connection, second.ticket.id, "parked", DeliveryEvent.RESEND, actor="x", run_after=clock.now()
        )
    at(clock, 22, 9)

    told = [
        [row[name] for name in ("delivered", "under_way", "parked", "parked_still")]
        for day in (20, 21)
        for row in make(shelf, day).peers
    ]
    assert told == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert make(shelf, 20).open_matters == {"parked": 1}
    assert make(shelf, 21).open_matters == {}


def test_a_failure_that_was_tried_again_needs_nobody(shelf: Shelf, clock: FakeClock) -> None:
    """It is counted as failed, and is no open matter once somebody has requeued it."""
    at(clock, 20, 21)
    work(shelf, 1, JobEvent.GIVE_UP)
    clock.pass_(1)
    (failed,) = make(shelf, 20).bad_ends
    assert make(shelf, 20).open_matters == {"failed": 1}
    at(clock, 20, 22)
    with shelf.database.write() as connection:
        shelf.jobs.queue.move(
            connection, failed["job_id"], "failed", JobEvent.REQUEUE, actor="x", run_after=clock.now(), generation=1
        )
    at(clock, 21, 9)
    morning = make(shelf, 20)
    assert (morning.total("failed"), morning.open_matters) == (1, {})


def test_who_called_before_is_not_new(shelf: Shelf, clock: FakeClock) -> None:
    """A sender is new on its first night only; a caller is refused on the first and on the last."""
    for day in (20, 21, 22):
        at(clock, day, 21)
        work(shelf, day)
        who = {"calling_ae": "X", "called_ae": "Y", "address": "192.0.2.9"}
        shelf.callers.refused(**who, reason="calling-ae-unknown", proposed=[])
    at(clock, 23, 9)

    assert [make(shelf, day).new_senders for day in (20, 21, 22)] == [["topcon"], [], []]
    assert [len(make(shelf, day).refused_callers) for day in (20, 21, 22)] == [1, 0, 1]


def test_alarms_are_told_as_they_stood(shelf: Shelf, clock: FakeClock) -> None:
    """On every morning on which one stood, and on the one after it was cleared; that it was cleared by then only."""
    at(clock, 20, 21)
    shelf.alarms.raise_("pacs-silent", "pacs")
    at(clock, 21, 21)
    shelf.alarms.clear("pacs-silent", "pacs")
    at(clock, 23, 9)

    stood = [[row["cleared_at"] is None for row in make(shelf, day).alarms] for day in (19, 20, 21, 22)]
    assert stood == [[], [True], [False], []]
    assert [make(shelf, day).open_matters for day in (20, 21)] == [{"standing": 1}, {}]


def test_a_list_has_an_end(shelf: Shelf, clock: FakeClock) -> None:
    """A port scan of an evening does not make the report unreadable, and what is left out is said."""
    at(clock, 20, 21)
    for number in range(LISTED_MAX + 5):
        shelf.callers.refused(
            calling_ae=f"SCAN{number}", called_ae="X", address="192.0.2.9", reason="calling-ae-unknown", proposed=[]
        )
    at(clock, 21, 9)

    told = text(make(shelf), "en", TOKYO)
    assert told.count("192.0.2.9") == LISTED_MAX
    assert f"Only the first {LISTED_MAX} are shown." in told


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
                called_ae="A\nB\x07\u202eC",
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
                remarks={"match-without-uid": 2, "day-not-answered": 1, "too-many-matches": 2},
                created_at=now,
                changed_at=now,
            )
            .returning(tables.backfill.c.id)
        ).scalar_one()
        for uid, state, reason in (
            ("1.9.1", "complete", None),
            ("1.9.2", "failed", "incomplete"),
            ("1.9.3", "wanted", "move-refused"),
        ):
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
    assert "A?B??C" in plain
    assert "A?B??C" in html  # one line, whatever it was
    assert not any(sign in html + plain for sign in ("A\nB", "\x07", "\u202e"))
    words = {"en": EN, "ja": JA}[language]
    assert words["none"].format(what=words["not_reached"]) in tags.words
    assert words["estimates"] in html
    assert words["demonstration"] in html  # the shelf's reports are
    for word in ("sop-class-refused", "match-without-uid 2", "not-dicom", "topcon-1", "incomplete"):
        assert word in "".join(tags.words), word
        assert word in plain, word
    assert "move-refused" not in plain  # it is tried again
    told = json.loads(json.dumps(as_json(morning, language), default=str))
    assert told["needs_a_person"] is True
    assert told["open_matters"] == {"failed": 1, "parked": 1, "standing": 1, "unfetched": 1, "unasked": 3}
    assert told["totals"] == {
        "images": 4,
        "studies": 4,
        "done": 2,
        "rejected": 1,
        "failed": 1,
        "not_reached": 0,
        "reports": 4,
        "delivered": 1,
        "committed": 0,
        "under_way": 2,
        "parked_still": 1,
    }
    assert told["backfills"][0]["missing"] == 2
    assert [sorted(row) for row in told["bad_ends"]] == [["eye", "family", "job_id", "outcome", "reason"]] * 2
    assert "P1" not in json.dumps(told) + html + plain


def test_an_order_whose_archive_has_left_the_configuration_needs_a_person(shelf: Shelf, clock: FakeClock) -> None:
    """It would wait for ever in silence; one that is stopped does not count, nor one of an archive that is there."""
    first = date(2026, 11, 1)
    orders = {
        name: shelf.backfills.order(Range(archive=name, first=first, last=first), actor="person") for name in "abc"
    }
    shelf.backfills.stop(orders["b"], actor="person")
    at(clock, 21, 9)
    making = maker(shelf)
    settings = making.settings.model_copy(update={"archives": [Archive(name="c", host="c")]})
    making = replace(making, settings=settings)
    morning = making.make(making.night(None))

    assert morning.open_matters == {"stranded": 1}
    assert "1" in verdict(morning, "ja")
    waiting = {row["archive"]: row["reason"] for row in morning.backfills}
    assert waiting == {"a": "archive-unknown", "b": None, "c": None}


def test_a_site_may_ask_for_its_patients(shelf: Shelf, clock: FakeClock) -> None:
    """Then, and only then, who stands behind a rejected or failed job."""
    full(shelf, clock)

    found = make(shelf, report_patients=True)
    who = [(row["outcome"], row["patient_id"], row["accession_number"]) for row in found.bad_ends]
    assert who == [("failed", "P1", "A1"), ("rejected", "P1", "A1")]
    assert "patient ID P1 · accession number A1" in text(found, "en", TOKYO)
    assert "P1" in page(found, "en", TOKYO, station="EYE1")


def test_an_empty_night_is_a_short_report(shelf: Shelf, clock: FakeClock) -> None:
    """Nothing happened, and that is said."""
    morning = make(shelf)

    assert verdict(morning, "en") == "There was nothing to do. Nothing needs a person."
    assert morning.open_matters == {}
    assert text(morning, "ja", TOKYO)


def test_a_night_that_runs_is_told_so_far(shelf: Shelf, clock: FakeClock) -> None:
    """Up to now, and it says that it is not over."""
    at(clock, 20, 23)
    work(shelf, 1)
    clock.pass_(1)
    morning = make(shelf, 20)

    assert (morning.is_over, morning.total("done"), morning.span.end) == (False, 1, clock.now())
    assert EN["so_far"] in text(morning, "en", TOKYO)


def test_nights_that_are_none_are_refused(shelf: Shelf, clock: FakeClock) -> None:
    """One that has not begun, and a day on which none does."""
    with pytest.raises(Misconfigured, match="has not begun"):
        make(shelf, 25)
    with pytest.raises(Misconfigured, match="no night begins"):
        make(shelf, 15, days=["mon"])  # a Sunday
    making = maker(shelf)
    for day, words in ((date.min, "nothing is known"), (date.max, "has not begun")):
        with pytest.raises(Misconfigured, match=words):
            making.night(day)
    with pytest.raises(Misconfigured, match="has not begun"):
        make(shelf, 20)  # it is ten in the morning of that day


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
    making = maker(shelf, days=["mon"])
    told = []
    for day in (27, 25 + 7):  # the last night ended three days ago, or yesterday
        clock.at = datetime(2026, 11, 1, 1, 0, tzinfo=UTC) + timedelta(days=day - 1)
        MorningNotice(maker=making, notices=Notices(shelf.database, clock), is_wanted=True).tell_of_night()
        with shelf.database.read() as connection:
            told.append(connection.execute(select(func.count()).select_from(tables.notice)).scalar_one())
    assert told == [0, 1]


def test_both_languages_have_the_same_places(shelf: Shelf) -> None:
    """Every word of one has the other's placeholders."""
    import string

    assert EN.keys() == JA.keys()
    for key, sentence in EN.items():
        fields = [{name for _, name, _, _ in string.Formatter().parse(words) if name} for words in (sentence, JA[key])]
        assert fields[0] == fields[1], key
