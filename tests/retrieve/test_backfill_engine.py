"""The back-fill engine on a real store: what comes, what does not, and what a kill leaves behind."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from scripted import FIRST, LAST, STUDIES, Fetcher, Killed, ScriptedArchive
from sqlalchemy import select, update

from fakes import FakeClock
from oculard.errors import Transient
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveDoesNotKnowUs,
    ArchiveRefused,
    StudyFailed,
    TooManyMatches,
)
from oculard.retrieve.restraint import Pace, Rest
from oculard.store import tables
from shelf import Shelf

DAY = timedelta(days=1)


def retrieved(archive: ScriptedArchive) -> Counter[str]:
    """How often each study was let come."""
    return Counter(words.split()[1] for words in archive.asked if words.startswith("retrieve"))


def state(fetcher: Fetcher, backfill_id: int) -> str:
    found = fetcher.shelf.backfills.get(backfill_id)
    assert found is not None
    return found.state


def test_every_study_comes_once_and_a_second_run_fetches_nothing(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """All days, all studies, counted; the same order afterwards looks and lets nothing come."""
    first = fetcher.order()
    fetcher.run()
    assert state(fetcher, first) == "done"
    assert fetcher.states(first) == {"complete": 6}
    assert retrieved(archive) == dict.fromkeys(STUDIES, 1)
    assert fetcher.shelf.trace.counts()["instance"]["kept"] == 18
    assert [words for words in archive.asked if words.startswith("find")] == [
        f"find {(FIRST + n * DAY):%Y%m%d}" for n in range(3)
    ]
    assert len(fetcher.settle()) == 6

    second = fetcher.order()
    fetcher.run()
    assert second != first
    assert fetcher.states(second) == {"complete": 6}
    assert retrieved(archive) == dict.fromkeys(STUDIES, 1)
    assert fetcher.shelf.jobs.queue.counts() == {"queued": 6}


@pytest.mark.parametrize("question", ["find", "count", "retrieve", "instance"])
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    fetcher: Fetcher, archive: ScriptedArchive, question: str
) -> None:
    """At every n-th question or instance in turn the process dies; the next one goes on on the same database."""
    backfill, kills = fetcher.order(), 0
    fetcher.entry = {"attempts_max": 20}
    fetcher.restart()
    for number in (0, 1, 1, 2, 2, 3, 3, 5, 5, 8, 8, 99):
        archive.script = {question: [None] * number + [Killed()]}
        try:
            fetcher.run()
            break
        except Killed:
            kills += 1
            fetcher.restart()
    assert kills >= 2
    assert state(fetcher, backfill) == "done"
    assert fetcher.states(backfill) == {"complete": 6}
    assert fetcher.shelf.trace.counts()["instance"]["kept"] == 18
    assert len(fetcher.settle()) == 6


def test_a_study_that_kills_its_fetcher_is_given_up(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """It costs an attempt each time, and the others come."""
    backfill = fetcher.order()
    archive.script = {"count": [Killed() for _ in range(5)]}
    for _ in range(6):
        try:
            fetcher.run()
        except Killed:
            fetcher.restart()
    assert fetcher.states(backfill) == {"complete": 5, "failed": 1}
    assert set(fetcher.reasons(backfill).values()) == {"attempts-spent"}


def test_half_a_study_is_tried_again_and_its_difference_reported(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """An archive that moves only half: tried until the attempts are spent, later each time; the counts say it."""
    archive.studies, archive.gives = {"1.1": (FIRST, {"1.1.1": 2, "1.1.2": 1})}, 1
    backfill = fetcher.order()
    begun = fetcher.clock.now()
    fetcher.run()
    (one,) = fetcher.shelf.backfills.troubled(backfill)
    assert (one["state"], one["reason"], one["attempts"]) == ("failed", "incomplete", 5)
    assert (one["expected"], one["held"]) == ({"1.1.1": 2, "1.1.2": 1}, {"1.1.1": 1})
    assert retrieved(archive) == {"1.1": 5}
    assert fetcher.clock.now() - begun > timedelta(seconds=30 + 60 + 120 + 240)
    assert state(fetcher, backfill) == "done"
    assert len(fetcher.settle()) == 1, "what came is annotated"

    archive.gives = 3
    assert fetcher.shelf.backfills.retry(backfill, actor="person") == 1
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 1}


def test_it_waits_a_moment_for_what_intake_has_not_committed(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """An archive may answer before our own intake is done with the last instance."""
    archive.studies, archive.gives = {"1.1": (FIRST, {"1.1.1": 2})}, 1
    late = [fetcher.clock.sleep]

    def sleep(seconds: float) -> None:
        late[0](seconds)
        fetcher.shelf.receive("1.1.1.2", b"late", study_instance_uid="1.1", series_instance_uid="1.1.1")

    fetcher.clock.sleep = sleep  # type: ignore[method-assign]  # the instance comes while the engine waits
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 1}
    assert retrieved(archive) == {"1.1": 1}


def test_a_study_that_grew_meanwhile_is_fetched_again(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The archive is asked again after it has sent: what it has got since counts."""

    def grow() -> None:
        archive.studies["1.1"] = (FIRST, {"1.1.1": 3})

    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    archive.script = {"count": [None, grow]}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 1}
    assert retrieved(archive) == {"1.1": 2}


