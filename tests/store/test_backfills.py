"""Back-fills as they are kept: ordered once, asked for day by day, claimed, counted, ended."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fakes import FakeClock
from oculard.job import RetrievalEvent, Wish
from oculard.store import tables
from oculard.store.backfills import REMARKS_MAX, Backfill, Range
from oculard.store.queue import LeaseLost
from oculard.store.retrievals import Retrieval
from shelf import Shelf

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 3)
DAY = timedelta(days=1)


def wanted(**changes: Any) -> Range:
    """Three days of the PACS."""
    values: dict[str, Any] = {"archive": "pacs", "first": FIRST, "last": LAST, "anytime": True}
    return Range(**(values | changes))


def order(shelf: Shelf, **changes: Any) -> Backfill:
    """A person's order, as it is kept."""
    found = shelf.backfills.get(shelf.backfills.order(wanted(**changes), actor="person"))
    assert found is not None
    return found


def find_all(shelf: Shelf, backfill_id: int, *uids: str) -> None:
    """Every day is asked for; the last one has these studies."""
    while backfill := shelf.backfills.next_to_find("pacs", anytime_only=False):
        assert backfill.id == backfill_id
        assert backfill.next_day is not None
        studies = [(uid, "20261103") for uid in uids] if backfill.next_day == LAST else []
        assert shelf.backfills.found(backfill, backfill.next_day, studies)


def claim(shelf: Shelf, *, archive: str = "pacs", anytime_only: bool = False) -> Retrieval | None:
    """The next study to fetch."""
    return shelf.retrievals.claim("fetcher", archive, anytime_only=anytime_only, lease_s=60)


def must_claim(shelf: Shelf) -> Retrieval:
    found = claim(shelf)
    assert found is not None
    return found


def test_what_is_under_way_is_known_without_its_rows(shelf: Shelf) -> None:
    """`status` asks first whether there is anything to show: an order is, until it is stopped."""
    assert not shelf.trace.has_backfill()

    backfill = order(shelf)
    assert shelf.trace.has_backfill()

    shelf.backfills.stop(backfill.id, actor="person")
    assert not shelf.trace.has_backfill()


def test_the_same_order_is_continued_until_it_is_done(shelf: Shelf) -> None:
    """Asking twice doubles nothing; other days, modalities or families are another order; a done one is repeated."""
    first = order(shelf, modalities=("OPT", "OP"))

    assert order(shelf, modalities=("OP", "OPT")).id == first.id
    others = [order(shelf), order(shelf, families=("faz",)), order(shelf, last=FIRST), order(shelf, anytime=False)]
    assert len({first.id, *(other.id for other in others)}) == 5
    one_day = others[2]
    shelf.backfills.found(one_day, FIRST, [])
    assert shelf.backfills.finish("pacs") == [one_day.id]
    assert order(shelf, last=FIRST).id != one_day.id


def test_a_stopped_order_goes_on_where_it_was(shelf: Shelf) -> None:
    """Stopping forgets nothing; the same order goes on; an unknown one cannot be stopped."""
    backfill = order(shelf)
    shelf.backfills.found(backfill, FIRST, [("1.1", "20261101")])
    assert shelf.backfills.stop(backfill.id, actor="person")
    assert not shelf.backfills.stop(backfill.id, actor="person")
    assert not shelf.backfills.stop(99, actor="person")
    assert claim(shelf) is None
    assert shelf.backfills.next_to_find("pacs", anytime_only=False) is None
    assert shelf.backfills.recent(active=True) == []

    again = order(shelf)
    assert (again.id, again.state, again.next_day) == (backfill.id, "finding", FIRST + DAY)
    assert claim(shelf) is not None


def test_a_day_is_found_once(shelf: Shelf) -> None:
    """Whoever asked for a day that has been asked for, or of a stopped order, adds nothing."""
    backfill = order(shelf)
    assert shelf.backfills.found(backfill, FIRST, [("1.1", "20261101"), ("1.1", "20261101"), ("1.2", "20261101")])
    assert not shelf.backfills.found(backfill, FIRST, [("1.3", "20261101")])
    assert shelf.backfills.progress(backfill.id)["found"] == 2
    shelf.backfills.stop(backfill.id, actor="person")
    again = shelf.backfills.get(backfill.id)
    assert again is not None
    assert not shelf.backfills.found(again, FIRST + DAY, [("1.4", "20261102")])
    assert shelf.backfills.progress(backfill.id)["found"] == 2


