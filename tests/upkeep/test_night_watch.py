"""The night's chores and plan: opened, cut short, closed, closed late; what will be reached, and what not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import FakeClock
from oculard.inference.opening import Opening
from oculard.night import Hours
from oculard.settings_night import Night
from oculard.store.night_jobs import NightJobs
from oculard.upkeep.clockwork import schedule
from oculard.upkeep.night_plan import Plan, plan_night
from oculard.upkeep.night_watch import NightWatch
from shelf import Shelf

TOKYO = "Asia/Tokyo"
NOON, EVENING, MORNING = (
    datetime(2026, 11, 20, 3, 0, tzinfo=UTC),
    datetime(2026, 11, 20, 11, 0, tzinfo=UTC),
    datetime(2026, 11, 20, 21, 0, tzinfo=UTC),
)


def wait(shelf: Shelf, count: int, *, family: str = "systemic", **changes: Any) -> None:
    """So many studies, each with one job of the night."""
    values = {"window": "night", "family": family, "estimator": f"{family}@1"} | changes
    for _ in range(count):
        number = len(shelf.trace.jobs(state=None, limit=10_000)) + 1
        shelf.receive(f"1.{number}", f"{number}".encode(), study_instance_uid=f"1.2.{number}")
        shelf.settle(**values)


def watch(shelf: Shelf, **night: Any) -> NightWatch:
    """A night from 20 to 6 in Tokyo."""
    return NightWatch(night=Night(**night), time_zone=TOKYO, jobs=shelf.night_jobs, clock=shelf.clock)


def wake(shelf: Shelf, **night: Any) -> dict[str, int]:
    """Both chores, in the order that may be wrong; gives how the jobs stand."""
    watch(shelf, **night).close_night()
    watch(shelf, **night).open_night()
    watch(shelf, **night).close_night()
    return shelf.jobs.queue.counts()


def plan(shelf: Shelf, **night: Any) -> Plan:
    """The plan of that night as it looks now."""
    return plan_night(Night(**night), TOKYO, shelf.night_jobs, shelf.clock.now())


def reached(found: Plan) -> list[tuple[str, int, int, int, int]]:
    """Of each family: what waits, is reached, is beyond the quota and beyond the time."""
    return [(kind.family, kind.waiting, kind.reached, kind.beyond_quota, kind.beyond_time) for kind in found.kinds]


def test_night_jobs_wait_for_the_night(shelf: Shelf, clock: FakeClock) -> None:
    """Noon in Tokyo: nothing. Eight in the evening: they are released, by the night. Six in the morning: taken back."""
    wait(shelf, 2)
    assert wake(shelf) == {"waiting": 2}

    clock.at = EVENING
    assert wake(shelf) == wake(shelf) == {"queued": 2}
    shelf.finish(shelf.claim()[0])

    clock.at = MORNING
    assert wake(shelf) == wake(shelf) == {"reported": 1, "waiting": 1}
    moves = [event["name"] for event in shelf.trace.study(2)["events"] if event["actor"] == "night"]
    assert moves == ["release", "withdraw"]


def test_a_running_job_ends_after_the_window(shelf: Shelf, clock: FakeClock) -> None:
    """Nobody kills it: its report is as good as any other."""
    wait(shelf, 1)
    clock.at = EVENING
    wake(shelf)
    (job,) = shelf.claim()
    clock.at = MORNING + timedelta(seconds=1)
    assert wake(shelf) == {"running": 1}

    shelf.finish(job)
    assert wake(shelf) == {"reported": 1}


def test_a_daemon_that_was_off_closes_the_night_at_its_next_start(shelf: Shelf, clock: FakeClock) -> None:
    """Off from midnight to noon: what was let run waits again; quotas of the next night are whole."""
    wait(shelf, 3)
    clock.at = EVENING
    assert wake(shelf, quotas={"systemic": 2}) == {"queued": 2, "waiting": 1}

    clock.at = NOON + timedelta(days=1)
    assert wake(shelf, quotas={"systemic": 2}) == {"waiting": 3}
    clock.at = EVENING + timedelta(days=1)
    assert wake(shelf, quotas={"systemic": 2}) == {"queued": 2, "waiting": 1}


def test_a_window_that_is_moved_closes_at_once(shelf: Shelf, clock: FakeClock) -> None:
    """The settings of the next start are what counts."""
    wait(shelf, 1)
    clock.at = EVENING
    assert wake(shelf) == {"queued": 1}

    assert wake(shelf, start="23:00") == {"waiting": 1}


def test_the_scheduler_wakes_both_chores(shelf: Shelf) -> None:
    """Late and missed wake-ups melt into one, as for every chore."""
    scheduler = schedule(watch(shelf).all(), shelf.clock, shelf.alarms)
    scheduler.start(paused=True)
    names = {job.id for job in scheduler.get_jobs()}
    scheduler.shutdown()

    assert names == {"open_night", "close_night"}


# What a worker knows


def test_a_worker_measures_once_a_minute(shelf: Shelf, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never while the window is closed; the end of the window is asked at every step."""
    asked = []
    speeds = NightJobs.speeds
    monkeypatch.setattr(NightJobs, "speeds", lambda self: asked.append(clock.now()) or speeds(self))
    wait(shelf, 2, window="now")
    shelf.finish(shelf.claim()[0], took={"estimate": 2.0})
    opening = Opening(Night(job_s_first=30), TOKYO, shelf.night_jobs, clock)

    assert opening.hours() == Hours(until=None, expected_s={}, first_s=30)
    clock.at = EVENING
    assert opening.hours() == Hours(until=MORNING, expected_s={"systemic@1": 2.0}, first_s=30)
    shelf.finish(shelf.claim()[0], took={"estimate": 4.0})
    clock.pass_(59)
    assert opening.hours().expected_s == {"systemic@1": 2.0}
    clock.pass_(1)
    assert opening.hours().expected_s == {"systemic@1": 4.0}
    assert len(asked) == 2


