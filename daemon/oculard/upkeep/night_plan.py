"""The night before it is over: what will be reached, what will not and why, and when the last job ends."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oculard.night import Window, next_window
from oculard.settings_night import Night
from oculard.store.night_jobs import NightJobs, Run, Speed


@dataclass(slots=True, kw_only=True)
class Kind:
    """The night jobs of one estimator, counted while the window is gone through."""

    family: str
    estimator: str
    speed: Speed  # of no report: assumed
    waiting: int = 0
    reached: int = 0
    beyond_quota: int = 0
    ends_at: datetime | None = None  # the last that is reached

    @property
    def beyond_time(self) -> int:
        """How many would not end before the window does."""
        return self.waiting - self.reached - self.beyond_quota

    @property
    def all_s(self) -> float:
        """How long all of them take, one after another."""
        return self.waiting * self.speed.mean_s


Kinds = Mapping[tuple[str, str], Kind]  # by family and estimator


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a window will hold."""

    window: Window
    is_open: bool
    begins: datetime  # the window's start, or now when it is open
    workers: int  # that are alive; with none, one is reckoned with
    left: Mapping[str, int]  # by family, of its quota
    kinds: tuple[Kind, ...] = ()

    @property
    def ends_at(self) -> datetime | None:
        """When the last job that is reached ends; None when there is none."""
        return max((kind.ends_at for kind in self.kinds if kind.ends_at is not None), default=None)


def plan_night(night: Night, time_zone: str, jobs: NightJobs, now: datetime) -> Plan:
    """The plan of the window that is open, else of the next to come, when the day's jobs will have been done."""
    window = next_window(night, now, time_zone)
    is_open, used = window.holds(now), jobs.used(window)
    plan = Plan(
        window=window,
        is_open=is_open,
        begins=max(now, window.start),
        workers=jobs.workers(),
        left={family: max(0, quota - used.get(family, 0)) for family, quota in night.quotas.items()},
    )
    assumed = Speed(mean_s=night.job_s_first, p90_s=night.job_s_first, reports=0)
    speeds = defaultdict(lambda: assumed, jobs.speeds())
    line = jobs.line() if is_open else [replace(run, is_queued=False) for run in jobs.line() if run.is_night]
    kinds = _waiting(jobs, speeds)
    _go_through(line, kinds, plan, speeds)
    return replace(plan, kinds=tuple(kinds[key] for key in sorted(kinds)))


def _waiting(jobs: NightJobs, speeds: Mapping[str, Speed]) -> Kinds:
    kinds = dict[tuple[str, str], Kind]()
    for one in jobs.waiting():
        kind = Kind(family=one.family, estimator=one.estimator, speed=speeds[one.estimator])
        kinds.setdefault((one.family, one.estimator), kind).waiting += one.count
    return kinds


def _go_through(line: Sequence[Run], kinds: Kinds, plan: Plan, speeds: Mapping[str, Speed]) -> None:
    """Do the jobs in the order in which they are claimed, behind the guard that the claim has."""
    left = dict(plan.left)
    free = [plan.begins] * max(1, plan.workers)  # a heap: when each worker has nothing to do
    for run in line:
        kind = kinds.get((run.family, run.estimator))
        if not run.is_night:
            for _ in range(run.count):
                heapq.heapreplace(free, free[0] + timedelta(seconds=speeds[run.estimator].mean_s))
        elif kind is not None:  # else it came while we looked
            allowed = run.count if run.is_queued else min(run.count, left.get(run.family, run.count))
            reached = _reach(kind, allowed, free, plan.window.end)
            kind.beyond_quota += run.count - allowed
            if not run.is_queued and run.family in left:
                left[run.family] -= reached


def _reach(kind: Kind, count: int, free: list[datetime], end: datetime) -> int:
    """How many of these jobs begin, because they are expected to end in time."""
    expected, takes = timedelta(seconds=kind.speed.p90_s), timedelta(seconds=kind.speed.mean_s)
    reached = 0
    while reached < count and free[0] + expected <= end:
        kind.ends_at = max(kind.ends_at or free[0], free[0] + takes)
        heapq.heapreplace(free, free[0] + takes)
        reached += 1
    kind.reached += reached
    return reached
