"""The contract of the queue, on SQLite and on PostgreSQL."""

import threading

import pytest

from oculard.job import JOB, DeliveryEvent, DeliveryState, JobEvent, JobState
from oculard.store.queue import LeaseLost
from shelf import Shelf


def test_claim_counts_the_attempt_before_the_work(shelf: Shelf) -> None:
    """A worker that dies has used an attempt."""
    shelf.receive("1.1")
    shelf.settle()

    (job,) = shelf.claim()

    assert job.ticket.attempts == 1
    assert shelf.jobs.queue.counts() == {"running": 1}


def test_two_claims_never_give_the_same_job(shelf: Shelf) -> None:
    """What one worker holds, another one does not get."""
    shelf.receive("1.1")
    shelf.settle(eyes=("R", "L"))

    first, second, third = shelf.claim("a"), shelf.claim("b"), shelf.claim("c")

    assert {first[0].eye, second[0].eye} == {"R", "L"}
    assert third == []


def test_many_workers_at_once_share_the_jobs_without_overlap(shelf: Shelf) -> None:
    """Eight threads that claim together get every job exactly once."""
    for number in range(24):
        shelf.receive(f"1.{number}", study_instance_uid=f"1.2.{number}")
    shelf.settle()
    taken: list[int] = []

    def work(name: str) -> None:
        while jobs := shelf.claim(name, limit=2):
            taken.extend(job.ticket.id for job in jobs)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 24


def test_settling_without_the_lease_is_refused(shelf: Shelf) -> None:
    """A stalled worker whose job went to another one must throw its result away."""
    shelf.receive("1.1")
    shelf.settle()
    (late,) = shelf.claim("late", lease_s=10)
    shelf.clock.sleep(11)
    assert shelf.jobs.queue.reap() == 1
    (other,) = shelf.claim("other")

    with pytest.raises(LeaseLost):
        shelf.finish(late)
    shelf.finish(other)

    assert shelf.jobs.queue.counts() == {"reported": 1}
    assert shelf.deliveries.queue.counts() == {"pending": 1}


def test_a_lost_result_leaves_nothing_behind(shelf: Shelf) -> None:
    """Job, report, findings and deliveries are one transaction: all or none."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim(lease_s=1)
    shelf.clock.sleep(2)
    shelf.jobs.queue.reap()

    with pytest.raises(LeaseLost):
        shelf.finish(job)

    study = shelf.trace.study(shelf.trace.find("1.1")[0])
    assert study["reports"] == []
    assert study["deliveries"] == []


def test_a_renewed_lease_is_not_reaped(shelf: Shelf) -> None:
    """A worker that is alive keeps its job."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim(lease_s=10)
    shelf.clock.sleep(8)
    shelf.jobs.queue.renew([job.ticket], lease_s=10)
    shelf.clock.sleep(8)

    assert shelf.jobs.queue.reap() == 0
    shelf.finish(job)


def test_a_known_death_gives_back_at_once(shelf: Shelf) -> None:
    """The supervisor need not wait for the lease of a child that it saw die."""
    shelf.receive("1.1")
    shelf.settle(eyes=("R", "L"))
    shelf.claim("dead")
    shelf.claim("alive")

    assert shelf.jobs.queue.reap(dead_owner="dead") == 1
    assert shelf.jobs.queue.counts() == {"queued": 1, "running": 1}