# Plan


def test_the_plan_before_the_window(shelf: Shelf) -> None:
    """By family: quota, measured or assumed speed, what is beyond quota or time, when it is done."""
    wait(shelf, 1, window="now")
    shelf.finish(shelf.claim()[0], took={"estimate": 3600.0})
    wait(shelf, 14)
    wait(shelf, 5, family="faz", priority=1)
    found = plan(shelf, quotas={"faz": 2}, job_s_first=1800)

    assert (found.is_open, found.begins, found.workers) == (False, EVENING, 0)
    assert reached(found) == [("faz", 5, 2, 3, 0), ("systemic", 14, 9, 0, 5)]  # one hour, then nine, of ten
    faz, systemic = found.kinds
    assert (faz.speed.reports, faz.ends_at) == (0, EVENING + timedelta(hours=1))
    assert (systemic.speed.reports, systemic.ends_at, found.ends_at) == (1, MORNING, MORNING)
    assert systemic.all_s == 14 * 3600


def test_more_workers_reach_more(shelf: Shelf) -> None:
    """Those that are alive work side by side."""
    wait(shelf, 25)
    for name in ("w1", "w2"):
        shelf.roles.beat(name, "worker", {})

    assert reached(plan(shelf, job_s_first=3600)) == [("systemic", 25, 20, 0, 5)]


def test_the_plan_while_the_window_is_open(shelf: Shelf, clock: FakeClock) -> None:
    """What is let run stays so, the rest of the quota is what is left, and the day's jobs take their time."""
    wait(shelf, 6)
    night: dict[str, Any] = {"quotas": {"systemic": 4}, "job_s_first": 3600}
    clock.at = EVENING
    wake(shelf, quotas={"systemic": 3})
    clock.at = MORNING - timedelta(hours=5)
    wait(shelf, 2, family="faz", window="now", priority=1)
    found = plan(shelf, **night)

    assert (found.is_open, found.begins, found.left) == (True, clock.at, {"systemic": 1})
    assert reached(found) == [("systemic", 6, 3, 2, 1)]  # five hours: two of the day, three of the night
    assert found.ends_at == MORNING


def test_the_plan_keeps_the_order_of_the_claims(shelf: Shelf) -> None:
    """The most urgent first; a shorter job takes the time that a longer one does not fit into."""
    wait(shelf, 1, family="faz", window="now")
    shelf.finish(shelf.claim()[0], took={"estimate": 4 * 3600.0})
    wait(shelf, 3, priority=9)
    wait(shelf, 3, family="faz", priority=1)

    found = plan(shelf, job_s_first=3600)
    assert reached(found) == [("faz", 3, 2, 0, 1), ("systemic", 3, 2, 0, 1)]


def test_nothing_waits(shelf: Shelf) -> None:
    """An empty plan is a plan."""
    found = plan(shelf)

    assert (found.kinds, found.ends_at) == ((), None)


def test_what_stands_too_far_behind_is_counted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the length of any night nobody is looked at one by one."""
    monkeypatch.setattr("oculard.store.night_jobs.LINE_MAX", 3)
    wait(shelf, 4)
    wait(shelf, 2, family="faz")

    found = plan(shelf)
    assert reached(found) == [("faz", 2, 0, 0, 2), ("systemic", 4, 3, 0, 1)]
