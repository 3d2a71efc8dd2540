"""Jobs of the night: how many may run, which are taken back, which a worker is given, and how long they take."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection, update

from fakes import FakeClock
from oculard.job import JobEvent
from oculard.night import Hours, Window
from oculard.store import night_jobs, tables
from oculard.store.night_jobs import NightJobs, Run, Speed, Waiting
from shelf import Shelf

START = FakeClock().now()
NIGHT = Window(day=date(2026, 11, 20), start=START, end=START + timedelta(hours=8))
NEXT = replace(NIGHT, day=date(2026, 11, 21), start=START + timedelta(days=1), end=START + timedelta(hours=32))


def wait(shelf: Shelf, count: int, *, family: str = "systemic", **changes: Any) -> list[int]:
    """So many studies, each with one job of the night."""
    values = {"window": "night", "family": family, "estimator": f"{family}@1"} | changes
    ids = []
    for _ in range(count):
        number = len(shelf.trace.jobs(state=None, limit=10_000)) + 1
        shelf.receive(f"1.{number}", f"{number}".encode(), study_instance_uid=f"1.2.{number}")
        ids += shelf.settle(**values)
    return ids


def states(shelf: Shelf, *, family: str | None = None) -> Counter[str]:
    """How many jobs of a family, or of all, stand in each state."""
    rows = shelf.trace.jobs(state=None, limit=10_000)
    return Counter(row["state"] for row in rows if family in (None, row["family"]))


def hours(shelf: Shelf, seconds: float, first_s: float = 60.0, **expected_s: float) -> Hours:
    """A window that closes in so many seconds, and what a family's job takes."""
    by_estimator = {f"{family}@1": each for family, each in expected_s.items()}
    return Hours(until=shelf.clock.now() + timedelta(seconds=seconds), expected_s=by_estimator, first_s=first_s)


def families(shelf: Shelf, limit: int, opening: Hours) -> list[str]:
    """Of what a worker claims now."""
    return [job.family for job in shelf.claim(limit=limit, hours=opening)]


# Release and withdrawal


def test_a_night_lets_run_what_its_quotas_allow(shelf: Shelf) -> None:
    """By family, the most urgent first; a family without a quota as a whole."""
    late, urgent = wait(shelf, 1, priority=9), wait(shelf, 2, priority=1)
    wait(shelf, 3, family="faz")
    wait(shelf, 2, family="glaucoma")

    assert shelf.night_jobs.release(NIGHT, {"systemic": 2, "faz": 0}) == 4
    assert states(shelf, family="faz") == {"waiting": 3}
    assert states(shelf, family="glaucoma") == {"queued": 2}
    assert sorted(job.ticket.id for job in shelf.claim(limit=9)) == urgent
    assert {row["id"] for row in shelf.trace.jobs(state="waiting", limit=9)} >= set(late)


def test_a_doubled_wake_up_adds_nothing(shelf: Shelf, clock: FakeClock) -> None:
    """The quota of a night is spent once, however often it is opened and whatever became of the jobs."""
    wait(shelf, 5)
    assert shelf.night_jobs.release(NIGHT, {"systemic": 2}) == 2
    shelf.finish(shelf.claim()[0])
    clock.pass_(3600)

    assert shelf.night_jobs.release(NIGHT, {"systemic": 2}) == 0
    assert shelf.night_jobs.used(NIGHT) == {"systemic": 2}
    assert shelf.night_jobs.release(NIGHT, {"systemic": 3}) == 1  # somebody has allowed one more
    assert states(shelf) == {"reported": 1, "queued": 2, "waiting": 2}


def test_what_was_taken_back_does_not_count(shelf: Shelf, clock: FakeClock) -> None:
    """Whoever closes the window and opens it again finds the quota as it was."""
    wait(shelf, 4)
    shelf.night_jobs.release(NIGHT, {"systemic": 2})
    clock.pass_(60)
    assert shelf.night_jobs.withdraw() == 2
    clock.pass_(60)

    assert shelf.night_jobs.used(NIGHT) == {}
    assert shelf.night_jobs.release(NIGHT, {"systemic": 2}) == 2
    assert shelf.night_jobs.release(NIGHT, {"systemic": 2}) == 0


