"""What the watchdog asks of the tables: who is silent, what waits, what failed, which clock is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fakes import FakeClock
from oculard.job import DeliveryEvent, JobEvent, JobState
from oculard.store.health import Ended, Health
from shelf import Shelf

HOUR = 3600.0


def health(shelf: Shelf) -> Health:
    """The questions over a shelf."""
    return Health(shelf.database, shelf.clock)


def since(shelf: Shelf, hours: float) -> datetime:
    """So many hours ago."""
    return shelf.clock.now() - timedelta(hours=hours)


def report(shelf: Shelf, uid: str, peer: str = "pacs") -> None:
    """A report that is due for a peer."""
    shelf.receive(uid, uid.encode())
    shelf.settle()
    shelf.finish(shelf.claim()[0], peers=[peer])


def deliver(shelf: Shelf, event: DeliveryEvent | None = None, **how: float) -> None:
    """Try the next delivery: it is taken, or ends otherwise."""
    (delivery,) = shelf.deliveries.claim("s", "pacs", lease_s=60, limit=1)
    if event is None:
        shelf.took(delivery, awaits_commitment=False)
    else:
        shelf.deliveries.queue.settle(delivery.ticket, event, reason="x", delay_s=how.get("delay_s", 0.0))


def is_silent(shelf: Shelf) -> bool:
    """Whether the peer took nothing for four hours."""
    return health(shelf).is_silent("pacs", since=since(shelf, 4))


def test_a_peer_is_silent_when_something_waits_and_nothing_was_taken(shelf: Shelf, clock: FakeClock) -> None:
    """Just before the time is over it is not, then it is; of another peer nothing is said."""
    report(shelf, "1.1")
    clock.pass_(4 * HOUR - 1)
    assert not is_silent(shelf)
    clock.pass_(1)
    assert is_silent(shelf)
    assert not health(shelf).is_silent("other", since=since(shelf, 4))

    deliver(shelf, DeliveryEvent.RETRY, delay_s=900)
    assert is_silent(shelf), "a pause between two tries is no end of the silence"


def test_a_peer_that_took_something_is_not_silent(shelf: Shelf, clock: FakeClock) -> None:
    """One report may wait for long: the others go."""
    report(shelf, "1.1")
    deliver(shelf, DeliveryEvent.RETRY)
    clock.pass_(3 * HOUR)
    report(shelf, "1.2")
    deliver(shelf)
    clock.pass_(2 * HOUR)
    assert not is_silent(shelf)
    clock.pass_(2 * HOUR)

    assert is_silent(shelf), "it took the last one four hours ago"


def test_a_peer_for_which_nothing_waits_is_not_silent(shelf: Shelf, clock: FakeClock) -> None:
    """Delivered, parked or just sent again: a quiet weekend is no alarm."""
    report(shelf, "1.1")
    deliver(shelf)
    report(shelf, "1.2")
    deliver(shelf, DeliveryEvent.PARK)
    clock.pass_(48 * HOUR)
    assert not is_silent(shelf)

    assert shelf.deliveries.resend(peer="pacs", actor="person:x") == 1
    clock.pass_(4 * HOUR - 1)
    assert not is_silent(shelf), "it is due since a person sent it again"
    clock.pass_(2)
    assert is_silent(shelf)


def test_a_job_that_may_run_grows_old(shelf: Shelf, clock: FakeClock) -> None:
    """Its family is named; retries are no new beginning, a person's requeue is."""
    shelf.receive("1.1")
    shelf.settle()
    clock.pass_(24 * HOUR - 1)
    assert health(shelf).old_families(since=since(shelf, 24)) == set()
    clock.pass_(1)
    assert health(shelf).old_families(since=since(shelf, 24)) == {"systemic"}

    (job,) = shelf.claim()
    assert health(shelf).old_families(since=since(shelf, 24)) == {"systemic"}, "it has not ended"
    shelf.jobs.queue.settle(job.ticket, JobEvent.RETRY, reason="x", delay_s=900)
    assert health(shelf).old_families(since=since(shelf, 24)) == {"systemic"}
    clock.pass_(900)
    (job,) = shelf.claim()
    shelf.jobs.queue.settle(job.ticket, JobEvent.GIVE_UP, reason="x")
    assert health(shelf).old_families(since=since(shelf, 24)) == set()
    assert shelf.jobs.requeue(job_id=None, actor="person:x") == 1
    assert health(shelf).old_families(since=since(shelf, 24)) == set()
    clock.pass_(24 * HOUR)
    assert health(shelf).old_families(since=since(shelf, 24)) == {"systemic"}


def test_a_night_job_is_old_only_while_it_may_run(shelf: Shelf, clock: FakeClock) -> None:
    """It may wait for weeks for its night; from its release on it counts."""
    shelf.receive("1.1")
    (job_id,) = shelf.settle(window="night")
    clock.pass_(30 * 24 * HOUR)
    assert health(shelf).old_families(since=since(shelf, 24)) == set()
    with shelf.database.write() as connection:
        queue = shelf.jobs.queue
        queue.move(connection, job_id, JobState.WAITING, JobEvent.RELEASE, actor="night", run_after=clock.now())
    clock.pass_(24 * HOUR - 1)
    assert health(shelf).old_families(since=since(shelf, 24)) == set()
    clock.pass_(1)
    assert health(shelf).old_families(since=since(shelf, 24)) == {"systemic"}


def test_how_many_failed(shelf: Shelf, clock: FakeClock) -> None:
    """Of what ended since then, each once, by how it stands now; what runs again does not count."""
    for number, event in enumerate((JobEvent.GIVE_UP, JobEvent.GIVE_UP, JobEvent.DONE, JobEvent.REJECT)):
        shelf.receive(f"1.{number}", str(number).encode(), study_instance_uid=f"9.{number}")
        shelf.settle()
        (job,) = shelf.claim()
        shelf.jobs.queue.settle(job.ticket, event, reason=None)
    assert health(shelf).ended(since=since(shelf, 24)) == Ended(jobs=4, failed=2)

    shelf.jobs.requeue(job_id=None, actor="person:x")
    (job,) = shelf.claim()
    shelf.jobs.queue.settle(job.ticket, JobEvent.DONE, reason=None)
    assert health(shelf).ended(since=since(shelf, 24)) == Ended(jobs=3, failed=0)
    clock.pass_(24 * HOUR + 1)
    assert health(shelf).ended(since=since(shelf, 24)) == Ended(jobs=0, failed=0)


def test_events_of_the_future_are_found(shelf: Shelf, clock: FakeClock) -> None:
    """The clock went back, or another machine's is ahead."""
    assert health(shelf).events_ahead_s() == 0
    shelf.receive("1.1")
    assert health(shelf).events_ahead_s() == 0
    clock.pass_(-300)

    assert health(shelf).events_ahead_s() == 300


def test_the_servers_clock_is_asked(shelf: Shelf, clock: FakeClock) -> None:
    """PostgreSQL has one of its own: how far it is ahead of ours, or behind. SQLite's is ours."""
    clock.at = datetime.now(UTC) - timedelta(hours=1)
    behind = health(shelf).database_ahead_s()
    clock.at = datetime.now(UTC) + timedelta(hours=1)
    ahead = health(shelf).database_ahead_s()

    if shelf.database.is_sqlite:
        assert (behind, ahead) == (0, 0)
    else:
        assert 3600 <= behind < 3700
        assert -3600 <= ahead < -3500
