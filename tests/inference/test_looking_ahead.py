"""Looking ahead: while one batch is at the network the next is decoded, and nobody pays for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from worker_bench import Bench, StagedGate, photograph

from oculard.inference import worker as module
from oculard.inference.lease import EXIT_HUNG, Lease
from oculard.night import Hours
from oculard.settings import Worker as Settings
from oculard.store.database import DatabaseDown
from oculard.store.jobs import Jobs
from oculard.store.queue import Queue

WAIT_S = 60


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with three settled studies, whose worker takes one job at a time."""
    made = Bench(tmp_path, gate=StagedGate({}))
    made.worker = replace(made.worker, settings=Settings(batch=1, attempts_max=2))
    made.receive(*(photograph(name, study=name) for name in "abc"))
    made.clock.sleep(60)
    while made.settling.step():
        pass
    yield made
    made.worker.close()
    made.shelf.database.close()


def while_estimating(bench: Bench, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """Have something done whenever the network is asked."""
    served = bench.estimators.get(bench.shelf.trace.jobs(state=None, limit=1)[0]["estimator"])
    estimate = served.estimator.estimate

    def estimating(batch: Any) -> Any:
        do()
        return estimate(batch)

    monkeypatch.setattr(served.estimator, "estimate", estimating)


def test_the_next_batch_is_decoded_while_the_network_works(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second study's image is looked at before the first study's network is done."""
    looks: list[int] = []
    second = Event()
    examine = module.examine

    def looking(case: Any, *arguments: Any, **named: Any) -> None:
        examine(case, *arguments, **named)
        looks.append(case.job.study_id)
        if len(looks) > 1:
            second.set()

    monkeypatch.setattr(module, "examine", looking)
    while_estimating(bench, monkeypatch, lambda: _must(second.wait(WAIT_S)))
    assert bench.worker.step()

    assert looks[:2] == [1, 2]
    assert bench.shelf.jobs.queue.counts() == {"queued": 1, "reported": 1, "running": 1}


def test_every_job_is_done_once_and_in_order(bench: Bench) -> None:
    """Three steps, three reports, and then nothing."""
    assert [bench.worker.step() for _ in range(4)] == [True, True, True, False]
    assert bench.shelf.jobs.queue.counts() == {"reported": 3}
    assert bench.worker.ahead == []


def test_a_worker_that_stops_gives_back_what_it_claimed_ahead(bench: Bench) -> None:
    """The job costs no attempt, and the next worker finds it at once."""
    bench.worker.step()
    bench.worker.close()

    assert bench.shelf.jobs.queue.counts() == {"queued": 2, "reported": 1}
    assert [job["attempts"] for job in bench.shelf.trace.jobs(state="queued", limit=3)] == [0, 0]


def test_a_worker_that_stops_without_a_database_leaves_it_to_the_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends all the same."""
    bench.worker.step()

    def away(*_: object, **__: object) -> None:
        raise DatabaseDown("gone")

    monkeypatch.setattr(Jobs, "hinder", away)
    bench.worker.close()
    assert bench.shelf.jobs.queue.counts() == {"queued": 1, "reported": 1, "running": 1}


def test_what_somebody_died_of_is_in_work_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has cost a worker its life is never claimed ahead, and nothing is claimed beside it."""
    bench.shelf.claim("dies")
    bench.shelf.jobs.queue.reap(dead_owner="dies")
    running: list[int] = []
    while_estimating(bench, monkeypatch, lambda: running.append(bench.shelf.jobs.queue.counts()["running"]))
    while bench.worker.step():
        pass

    assert running == [1, 2, 1]
    assert bench.shelf.jobs.queue.counts() == {"reported": 3}


def test_a_job_that_is_dangerous_waits_until_nobody_is_beside_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job that killed a worker is the second in the queue: it is not taken ahead of its turn."""
    first = bench.shelf.claim("holds", limit=1)
    bench.shelf.claim("dies", limit=1)
    bench.shelf.jobs.queue.reap(dead_owner="dies")
    bench.shelf.jobs.hinder(first[0], reason="database-down", delay_s=0.0)
    running: list[set[int]] = []

    def note() -> None:
        running.append({job["study_id"] for job in bench.shelf.trace.jobs(state="running", limit=9)})

    while_estimating(bench, monkeypatch, note)
    while bench.worker.step():
        pass

    assert {2} in running
    assert all(one == {2} for one in running if 2 in one)


def test_a_database_that_is_away_while_looking_ahead_costs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch at work is finished; the next claim is for the next step."""
    claim = Jobs.claim

    def once(self: Jobs, owner: str, **named: Any) -> Any:
        if named["attempts_max"] == 0:
            raise DatabaseDown("gone")
        return claim(self, owner, **named)

    monkeypatch.setattr(Jobs, "claim", once)
    assert bench.worker.step()
    assert bench.shelf.jobs.queue.counts() == {"queued": 2, "reported": 1}


def test_a_bug_while_looking_ends_the_worker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected in a thread comes out of the step."""

    def buggy(*_: object, **__: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(module, "examine", buggy)
    with pytest.raises(AssertionError, match="a bug"):
        bench.worker.step()


def test_the_night_has_room_for_what_comes_after() -> None:
    """What is claimed ahead begins later: the time of the batch before it is taken off the window."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hours = Hours(until=now + timedelta(seconds=100), expected_s={"slow": 40.0}, first_s=10.0)

    assert hours.fitting("slow", now) == 2
    assert hours.after("slow", 1).fitting("slow", now) == 1
    assert hours.after("slow", 3).fitting("slow", now) == 0
    closed = Hours(until=None, expected_s={}, first_s=10.0)
    assert closed.after("slow", 1) == closed


def test_a_lease_that_is_only_kept_ends_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that waits for its turn is renewed without an end of its own; only at work it can hang."""
    ends: list[int] = []
    renewed, hung = Event(), Event()

    def renew(self: Queue, *_: object, **__: object) -> None:
        renewed.set()

    def ending(code: int) -> None:
        ends.append(code)
        hung.set()

    monkeypatch.setattr(Queue, "renew", renew)
    monkeypatch.setattr("oculard.inference.lease.os._exit", ending)
    short = Settings.model_construct(lease_s=0.03, job_s_max=0.01)
    kept = Lease(bench.shelf.jobs.queue, [job.ticket for job in bench.shelf.claim("w")], short).keep()
    assert renewed.wait(WAIT_S)
    renewed.clear()
    assert renewed.wait(WAIT_S)
    assert ends == []

    kept.__enter__()
    assert hung.wait(WAIT_S)
    kept.end()
    assert set(ends) == {EXIT_HUNG}


def _must(holds: bool) -> None:
    assert holds