def test_the_end_of_the_night_takes_back_what_nobody_has_begun(shelf: Shelf, clock: FakeClock) -> None:
    """Day jobs, running jobs and ended ones stay; the reason is written down; twice changes nothing."""
    wait(shelf, 3)
    wait(shelf, 1, family="faz", window="now", priority=9)
    shelf.night_jobs.release(NIGHT, {})
    shelf.finish(shelf.claim()[0])
    (running,) = shelf.claim()
    clock.pass_(8 * 3600)

    assert shelf.night_jobs.withdraw() == 1
    assert shelf.night_jobs.withdraw() == 0
    assert states(shelf) == {"reported": 1, "running": 1, "queued": 1, "waiting": 1}
    (waits,) = shelf.trace.jobs(state="waiting", limit=9)
    assert waits["reason"] == "night-over"
    shelf.finish(running)
    assert states(shelf, family="systemic") == {"reported": 2, "waiting": 1}


def test_what_became_urgent_meanwhile_is_not_taken_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late image made the job one of the day after it was chosen: as a waiting one it would wait for ever."""
    wait(shelf, 1)
    shelf.night_jobs.release(NIGHT, {})
    move = shelf.jobs.queue.move

    def late(connection: Connection, row_id: int, *args: Any, **kept: Any) -> bool:
        connection.execute(update(tables.job).where(tables.job.c.id == row_id).values(run_window="now"))
        return move(connection, row_id, *args, **kept)

    monkeypatch.setattr(shelf.jobs.queue, "move", late)

    assert shelf.night_jobs.withdraw() == 0
    assert states(shelf) == {"queued": 1}


def test_what_an_earlier_night_left_counts_in_this_one(shelf: Shelf, clock: FakeClock) -> None:
    """Nobody was there to close the first window: the second night's quota still holds, and is its own."""
    wait(shelf, 5)
    shelf.night_jobs.release(NIGHT, {"systemic": 3})
    shelf.finish(shelf.claim()[0])
    clock.at = NEXT.start

    assert shelf.night_jobs.release(NEXT, {"systemic": 1}) == 1
    assert states(shelf) == {"reported": 1, "queued": 1, "waiting": 3}
    assert shelf.night_jobs.release(NEXT, {"systemic": 1}) == 0