def test_the_night_is_ordered_once_and_a_missed_one_made_good_for(shelf: Shelf) -> None:
    """Each night asks for its day and the day before; after a pause from the last night's day on, within bounds."""

    def ordered(day: date) -> tuple[date, date] | None:
        number = shelf.backfills.order_night("pacs", day, ("OP",), days_max=31)
        found = None if number is None else shelf.backfills.get(number)
        return None if found is None else (found.range.first, found.range.last)

    assert ordered(LAST) == (LAST - DAY, LAST)
    assert ordered(LAST) is None
    assert ordered(LAST + DAY) == (LAST, LAST + DAY)
    assert ordered(LAST) is None
    assert ordered(LAST + 4 * DAY) == (LAST + DAY, LAST + 4 * DAY)
    assert ordered(LAST + 104 * DAY) == (LAST + 73 * DAY, LAST + 104 * DAY)
    assert {found.origin for found in shelf.backfills.recent()} == {"night"}
    assert not any(found.range.anytime for found in shelf.backfills.recent())


def test_a_study_is_claimed_by_one_and_only_where_it_may_be(shelf: Shelf) -> None:
    """Not of another archive, not outside the night unless the order says so; in the order of the back-fills."""
    by_night = order(shelf, anytime=False)
    find_all(shelf, by_night.id, "1.1")
    anytime = order(shelf, families=("faz",))
    find_all(shelf, anytime.id, "1.2")

    assert claim(shelf, archive="other") is None
    day = claim(shelf, anytime_only=True)
    assert day is not None
    assert (day.study_instance_uid, day.wish) == ("1.2", Wish(families=("faz",)))
    assert claim(shelf, anytime_only=True) is None
    night = claim(shelf)
    assert night is not None
    assert (night.study_instance_uid, night.wish) == ("1.1", Wish(window="night"))
    assert claim(shelf) is None


def test_what_a_dead_fetcher_held_is_given_back(shelf: Shelf, clock: FakeClock) -> None:
    """A lease that ends leaves the study to the next; the first holder's word does not count any more."""
    backfill = order(shelf)
    find_all(shelf, backfill.id, "1.1")
    lost = must_claim(shelf)
    clock.pass_(61)
    assert shelf.backfills.queue.reap() == 1
    held = must_claim(shelf)

    assert held.ticket.attempts == 2
    shelf.retrievals.settle(held, RetrievalEvent.DONE, expected={"1": 2}, held={"1": 2})
    with pytest.raises(LeaseLost):
        shelf.retrievals.settle(lost, RetrievalEvent.GIVE_UP, reason="incomplete")
    assert shelf.backfills.progress(backfill.id)["complete"] == 1


def test_it_ends_when_every_study_has_ended(shelf: Shelf) -> None:
    """Complete, gone and failed are ends; what failed or was gone may be tried again, and then it ends again."""
    backfill = order(shelf)
    find_all(shelf, backfill.id, "1.1", "1.2", "1.3")
    assert shelf.backfills.finish("pacs") == []
    ends = {"1.1": RetrievalEvent.DONE, "1.2": RetrievalEvent.GONE, "1.3": RetrievalEvent.GIVE_UP}
    for event in ends.values():
        held = must_claim(shelf)
        shelf.retrievals.settle(held, event, reason="why", expected={"1": 2}, held={"1": 1})
    assert shelf.backfills.finish("other") == []
    assert shelf.backfills.finish("pacs") == [backfill.id]
    counts = {"wanted": 0, "retrieving": 0, "complete": 1, "gone": 1, "failed": 1, "found": 3}
    assert shelf.backfills.progress(backfill.id) == counts
    troubled = shelf.backfills.troubled(backfill.id)
    assert [(one["study_instance_uid"], one["state"], one["held"]) for one in troubled] == [
        ("1.2", "gone", {"1": 1}),
        ("1.3", "failed", {"1": 1}),
    ]

    assert shelf.backfills.retry(backfill.id, actor="person") == 2
    assert shelf.backfills.retry(99, actor="person") is None
    again = shelf.backfills.get(backfill.id)
    assert again is not None
    assert again.state == "retrieving"
    for _ in range(2):
        held = must_claim(shelf)
        assert held.ticket.attempts == 1
        shelf.retrievals.settle(held, RetrievalEvent.DONE)
    assert shelf.backfills.finish("pacs") == [backfill.id]


def test_remarks_are_counted_and_bounded(shelf: Shelf) -> None:
    """An archive that does everything wrong fills no table."""
    backfill = order(shelf)
    shelf.backfills.remark(backfill.id, {"match-without-uid": 2})
    shelf.backfills.remark(backfill.id, {"match-without-uid": 1} | {f"reason-{n}": 1 for n in range(100)})
    found = shelf.backfills.get(backfill.id)
    assert found is not None
    assert found.remarks["match-without-uid"] == 3
    assert len(found.remarks) == REMARKS_MAX


