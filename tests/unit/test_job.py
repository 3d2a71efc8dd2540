"""The machines: what may happen to a job, a delivery and an answer."""

import pytest

from oculard.job import ANSWER, DELIVERY, JOB, DeliveryState, JobState, Machine, Order, backoff_s


@pytest.mark.parametrize("machine", [JOB, DELIVERY, ANSWER], ids=lambda machine: machine.name)
def test_every_state_can_reach_an_end(machine: Machine) -> None:
    """From wherever a row stands there is a way to an end: nothing can be stuck by design."""
    states = {state for state, _ in machine.moves} | set(machine.moves.values())
    for start in states:
        reached, frontier = {start}, {start}
        while frontier:
            frontier = {to for (state, _), to in machine.moves.items() if state in frontier} - reached
            reached |= frontier
        assert reached & machine.ends, f"{start} leads nowhere"


@pytest.mark.parametrize("machine", [JOB, DELIVERY, ANSWER], ids=lambda machine: machine.name)
def test_what_a_dead_holder_held_becomes_ready_again(machine: Machine) -> None:
    """The loss of a lease leads back to where a claim may take it."""
    assert machine.target(machine.held, machine.lost) == machine.ready


def test_an_answer_never_waits_for_a_commit() -> None:
    """Answers live as deliveries do, without the wait for the peer's promise."""
    assert DeliveryState.SENT not in {state for state, _ in ANSWER.moves} | set(ANSWER.moves.values())


def test_ends_are_ends_until_a_person_decides() -> None:
    """Reported and rejected jobs never move again; failed ones only by a person."""
    assert {state for state, _ in JOB.moves} & JOB.ends == {JobState.FAILED}


def test_backoff_grows_and_has_an_end() -> None:
    """2, 4, 8 seconds and so on, never more than the longest, however many attempts there were."""
    assert [backoff_s(n, longest_s=900) for n in (1, 2, 3, 20, 10_000)] == [2, 4, 8, 900, 900]


def test_an_order_without_images_is_refused() -> None:
    """A job that has nothing to look at cannot be ordered."""
    with pytest.raises(ValueError, match="no images"):
        Order(family="x", eye="R", estimator="x@1", window="now", priority=1, instance_ids=(), inputs_digest="")