def test_a_retry_waits(shelf: Shelf) -> None:
    """A job that met a passing trouble is not claimed before its delay is over."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.jobs.queue.settle(job.ticket, JobEvent.RETRY, reason="vault-unreadable", delay_s=8)

    assert shelf.claim() == []
    shelf.clock.sleep(9)
    assert shelf.claim()[0].ticket.attempts == 2


def test_urgent_jobs_come_first(shelf: Shelf) -> None:
    """Priority 0 is claimed before priority 9, whatever came first."""
    shelf.receive("1.1")
    shelf.settle(priority=9)
    shelf.receive("1.2", study_instance_uid="1.9")
    (urgent,) = shelf.settle(priority=0)

    assert shelf.claim()[0].ticket.id == urgent


def test_a_claim_holds_one_family(shelf: Shelf) -> None:
    """What is claimed together can share a batch."""
    shelf.receive("1.1")
    shelf.settle(family="systemic", priority=1)
    shelf.receive("1.2", study_instance_uid="1.9")
    shelf.settle(family="faz", priority=2)

    assert [job.family for job in shelf.claim(limit=5)] == ["systemic"]
    assert [job.family for job in shelf.claim(limit=5)] == ["faz"]


def test_what_a_worker_died_of_is_tried_alone(shelf: Shelf) -> None:
    """A poison job that ends its worker costs its batch one attempt, not all of them."""
    for number in range(4):
        shelf.receive(f"1.{number}", study_instance_uid=f"1.2.{number}")
    shelf.settle()
    assert len(shelf.claim("dies", limit=8)) == 4
    shelf.jobs.queue.reap(dead_owner="dies")

    (poison,) = shelf.claim("dies", limit=8)
    shelf.jobs.queue.reap(dead_owner="dies")
    assert poison.ticket.attempts == 2
    rest = [shelf.claim(f"w{n}", limit=8) for n in range(4)]
    assert [[job.ticket.attempts for job in jobs] for jobs in rest] == [[3], [2], [2], [2]]


def test_spent_attempts_are_claimed_once_more_and_then_given_up(shelf: Shelf) -> None:
    """The last claim is there to report the failure; if even that dies, the job fails without a report."""
    shelf.receive("1.1")
    shelf.settle()
    for attempt in (1, 2, 3):
        (job,) = shelf.claim("dies", attempts_max=2)
        assert job.ticket.attempts == attempt
        shelf.jobs.queue.reap(dead_owner="dies")

    assert shelf.claim(attempts_max=2) == []
    assert shelf.jobs.give_up(attempts_max=2, actor="upkeep") == 1
    assert shelf.jobs.queue.counts() == {"failed": 1}


def test_a_person_may_requeue_a_failed_job(shelf: Shelf) -> None:
    """Requeueing starts a new generation with fresh attempts; what has not failed stays as it is."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim()
    assert shelf.jobs.requeue(actor="person") == 0
    shelf.finish(job, event=JobEvent.GIVE_UP)

    assert shelf.jobs.requeue(job_id=job.ticket.id, actor="person") == 1
    (again,) = shelf.claim()
    assert (again.generation, again.ticket.attempts) == (1, 1)
    shelf.finish(again)
    assert len(shelf.jobs.history(again)) == 2


def test_a_replaced_failure_is_not_requeued(shelf: Shelf) -> None:
    """After a late image a newer job speaks for the eye: the older one must not amend its report with less."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0], event=JobEvent.GIVE_UP)
    shelf.receive("1.2", b"more")
    shelf.settle()

    assert shelf.jobs.requeue(actor="person") == 0
    shelf.finish(shelf.claim()[0], event=JobEvent.GIVE_UP)
    assert shelf.jobs.requeue(actor="person") == 1
    assert [job["state"] for job in shelf.study()["jobs"]] == ["failed", "queued"]


def test_every_move_leaves_an_event(shelf: Shelf) -> None:
    """The record of a job is a path through the machine, from its order to its end."""
    shelf.receive("1.1")
    shelf.settle()
    (job,) = shelf.claim()
    shelf.finish(job)

    moves = shelf.events("job")
    assert [(name, source, target) for _, name, source, target in moves] == [
        ("ordered", None, "queued"),
        ("claim", "queued", "running"),
        ("done", "running", "reported"),
    ]


def test_a_move_that_is_not_in_the_table_is_a_bug(shelf: Shelf) -> None:
    """What is not a row of the machine cannot happen."""
    with pytest.raises(KeyError):
        JOB.target(JobState.REPORTED, JobEvent.CLAIM)


def test_parked_deliveries_wait_for_a_person(shelf: Shelf) -> None:
    """A parked delivery moves only when a person resends it."""
    shelf.receive("1.1")
    shelf.settle()
    shelf.finish(shelf.claim()[0])
    (delivery,) = shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=5)
    shelf.deliveries.queue.settle(delivery.ticket, DeliveryEvent.PARK, reason="called-ae-unknown")

    assert shelf.deliveries.claim("sender", "pacs", lease_s=60, limit=5) == []
    assert shelf.deliveries.resend(peer="elsewhere", actor="person") == 0
    assert shelf.deliveries.resend(peer="pacs", actor="person") == 1
    assert shelf.deliveries.queue.counts() == {DeliveryState.PENDING: 1}


def test_a_parked_answer_is_given_another_try(shelf: Shelf) -> None:
    """A device whose port nobody had configured gets its answer after a person's word."""
    shelf.answers.owe(transaction_uid="1.2", calling_ae="TOPCON", called_ae="OCULARD", address="a", items=[("1", "2")])
    shelf.answers.owe(transaction_uid="1.2", calling_ae="TOPCON", called_ae="OCULARD", address="a", items=[("1", "2")])
    answer = shelf.answers.claim("intake", lease_s=60)
    assert answer is not None
    shelf.answers.queue.settle(answer.ticket, DeliveryEvent.PARK, reason="no-commitment-port")
    assert shelf.answers.claim("intake", lease_s=60) is None

    assert shelf.answers.resend(actor="person") == 1
    again = shelf.answers.claim("intake", lease_s=60)
    assert again is not None
    assert again.items == (("1", "2"),)