def test_the_reason_of_a_pause_is_shown_while_it_lasts(shelf: Shelf) -> None:
    """Why an archive's orders do not go on is written on those that are under way, and taken off again."""
    first, other = order(shelf), order(shelf, archive="other")
    shelf.backfills.note("pacs", "archive-unreachable")
    reasons = {found.id: found.reason for found in shelf.backfills.recent()}
    assert reasons == {first.id: "archive-unreachable", other.id: None}
    shelf.backfills.note("pacs", None)
    assert {found.reason for found in shelf.backfills.recent()} == {None}


def test_held_is_counted_by_series_without_doubles(shelf: Shelf) -> None:
    """Other bytes under the same UID are one instance; series of our own reports are told apart."""
    assert shelf.retrievals.held("1.2.3").study_id is None
    shelf.receive("1.2.3.1.1")
    shelf.receive("1.2.3.1.1", b"other bytes")
    shelf.receive("1.2.3.1.2")
    shelf.receive("1.2.3.2.1", series_instance_uid="1.2.3.2")
    shelf.settle()
    (job,) = shelf.claim()
    report = shelf.finish(job, companions=[shelf.companion("sc", "9.9.9", b"picture")])

    held = shelf.retrievals.held("1.2.3")
    assert held.present == held.known == {"1.2.3.1": 2, "1.2.3.2": 1}
    assert held.ours == {report.series_instance_uid, "9.9.9.1"}


def bring(shelf: Shelf, **changes: Any) -> Retrieval:
    """A study that is fetched by a back-fill."""
    backfill = order(shelf, **changes)
    find_all(shelf, backfill.id, "1.2.3")
    held = must_claim(shelf)
    shelf.retrievals.ask(held)
    return held


def test_a_study_does_not_settle_while_it_is_brought(shelf: Shelf, clock: FakeClock) -> None:
    """Half a study is never annotated; it is free when all has come, or when the back-fill is stopped."""
    held = bring(shelf)
    shelf.receive("1.2.3.1.1")
    clock.pass_(3600)
    assert [study.is_receiving for study in shelf.studies.open()] == [True]
    shelf.retrievals.settle(held, RetrievalEvent.RETRY, reason="incomplete")
    assert [study.is_receiving for study in shelf.studies.open()] == [True]
    shelf.backfills.stop(held.backfill_id, actor="person")
    assert [study.is_receiving for study in shelf.studies.open()] == [False]
    order(shelf)
    shelf.retrievals.settle(must_claim(shelf), RetrievalEvent.DONE)
    assert [study.is_receiving for study in shelf.studies.open()] == [False]


def test_a_study_that_a_device_sends_settles_as_ever(shelf: Shelf, clock: FakeClock) -> None:
    """What was here before the archive was asked waits for no back-fill, and is planned as the plan says."""
    shelf.receive("1.2.3.1.1")
    clock.pass_(1)
    bring(shelf, anytime=False, families=("faz",))
    (study,) = shelf.studies.open()
    assert not study.is_receiving
    assert shelf.retrievals.wish(study.id) == Wish()


def test_a_brought_study_is_planned_as_its_back_fill_wants(shelf: Shelf) -> None:
    """Its families alone, and by night unless the order said otherwise."""
    bring(shelf, anytime=False, families=("faz",))
    shelf.receive("1.2.3.1.1")
    (study,) = shelf.studies.open()
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz",), window="night")


def remove_images(shelf: Shelf) -> None:
    """As retention does."""
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now()))


def test_a_study_that_is_brought_back_is_planned_as_its_back_fill_wants(shelf: Shelf, clock: FakeClock) -> None:
    """Nothing of it was there when it was asked for: it does not settle by halves, and what it came for is known."""
    shelf.receive("1.2.3.1.1")
    shelf.receive("1.2.3.1.2")
    shelf.settle()
    remove_images(shelf)
    clock.pass_(3600)
    held = bring(shelf, anytime=False, families=("faz",))
    assert not held.was_asked
    shelf.receive("1.2.3.1.1")
    (study,) = shelf.studies.open()
    assert study.is_receiving
    shelf.retrievals.settle(held, RetrievalEvent.RETRY, reason="incomplete")
    again = must_claim(shelf)
    assert again.was_asked
    shelf.retrievals.ask(again)
    shelf.receive("1.2.3.1.2")
    shelf.retrievals.settle(again, RetrievalEvent.DONE)
    (study,) = shelf.studies.open()
    assert not study.is_receiving
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz",), window="night")