def test_no_more_is_let_run_than_can_soon_begin(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that waits is not moved to and fro each night; what is begun makes room for what follows."""
    monkeypatch.setattr(night_jobs, "AHEAD", 4)
    monkeypatch.setattr(night_jobs, "PORTION", 3)
    wait(shelf, 7)

    assert shelf.night_jobs.release(NIGHT, {}) == 4
    assert shelf.night_jobs.release(NIGHT, {}) == 0
    shelf.claim(limit=2)
    assert shelf.night_jobs.release(NIGHT, {}) == 2
    assert states(shelf) == {"running": 2, "queued": 4, "waiting": 1}


def test_no_quota_is_spent_on_what_cannot_begin(shelf: Shelf) -> None:
    """A job that would amend another one waits until that has ended; the night's share goes to who can begin."""
    (earlier,) = wait(shelf, 1, priority=9)
    shelf.night_jobs.release(NIGHT, {})
    (held,) = shelf.claim()
    shelf.receive("1.1.1", b"late", study_instance_uid="1.2.1")
    (later,) = shelf.settle(window="night", estimator="systemic@1", priority=0)
    (other,) = wait(shelf, 1, priority=5)

    assert shelf.night_jobs.release(NIGHT, {"systemic": 2}) == 1
    assert [job.ticket.id for job in shelf.claim(limit=9)] == [other]
    shelf.finish(held)
    assert shelf.night_jobs.release(NIGHT, {"systemic": 3}) == 1
    assert [job.ticket.id for job in shelf.claim(limit=9)] == [later]
    assert earlier == held.ticket.id


def test_two_that_open_the_night_at_once_spend_its_quota_once(shelf: Shelf) -> None:
    """Two upkeep processes on one database: the second counts what the first has done."""
    wait(shelf, 30)
    start = Barrier(4)

    def release() -> int:
        start.wait()
        return shelf.night_jobs.release(NIGHT, {"systemic": 7})

    with ThreadPoolExecutor(4) as threads:
        counts = [one.result() for one in [threads.submit(release) for _ in range(4)]]

    assert (sum(counts), states(shelf)) == (7, {"queued": 7, "waiting": 23})


def test_the_second_to_open_the_night_waits_for_the_first(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has seen a more urgent job than the first did, and must still not let one more run."""
    if shelf.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    wait(shelf, 3)
    room, looks, second = NightJobs._room, iter("abcdefgh"), NightJobs(shelf.database, shelf.clock, shelf.jobs.queue)
    with ThreadPoolExecutor(1) as threads:

        def slow(jobs: NightJobs, *args: Any) -> int:
            counted = room(jobs, *args)
            if jobs is shelf.night_jobs and next(looks) == "b":  # inside the first one's transaction
                wait(shelf, 1, priority=0)
                rival = threads.submit(second.release, NIGHT, {"systemic": 2})
                with suppress(TimeoutError):
                    rival.result(timeout=1)
            return counted

        monkeypatch.setattr(NightJobs, "_room", slow)
        shelf.night_jobs.release(NIGHT, {"systemic": 2})

    assert shelf.night_jobs.used(NIGHT) == {"systemic": 2}


# Claim


def test_a_night_job_is_claimed_only_while_the_window_is_open(shelf: Shelf) -> None:
    """Released or not: outside the window no worker gets it."""
    wait(shelf, 1)
    shelf.night_jobs.release(NIGHT, {})

    assert shelf.claim(hours=Hours(until=None, expected_s={}, first_s=1.0)) == []
    assert shelf.claim(hours=hours(shelf, 0.0)) == []
    assert families(shelf, 1, hours(shelf, 61.0)) == ["systemic"]


def test_only_what_will_end_in_time_is_claimed(shelf: Shelf) -> None:
    """As many together as fit one after another; where not even one fits, none."""
    wait(shelf, 9)
    shelf.night_jobs.release(NIGHT, {})

    assert shelf.claim(limit=8, hours=hours(shelf, 9.9, systemic=10.0)) == []
    assert len(shelf.claim(limit=8, hours=hours(shelf, 35.0, systemic=10.0))) == 3
    assert shelf.claim(limit=8, hours=hours(shelf, 59.0)) == []  # never measured: job_s_first
    assert len(shelf.claim(limit=8, hours=hours(shelf, 120.0))) == 2
    assert len(shelf.claim(limit=8, hours=hours(shelf, 3600.0))) == 4


def test_a_day_job_is_never_held_back(shelf: Shelf) -> None:
    """Also behind more urgent night jobs that do not fit any more, and while the window is closed."""
    wait(shelf, 3, priority=0)
    wait(shelf, 2, family="faz", window="now", priority=9)
    shelf.night_jobs.release(NIGHT, {})

    assert families(shelf, 1, hours(shelf, 5.0)) == ["faz"]
    assert families(shelf, 8, Hours(until=None, expected_s={}, first_s=1.0)) == ["faz"]


def test_a_shorter_night_job_is_claimed_instead_of_one_that_does_not_fit(shelf: Shelf) -> None:
    """The last minutes belong to what still fits into them."""
    wait(shelf, 2, priority=0)
    wait(shelf, 2, family="faz", priority=9)
    shelf.night_jobs.release(NIGHT, {})

    assert families(shelf, 8, hours(shelf, 25.0, systemic=100.0, faz=10.0)) == ["faz", "faz"]


def test_a_batch_of_the_day_carries_no_night_jobs_past_the_window(shelf: Shelf) -> None:
    """Night jobs share a day job's batch only where a full batch fits."""
    wait(shelf, 1, window="now", priority=0)
    wait(shelf, 4, priority=5)
    shelf.night_jobs.release(NIGHT, {})

    assert len(shelf.claim("late", limit=4, hours=hours(shelf, 35.0, systemic=10.0))) == 1
    wait(shelf, 1, window="now", priority=0)
    assert len(shelf.claim("early", limit=4, hours=hours(shelf, 40.0, systemic=10.0))) == 4


def test_a_batch_is_of_one_estimator(shelf: Shelf) -> None:
    """A slower estimator of the same family must not slow down a batch that was reckoned with the faster."""
    wait(shelf, 2)
    wait(shelf, 2, estimator="systemic@2")
    shelf.night_jobs.release(NIGHT, {})

    claimed = [shelf.claim(limit=8) for _ in range(2)]
    assert [[job.estimator for job in jobs] for jobs in claimed] == [["systemic@1"] * 2, ["systemic@2"] * 2]


def test_a_job_that_came_back_is_claimed_in_the_same_night(shelf: Shelf, clock: FakeClock) -> None:
    """After a power cut the rest of the window is used, without spending the quota twice."""
    wait(shelf, 2)
    shelf.night_jobs.release(NIGHT, {"systemic": 1})
    shelf.claim("dies", lease_s=10)
    clock.pass_(3600)
    shelf.jobs.queue.reap()

    assert shelf.night_jobs.release(NIGHT, {"systemic": 1}) == 0
    (again,) = shelf.claim(hours=hours(shelf, 3600))
    assert again.ticket.attempts == 2


# What the plan asks


def test_what_waits_is_counted_and_stands_in_line(shelf: Shelf) -> None:
    """By family and urgency, let run or not; day jobs stand in the line, too."""
    wait(shelf, 2, priority=5)
    wait(shelf, 1, family="faz", window="now", priority=5)
    wait(shelf, 2, priority=5)
    wait(shelf, 1, family="faz", priority=1)
    shelf.night_jobs.release(NIGHT, {"systemic": 1, "faz": 0})

    assert shelf.night_jobs.waiting() == [
        Waiting(family="faz", estimator="faz@1", priority=1, count=1),
        Waiting(family="systemic", estimator="systemic@1", priority=5, count=4),
    ]
    runs = [("faz", True, False, 1), ("systemic", True, True, 1), ("systemic", True, False, 1)]
    runs += [("faz", False, True, 1), ("systemic", True, False, 2)]
    assert shelf.night_jobs.line() == [
        Run(family=family, estimator=f"{family}@1", is_night=is_night, is_queued=is_queued, count=count)
        for family, is_night, is_queued, count in runs
    ]


def test_speeds_are_those_of_the_newest_reports(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of a report's stages; mean and 90th percentile, by estimator; what has no report has no speed."""
    monkeypatch.setattr(night_jobs, "MEASURED", 10)
    wait(shelf, 12)
    wait(shelf, 1, family="faz")
    shelf.night_jobs.release(NIGHT, {"faz": 0})
    for number, job in enumerate(shelf.claim(limit=12)):
        shelf.finish(job, took={"examine": 1.0, "estimate": float(number)})

    speeds = shelf.night_jobs.speeds()
    assert list(speeds) == ["systemic@1"]
    assert (speeds["systemic@1"].mean_s, speeds["systemic@1"].p90_s) == (7.5, 11.0)  # of 3 to 12
    assert speeds["systemic@1"].reports == 10


def test_a_speed_is_that_of_work_that_was_done(shelf: Shelf) -> None:
    """An ungradable image or an estimator that fails ends at once: it says nothing of how long the next job takes."""
    wait(shelf, 12, window="now")
    jobs = shelf.claim(limit=12)
    shelf.finish(jobs[0], took={"examine": 1.0, "estimate": 9.0})
    for job in jobs[1:10]:
        shelf.finish(job, event=JobEvent.REJECT, took={"examine": 0.1})
    for job in jobs[10:]:
        shelf.finish(job, event=JobEvent.GIVE_UP, took={"examine": 0.1, "estimate": 0.0})

    assert shelf.night_jobs.speeds() == {"systemic@1": Speed(mean_s=10.0, p90_s=10.0, reports=1)}


def test_a_failure_that_was_tried_again_has_no_speed(shelf: Shelf) -> None:
    """Of a job that a person requeued only the last report counts; where no job was done there is no speed."""
    wait(shelf, 1, window="now")
    shelf.finish(shelf.claim()[0], event=JobEvent.GIVE_UP, took={"estimate": 0.0})
    assert shelf.night_jobs.speeds() == {}
    shelf.jobs.requeue(actor="person")
    shelf.finish(shelf.claim()[0], took={"estimate": 5.0})

    assert shelf.night_jobs.speeds() == {"systemic@1": Speed(mean_s=5.0, p90_s=5.0, reports=1)}


def test_a_speed_is_never_zero(shelf: Shelf) -> None:
    """A report that says nothing of its stages must not make a job look free."""
    wait(shelf, 1, window="now")
    shelf.finish(shelf.claim()[0], took={})

    assert shelf.night_jobs.speeds()["systemic@1"].p90_s > 0


def test_a_stage_that_nobody_adds_up_is_refused(shelf: Shelf) -> None:
    """A job's time is that of its known stages: a new one must not be left out of it in silence."""
    wait(shelf, 1, window="now")
    (job,) = shelf.claim()

    with pytest.raises(ValueError, match="dream"):
        shelf.finish(job, took={"estimate": 1.0, "dream": 2.0})


def test_the_workers_that_live_are_counted(shelf: Shelf, clock: FakeClock) -> None:
    """A worker that was not heard of for a while is none."""
    shelf.roles.beat("w1", "worker", {})
    clock.pass_(60)
    shelf.roles.beat("w2", "worker", {})
    shelf.roles.beat("s1", "sender", {})

    assert shelf.night_jobs.workers() == 1