def test_more_here_than_there_is_fine_and_remarked(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """An instance that was deleted in the archive stays with us."""

    def shrink() -> None:
        archive.studies["1.1"] = (FIRST, {"1.1.1": 1})

    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    archive.script = {"count": [None, shrink]}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 1}
    assert fetcher.remarks(backfill) == {"archive-has-fewer": 1}


def test_a_deleted_study_is_gone(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Deleted after it was found, or while it was asked for."""

    def delete() -> None:
        del archive.studies["1.1"]

    backfill = fetcher.order()
    archive.script = {"find": [None, None, lambda: archive.studies.pop("1.4")], "instance": [*[None] * 6, delete]}
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 4, "gone": 2}
    assert set(fetcher.reasons(backfill).values()) == {"study-gone"}


def test_our_own_reports_in_the_archive_are_not_fetched(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The PACS is the archive and has our reports by now: the study is complete all the same."""
    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    (job,) = fetcher.shelf.claim()
    report = fetcher.shelf.finish(job)
    archive.studies["1.1"][1][report.series_instance_uid] = 1
    again = fetcher.order()
    fetcher.run()
    assert fetcher.states(again) == {"complete": 1}
    assert retrieved(archive) == {"1.1": 1}


def test_a_newer_bundle_annotates_what_is_here_again(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Held completely, with results of an older bundle only: nothing is fetched, jobs of the night are ordered."""
    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    (job,) = fetcher.shelf.claim()
    fetcher.shelf.finish(job)
    fetcher.estimator = "painted@2.0.0"
    for _ in range(2):
        fetcher.order(anytime=False)
        fetcher.run()
    assert retrieved(archive) == {"1.1": 1}
    first, second = sorted(fetcher.shelf.trace.jobs(state=None, limit=9), key=lambda row: row["id"])
    assert (first["state"], second["state"]) == ("reported", "waiting")
    assert (second["estimator"], second["after_job_id"]) == ("painted@2.0.0", first["id"])


def test_images_that_retention_removed_come_again_only_for_a_newer_bundle(
    fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf
) -> None:
    """What was annotated and removed is left alone, until another bundle serves."""
    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    (job,) = shelf.claim()
    shelf.finish(job)
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now()))
    fetcher.order()
    fetcher.run()
    assert retrieved(archive) == {"1.1": 1}
    fetcher.estimator = "painted@2.0.0"
    fetcher.order()
    fetcher.run(hours=1)
    assert retrieved(archive)["1.1"] >= 2


def test_what_comes_back_by_halves_is_not_complete(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf) -> None:
    """The first half of what retention removed is here, and the study open: the other half is still fetched."""
    archive.studies = {"1.1": (FIRST, {"1.1.1": 2, "1.1.2": 1})}
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    (job,) = shelf.claim()
    shelf.finish(job)
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).values(removed_at=shelf.clock.now()))
    fetcher.estimator, archive.gives = "painted@2.0.0", 1
    again = fetcher.order(anytime=False)
    fetcher.run(hours=0.02)
    assert shelf.retrievals.held("1.1").present == {"1.1.1": 1}
    assert fetcher.settle() == [], "it is still being brought"

    archive.gives = 3
    fetcher.run()
    assert fetcher.states(again) == {"complete": 1}
    assert shelf.retrievals.held("1.1").present == {"1.1.1": 2, "1.1.2": 1}
    assert len(fetcher.settle()) == 1
    assert shelf.jobs.queue.counts() == {"reported": 1, "waiting": 1}, "as its order wants it: by night"


def test_what_is_here_whole_is_not_asked_for(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf) -> None:
    """The archive has no more what retention removed: all that it has is here, though a newer bundle wants more."""
    archive.studies = {"1.1": (FIRST, {"1.1.1": 2})}
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    (job,) = shelf.claim()
    shelf.finish(job)
    gone = tables.instance.c.sop_instance_uid == "1.1.1.2"
    with shelf.database.write() as connection:
        connection.execute(update(tables.instance).where(gone).values(removed_at=shelf.clock.now()))
    fetcher.estimator, archive.studies = "painted@2.0.0", {"1.1": (FIRST, {"1.1.1": 1})}
    again = fetcher.order()
    fetcher.run()
    assert fetcher.states(again) == {"complete": 1}
    assert retrieved(archive) == {"1.1": 1}


def test_an_archive_that_is_away_costs_no_attempts(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf) -> None:
    """It rests, longer each time; the reason is shown, and after a quarter of an hour an alarm, while it lasts."""
    backfill = fetcher.order()
    archive.script = {"count": [None] + [ArchiveAway("away") for _ in range(12)]}
    seen: list[Any] = []

    def look() -> None:
        seen.extend(found.reason for found in shelf.backfills.recent(active=True))
        seen.append([(alarm.name, alarm.subject) for alarm in shelf.alarms.standing()])

    archive.script["count"].append(look)
    fetcher.run()
    assert seen == ["archive-unreachable", [("archive-silent", "pacs")]]
    assert shelf.alarms.standing() == []
    assert fetcher.states(backfill) == {"complete": 6}


def test_a_refusal_is_an_alarm_at_once_and_fails_nothing(
    fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf
) -> None:
    """The archive does not know where to send: a person corrects it, and all studies come."""
    backfill = fetcher.order()
    archive.script = {"retrieve": [ArchiveDoesNotKnowUs("who?") for _ in range(30)]}
    fetcher.run(hours=0.5)
    assert [alarm.name for alarm in shelf.alarms.standing()] == ["archive-silent"]
    assert fetcher.states(backfill) == {"wanted": 6}
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}
    assert shelf.alarms.standing() == []


def test_an_answer_alone_clears_no_refusal(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf) -> None:
    """What is here already is looked at while the archive refuses to send: its alarm stands, and is not told twice."""
    fetcher.order(first=LAST)
    fetcher.run()
    archive.script = {"retrieve": [ArchiveDoesNotKnowUs("who?") for _ in range(30)]}
    fetcher.order()
    fetcher.run(hours=0.5)
    with shelf.database.read() as connection:
        assert len(connection.execute(select(tables.alarm)).all()) == 1
    assert [alarm.name for alarm in shelf.alarms.standing()] == ["archive-silent"]


@pytest.mark.parametrize("why", [ArchiveAway("aborted"), StudyFailed("no"), ArchiveBusy("busy"), ArchiveRefused("no")])
def test_a_study_that_the_archive_chokes_on_holds_up_no_other(
    fetcher: Fetcher, archive: ScriptedArchive, why: Exception
) -> None:
    """The others come; it fails in the end, or is tried until the archive gives it."""
    backfill = fetcher.order()
    give = archive.retrieve

    def choke(uid: str, take: Any) -> Any:
        if uid == "1.1":
            raise why
        return give(uid, take)

    archive.retrieve = choke  # type: ignore[method-assign]  # one study cannot be given
    fetcher.run(hours=3)
    states = fetcher.states(backfill)
    assert states.pop("complete") == 5
    assert states in ({"failed": 1}, {"wanted": 1})
    if not isinstance(why, ArchiveBusy | ArchiveRefused):
        assert states == {"failed": 1}
        assert state(fetcher, backfill) == "done"


def test_a_stopped_order_leaves_no_alarm(fetcher: Fetcher, archive: ScriptedArchive, shelf: Shelf) -> None:
    """Nobody wants anything from the archive any more."""
    backfill = fetcher.order()
    archive.script = {"find": [ArchiveRefused("no") for _ in range(9)]}
    fetcher.run(hours=0.1)
    assert shelf.alarms.standing()
    shelf.backfills.stop(backfill, actor="person")
    fetcher.clock.pass_(600)
    fetcher.engine.step()
    assert shelf.alarms.standing() == []


def test_a_day_with_too_many_matches_is_asked_for_in_parts(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Halves of halves, down to hours; all come, and it is remarked."""
    archive.studies = {f"1.{hour}": (FIRST, {f"1.{hour}.1": 1}) for hour in (1, 7, 8, 9, 22, 23)}
    archive.hours = {f"1.{hour}": hour for hour in (1, 7, 8, 9, 22, 23)}
    archive.matches_max = 1
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}
    assert fetcher.remarks(backfill) == {"day-in-parts": 1}
    asked = [words.split()[2] for words in archive.asked if words.count(" ") == 2]
    assert asked[:3] == ["000000-120000", "000000-060000", "060000-120000"]
    assert asked[-1] == "230000-"


def test_an_hour_with_too_many_matches_is_said(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """What cannot be split any more is a remark; the day counts as asked for, with what could be had."""
    archive.hours = {"1.1": 3}
    archive.matches_max = 1
    archive.studies |= {"1.7": (FIRST + DAY, {"1.7.1": 1})}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.remarks(backfill) == {"day-in-parts": 3, "too-many-matches": 3}
    assert fetcher.states(backfill) == {"complete": 1}
    assert state(fetcher, backfill) == "done"


def test_a_study_with_too_many_series_is_given_up(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """It cannot be counted, so it cannot be believed to be whole."""
    archive.script = {"count": [TooManyMatches("too many")]}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 5, "failed": 1}
    assert set(fetcher.reasons(backfill).values()) == {"too-many-matches"}


def test_what_the_archive_does_wrong_is_remarked(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Remarks of finding and of fetching are counted with the order."""

    def remark() -> None:
        archive.remarks["match-without-uid"] += 1

    archive.script = {"find": [remark], "retrieve": [None, remark]}
    backfill = fetcher.order()
    fetcher.run()
    assert fetcher.remarks(backfill) == {"match-without-uid": 2}


def test_a_long_order_does_not_keep_a_later_one_waiting(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Both come on, study by study; that of the night comes first."""
    long = fetcher.order()
    while fetcher.states(long) != {"complete": 2, "wanted": 4}:
        assert fetcher.engine.step()
        fetcher.clock.pass_(0.01)
    archive.studies = {uid: (FIRST - 30 * DAY, series) for uid, (_, series) in archive.studies.items()}
    archive.studies |= {f"2.{n}": (LAST + DAY, {f"2.{n}.1": 1}) for n in range(3)}
    archive.studies |= {f"3.{n}": (LAST, {f"3.{n}.1": 1}) for n in range(2)}
    later, begun = fetcher.order(first=LAST + DAY, last=LAST + DAY), len(archive.asked)
    night = fetcher.shelf.backfills.order_night("pacs", LAST, (), days_max=1)
    assert night is not None
    fetcher.run()

    came = "".join(words.split()[1][0] for words in archive.asked[begun:] if words.startswith("retrieve"))
    assert came.lstrip("1").startswith("33")
    assert "1212" in came
    assert [fetcher.states(one) for one in (long, later, night)] == [{"complete": 6}, {"complete": 3}, {"complete": 2}]


def test_nothing_to_do_is_not_looked_for_all_the_time(
    fetcher: Fetcher, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that is idle looks for orders that have ended every few seconds, not at each step."""
    looks, finish = [0], shelf.backfills.finish

    def counted(archive: str) -> list[int]:
        looks[0] += 1
        return finish(archive)

    monkeypatch.setattr(shelf.backfills, "finish", counted)
    for _ in range(100):
        fetcher.engine.step()
        fetcher.clock.pass_(0.1)
    assert 1 <= looks[0] <= 4


def test_outside_the_night_only_what_may_runs(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """By day an order of the night pauses, also in the middle; `--anytime` goes on."""
    backfill = fetcher.order(anytime=False)
    archive.script = {"retrieve": [None, lambda: setattr(fetcher, "night", False)]}
    fetcher.run(hours=1)
    assert fetcher.states(backfill) == {"complete": 2, "wanted": 2}
    fetcher.night = True
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}
    fetcher.night = False
    second = fetcher.order(anytime=True, families=("systemic",))
    fetcher.run()
    assert fetcher.states(second) == {"complete": 6}


def test_nothing_is_fetched_where_there_is_no_room(fetcher: Fetcher, shelf: Shelf) -> None:
    """Below the disk's mark it pauses and says why."""
    backfill = fetcher.order()
    fetcher.room = False
    fetcher.run(hours=1)
    assert [found.reason for found in shelf.backfills.recent()] == ["disk-full"]
    assert fetcher.states(backfill) == {}
    fetcher.room = True
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}


def test_trouble_in_our_own_house_costs_no_attempt(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The vault cannot be written: the step says so, and the study waits."""
    backfill = fetcher.order()
    archive.script = {"retrieve": [Transient("vault", reason="vault-unwritable") for _ in range(8)]}
    for _ in range(8):
        with pytest.raises(Transient):
            fetcher.run()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}


def test_a_study_that_somebody_else_took_over_is_left_to_them(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """The lease ended while the archive was slow: what was counted does not count."""

    def steal() -> None:
        fetcher.shelf.backfills.queue.reap(dead_owner="fetcher")
        fetcher.shelf.retrievals.claim("other", "pacs", anytime_only=False, lease_s=1)

    archive.script = {"retrieve": [steal]}
    backfill = fetcher.order()
    fetcher.run(hours=1)
    assert fetcher.states(backfill) == {"complete": 5, "retrieving": 1}
    fetcher.shelf.backfills.queue.reap()
    fetcher.run()
    assert fetcher.states(backfill) == {"complete": 6}


def test_the_pace_is_kept(fetcher: Fetcher, archive: ScriptedArchive, clock: FakeClock) -> None:
    """At ten a minute there are six seconds between two studies; what is here already costs none of it."""
    at: list[Any] = []
    fetcher.entry = {"studies_per_min": 10.0}
    fetcher.restart()
    archive.script = {"retrieve": [lambda: at.append(clock.now())] * 6}
    fetcher.order()
    fetcher.run()
    assert len(at) == 6
    assert min(later - earlier for earlier, later in pairwise(at)) >= timedelta(seconds=6)
    clock.pass_(6)
    begun, second = clock.now(), fetcher.order(families=("systemic",))
    while fetcher.states(second) != {"complete": 6}:
        fetcher.engine.step()
        clock.pass_(0.01)
    assert clock.now() - begun < timedelta(seconds=6)


def test_a_right_that_is_given_back_late_quickens_nobody(clock: FakeClock) -> None:
    """Two threads: the second one's right is not undone by the first one's."""
    pace = Pace(10.0)
    first = pace.take(clock.now())
    assert first is not None
    assert pace.take(clock.now()) is None
    clock.pass_(6)
    assert pace.take(clock.now()) is not None
    pace.give_back(first)
    assert pace.take(clock.now()) is None


def test_what_a_back_fill_brings_runs_by_night(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """Whatever the plan says; `--anytime` leaves it to the plan."""
    archive.studies = {"1.1": (LAST, {"1.1.1": 1}), "1.2": (FIRST, {"1.2.1": 1})}
    fetcher.order(anytime=False, first=LAST)
    fetcher.run()
    fetcher.settle()
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    assert fetcher.shelf.jobs.queue.counts() == {"waiting": 1, "queued": 1}


def test_a_second_order_for_a_study_that_has_just_come_has_its_say(fetcher: Fetcher, archive: ScriptedArchive) -> None:
    """It has not settled yet: who wants it now need not wait for the night of who wanted it first."""
    archive.studies = {"1.1": (LAST, {"1.1.1": 1})}
    fetcher.order(anytime=False, first=LAST)
    fetcher.run()
    fetcher.order()
    fetcher.run()
    fetcher.settle()
    assert fetcher.shelf.jobs.queue.counts() == {"queued": 1}


def test_two_threads_that_meet_the_same_trouble_count_it_once(clock: FakeClock, shelf: Shelf) -> None:
    """More associations make no longer rest."""
    rest = Rest("pacs", shelf.alarms)
    for _ in range(4):
        rest.trouble(clock.now(), ArchiveAway("away"))
    clock.pass_(1.9)
    assert not rest.is_over(clock.now())
    clock.pass_(0.1)
    assert rest.is_over(clock.now())
