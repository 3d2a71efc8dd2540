"""A queue's statements: few journeys, made once, planned once, and never older than the rows that they move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, literal_column, text

from oculard.job import JobEvent
from oculard.store import claims, database, statements, tables
from oculard.store.jobs import Jobs
from oculard.store.picks import Pick
from shelf import ANY_TIME, Shelf

GATE = 20  # the key of a lock in the server at which a statement waits
LOOKS = 3000  # at whether it waits there
MANY = """
INSERT INTO job (study_id, family, eye, estimator, inputs_digest, run_window, priority, created_at, changed_at,
                 run_after, state)
SELECT study_id, family, eye, estimator, 'digest ' || i, run_window, priority, created_at, changed_at, run_after, state
FROM job, generate_series(1, 5000) AS i
"""


def order_jobs(shelf: Shelf, count: int) -> None:
    """So many studies, each with one job."""
    for number in range(count):
        shelf.receive(f"1.{number}", f"{number}".encode(), study_instance_uid=f"1.2.{number}")
    shelf.settle()


def work(shelf: Shelf) -> None:
    """Claim one job and settle it."""
    (job,) = shelf.claim()
    shelf.jobs.queue.settle(job.ticket, JobEvent.DONE)


@contextmanager
def journeys(to: database.Database) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def seen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(to._engine, "before_cursor_execute", seen)
    yield sent
    event.remove(to._engine, "before_cursor_execute", seen)


def server_alone(shelf: Shelf) -> None:
    if shelf.database.is_sqlite:
        pytest.skip("there is no server")


def test_a_job_costs_a_worker_two_journeys_to_a_server(shelf: Shelf) -> None:
    """One claims it and brings its images, one settles it; nothing is asked first, and no transaction is begun."""
    server_alone(shelf)
    order_jobs(shelf, 2)
    work(shelf)

    with journeys(shelf.database) as sent:
        (job,) = shelf.claim()
        shelf.jobs.queue.settle(job.ticket, JobEvent.DONE)

    assert [image.sop_instance_uid for image in job.inputs] == ["1.1"]
    assert len(sent) == 2


def test_a_statement_is_made_once(shelf: Shelf) -> None:
    """The second job costs no new one, whoever claims it and however long its lease is."""
    order_jobs(shelf, 3)
    made = (claims.alone, statements.ready, statements.ready_rows, statements.move)
    work(shelf)
    before = [one.cache_info().misses for one in made]

    shelf.clock.sleep(1)
    (job,) = shelf.claim("other", lease_s=10)
    shelf.jobs.queue.settle(job.ticket, JobEvent.DONE)

    assert [one.cache_info().misses for one in made] == before


def test_a_server_plans_a_claim_once(shelf: Shelf) -> None:
    """It takes longer to plan one than to run it: what decides the plan stands in the text."""
    server_alone(shelf)
    order_jobs(shelf, 1)
    with shelf.database.single() as connection:
        connection.execute(text(MANY))
        connection.execute(text("ANALYZE"))
    for _ in range(20):
        work(shelf)

    query = text("SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE '%picked%'")
    with shelf.database.read() as connection:
        assert sum(connection.execute(query).scalars()) >= 10


def test_an_empty_queue_takes_no_lock_of_a_file(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that look for jobs hold up nobody who writes, and wait for nobody."""
    if not shelf.database.is_sqlite:
        pytest.skip("a server locks rows")
    monkeypatch.setattr(database, "BUSY_S", 0.0)
    impatient = database.Database(str(shelf.database.url))

    with shelf.database.write():
        for limit in (1, 8):
            claim = {"lease_s": 60.0, "attempts_max": 3, "hours": ANY_TIME, "limit": limit}
            assert Jobs(impatient, shelf.clock).claim("worker", **claim) == []
    impatient.close()


def test_no_column_is_named_like_a_parameter() -> None:
    """A statement that changes a row would take the parameter for the column's new value."""
    names = [column.name for table in tables.metadata.tables.values() for column in table.c]

    assert [name for name in names if name.startswith(("given_", "new_", "event_"))] == []


def test_only_our_own_words_become_part_of_a_statement() -> None:
    """What could end a quoted text is a bug here."""
    with pytest.raises(AssertionError, match="none of our words"):
        statements.word("x' OR 'a' = 'a")


def test_one_at_a_time_passes_over_what_hangs(shelf: Shelf) -> None:
    """Though the most urgent job is of another estimator and its claim does not end."""
    server_alone(shelf)
    shelf.receive("1.1")
    shelf.settle(priority=0, family="systemic")
    shelf.receive("1.2", study_instance_uid="1.9")
    (other,) = shelf.settle(priority=9, family="faz")

    with shelf.database.write() as connection:
        shelf.jobs.queue.claim_in(connection, "slow", Pick(order=(tables.job.c.priority,)), lease_s=60)
        assert [job.ticket.id for job in shelf.claim()] == [other]


def test_what_changes_under_a_claim_is_left_for_the_next(shelf: Shelf) -> None:
    """A late image came between the claim's first look at the job and its lock: nobody gets the older images."""
    server_alone(shelf)
    shelf.receive("1.1")
    shelf.settle()
    waits = literal_column(f"pg_advisory_xact_lock_shared({GATE}) IS NOT NULL")
    pick = Pick(where=(waits,), reads=claims.images)
    claimed: list[int] = []

    def claim() -> None:
        claimed.append(len(shelf.jobs.queue.claim_rows("slow", pick, lease_s=60)))

    slow = threading.Thread(target=claim)
    with shelf.database.write() as gate:
        gate.execute(text(f"SELECT pg_advisory_xact_lock({GATE})"))
        slow.start()
        waiting = text(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted")
        assert any(gate.execute(waiting).scalar_one() for _ in range(LOOKS)), "the claim must wait at the gate"
        shelf.receive("1.2", b"late")
        shelf.settle()
    slow.join()

    assert claimed == [0]
    (job,) = shelf.claim()
    assert [image.sop_instance_uid for image in job.inputs] == ["1.1", "1.2"]
