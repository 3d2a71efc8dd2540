"""Many jobs at once: given to another bundle, given up, requeued; in portions, and each portion whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Connection, update

from fakes import FakeClock
from oculard.job import JobEvent
from oculard.store import portions, tables
from shelf import Shelf

OLD, NEW, NEWEST = "painted@1", "painted@2", "painted@3"


def order(shelf: Shelf, estimator: str, *, window: str = "night") -> int:
    """Settle the one study again with a job for a bundle, always of the same images."""
    shelf.receive(f"1.{len(shelf.trace.jobs(state=None, limit=99)) + 1}", estimator.encode())
    (job,) = shelf.settle(estimator=estimator, window=window, inputs_digest="d" * 64)
    return job


def many(shelf: Shelf, count: int) -> None:
    """So many studies, each with one job."""
    for number in range(count):
        shelf.receive(f"1.{number}", f"{number}".encode(), study_instance_uid=f"1.2.{number}")
    shelf.settle(estimator=OLD)


def told(shelf: Shelf) -> list[tuple[str, str, str | None]]:
    """Of each job: the bundle that it is for, its state and the reason of it."""
    return [(row["estimator"], row["state"], row["reason"]) for row in shelf.study()["jobs"]]


def go_back(shelf: Shelf) -> tuple[int, int]:
    """The older bundle is in force again."""
    kind: dict[str, Any] = {"family": "systemic", "estimator": OLD, "eyes": ("R",), "actor": "upkeep"}
    return shelf.jobs.adopt(**kind), shelf.jobs.drop_twins(**kind)


# A bundle that is taken back


def test_a_bundle_is_taken_back_whose_jobs_have_twins(shelf: Shelf) -> None:
    """What the older one has done already is not done again; the rest is given to it. Once is enough."""
    order(shelf, OLD, window="now")
    shelf.finish(shelf.claim()[0])
    order(shelf, NEW)
    shelf.receive("1.99", b"of another study", study_instance_uid="1.2.99")
    (alone,) = shelf.settle(estimator=NEW, window="night")

    assert go_back(shelf) == (1, 1)
    assert go_back(shelf) == (0, 0)
    assert told(shelf) == [(OLD, "reported", None), (NEW, "rejected", "twin-job")]
    assert [(row["id"], row["estimator"]) for row in shelf.trace.jobs(state="waiting", limit=9)] == [(alone, OLD)]
    assert shelf.events("job")[-1][1:] == ("drop", "waiting", "rejected")


def test_what_was_let_run_already_is_dropped_too(shelf: Shelf) -> None:
    """The night had released it; what a worker holds is left to end."""
    order(shelf, OLD, window="now")
    shelf.finish(shelf.claim()[0])
    order(shelf, NEW, window="now")
    (held,) = shelf.claim()
    assert go_back(shelf) == (0, 0)
    shelf.jobs.hinder(held, reason="vault-unreadable", delay_s=0.0)

    assert go_back(shelf) == (0, 1)
    assert shelf.claim() == []


def test_of_two_that_wait_one_is_kept(shelf: Shelf) -> None:
    """Each for another bundle, none for the one in force: it does the work once."""
    order(shelf, OLD)
    order(shelf, NEW)
    kind: dict[str, Any] = {"family": "systemic", "estimator": NEWEST, "eyes": ("R",), "actor": "upkeep"}

    assert (shelf.jobs.adopt(**kind), shelf.jobs.drop_twins(**kind)) == (1, 1)
    assert Counter((estimator, state) for estimator, state, _ in told(shelf)) == {
        (NEWEST, "waiting"): 1,
        (NEW, "rejected"): 1,
    }


def test_a_failed_twin_may_be_tried_again(shelf: Shelf) -> None:
    """The dropped job is the later one, but it speaks for nothing."""
    failed = order(shelf, OLD, window="now")
    shelf.finish(shelf.claim()[0], event=JobEvent.GIVE_UP)
    order(shelf, NEW)
    assert shelf.jobs.requeue(actor="person") == 0
    go_back(shelf)

    assert shelf.jobs.requeue(actor="person") == 1
    assert [job.ticket.id for job in shelf.claim(limit=9)] == [failed]


def test_a_bundle_that_comes_back_is_given_the_images_again(shelf: Shelf) -> None:
    """A dropped job has done nothing: it must not pass for the work of its bundle."""
    order(shelf, OLD, window="now")
    shelf.finish(shelf.claim()[0])
    order(shelf, NEW)
    go_back(shelf)

    again = order(shelf, NEW, window="now")
    (job,) = shelf.claim()
    assert (job.ticket.id, job.estimator) == (again, NEW)
    shelf.finish(job)
    assert [state for _, state, _ in told(shelf)] == ["reported", "rejected", "reported"]


def test_who_amends_waits_for_the_twin_that_is_kept(shelf: Shelf) -> None:
    """Not for the dropped job, which has no report to name."""
    order(shelf, OLD, window="now")
    (held,) = shelf.claim()
    order(shelf, NEW)
    assert go_back(shelf) == (0, 1)
    shelf.receive("1.98", b"a late image")
    shelf.settle(estimator=OLD, inputs_digest="e" * 64)

    assert shelf.claim() == []
    shelf.finish(held)
    assert len(shelf.claim()) == 1


# Portions


def test_many_jobs_are_moved_in_short_transactions(
    shelf: Shelf, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pause after each: who waits to write gets a turn."""
    monkeypatch.setattr(portions, "PORTION", 2)
    many(shelf, 5)
    began, moves, per_transaction = clock.now(), shelf.jobs.queue.move, Counter[Any]()

    def counted(connection: Connection, *args: Any, **kept: Any) -> bool:
        per_transaction[connection.get_transaction()] += 1
        return moves(connection, *args, **kept)

    monkeypatch.setattr(shelf.jobs.queue, "move", counted)

    assert shelf.jobs.adopt("systemic", NEW, eyes=("R",), actor="upkeep") == 5
    assert max(per_transaction.values()) <= 2
    assert (clock.now() - began).total_seconds() == pytest.approx(2 * portions.PAUSE_S)


@pytest.mark.parametrize("survived", range(5))
def test_a_kill_between_two_portions_loses_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """What was moved stays moved, whole; the next wake-up does the rest."""
    monkeypatch.setattr(portions, "PORTION", 2)
    many(shelf, 5)
    moves, left = shelf.jobs.queue.move, iter(range(survived))

    def killed(*args: Any, **kept: Any) -> bool:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return moves(*args, **kept)

    with monkeypatch.context() as dying:
        dying.setattr(shelf.jobs.queue, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            shelf.jobs.adopt("systemic", NEW, eyes=("R",), actor="upkeep")

    moved = Counter(row["estimator"] for row in shelf.trace.jobs(state=None, limit=9))[NEW]
    assert moved == survived - survived % 2
    assert shelf.jobs.adopt("systemic", NEW, eyes=("R",), actor="upkeep") == 5 - moved
    assert shelf.jobs.adopt("systemic", NEW, eyes=("R",), actor="upkeep") == 0


def test_what_changed_meanwhile_is_left_alone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was claimed, or that became one on both eyes, after it was chosen: it is looked at again."""
    many(shelf, 3)
    moves = shelf.jobs.queue.move

    def late(connection: Connection, row_id: int, *args: Any, **kept: Any) -> bool:
        connection.execute(update(tables.job).where(tables.job.c.id == 2).values(eye="B"))
        return moves(connection, row_id, *args, **kept)

    monkeypatch.setattr(shelf.jobs.queue, "move", late)

    assert shelf.jobs.adopt("systemic", NEW, eyes=("R",), actor="upkeep") == 2