def test_who_brought_a_study_before_has_no_more_say(shelf: Shelf, clock: FakeClock) -> None:
    """Its images came by one order, were annotated and removed: the order that brings them back says what for."""
    first = bring(shelf, families=("glaucoma",))
    shelf.receive("1.2.3.1.1")
    shelf.retrievals.settle(first, RetrievalEvent.DONE)
    shelf.backfills.finish("pacs")
    shelf.settle()
    remove_images(shelf)
    clock.pass_(3600)
    second = bring(shelf, families=("faz",))
    shelf.receive("1.2.3.1.1")
    (study,) = shelf.studies.open()
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz",))
    shelf.retrievals.settle(second, RetrievalEvent.DONE)
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz",))


def test_two_orders_for_one_new_study_are_both_heard(shelf: Shelf, clock: FakeClock) -> None:
    """The second finds it here before it has settled; after that, and where a device sent it, it has no say in it."""
    first = bring(shelf, families=("glaucoma",))
    second = bring_second(shelf, families=("faz",))
    shelf.retrievals.join(second)
    assert shelf.retrievals.wish(1) == Wish(), "nothing is here yet"
    shelf.receive("1.2.3.1.1")
    shelf.retrievals.join(second)
    (study,) = shelf.studies.open()
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz", "glaucoma"))
    for retrieval in (first, second):
        shelf.retrievals.settle(retrieval, RetrievalEvent.DONE)
    shelf.settle()
    third = bring_second(shelf, families=("systemic",))
    shelf.retrievals.join(third)
    assert shelf.retrievals.wish(study.id) == Wish(families=("faz", "glaucoma"))


def bring_second(shelf: Shelf, **changes: Any) -> Retrieval:
    """The same study in another order, not asked for yet."""
    find_all(shelf, order(shelf, **changes).id, "1.2.3")
    return must_claim(shelf)


def test_studies_are_claimed_from_each_order_in_turn(shelf: Shelf) -> None:
    """Whoever ordered first has no more right than the others; only the night goes before them."""
    orders = {"long": order(shelf), "later": order(shelf, families=("faz",)), "last": order(shelf, last=LAST + DAY)}
    for name, one in orders.items():
        for day in range((one.range.last - FIRST).days + 1):
            found = shelf.backfills.get(one.id)
            assert found is not None
            uids = [f"{one.id}.{number}" for number in range(3 if name == "long" else 1)] if day == 0 else []
            assert shelf.backfills.found(found, FIRST + day * DAY, [(uid, "20261101") for uid in uids])
    night = shelf.backfills.get(shelf.backfills.order_night("pacs", LAST, (), days_max=1) or 0)
    assert night is not None
    shelf.backfills.found(night, LAST - DAY, [("9.1", "20261102"), ("9.2", "20261102")])

    after, claimed = 0, []
    while held := shelf.retrievals.claim("fetcher", "pacs", anytime_only=False, lease_s=60, after=after):
        claimed.append(held.study_instance_uid)
        after = held.backfill_id
    long, later, last = (one.id for one in orders.values())
    assert claimed == ["9.1", "9.2", f"{long}.0", f"{later}.0", f"{last}.0", f"{long}.1", f"{long}.2"]


def test_days_are_asked_for_from_each_order_in_turn(shelf: Shelf) -> None:
    """As studies are claimed: that of the night first, then the one after the last that had its turn."""
    first, second = order(shelf), order(shelf, families=("faz",))

    def turn(after: int, **only: bool) -> int | None:
        found = shelf.backfills.next_to_find("pacs", **{"anytime_only": False, **only}, after=after)
        return None if found is None else found.id

    assert [turn(0), turn(first.id), turn(second.id)] == [first.id, second.id, first.id]
    night = shelf.backfills.order_night("pacs", LAST, (), days_max=1)
    assert [turn(0), turn(second.id), turn(night or 0)] == [night] * 3
    assert turn(first.id, anytime_only=True) == second.id


def test_a_range_that_ends_before_it_begins_is_none() -> None:
    """It cannot be built."""
    with pytest.raises(ValueError, match="before it begins"):
        wanted(last=FIRST - DAY)


@pytest.mark.parametrize("first", [date(1, 1, 1), date(202, 6, 1), date(1899, 12, 31)])
def test_a_mistyped_year_is_refused(first: date) -> None:
    """Such a day would be no DICOM date, and every later look at the order would fail."""
    with pytest.raises(ValueError, match="years are"):
        Range(archive="pacs", first=first, last=date(2026, 1, 1))
