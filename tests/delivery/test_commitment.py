"""Storage commitment as we ask for it: answered at once, answered later, refused, denied, and not answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from outbox import Outbox, peer
from pydicom.dataset import Dataset

from oculard.delivery.commitment import take_answer
from oculard.delivery.part10 import parse_meta
from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.delivery.scu import COMMITMENT_CLASS
from oculard.intake.role import IntakeRole
from peers import free_port

Start = Callable[..., PracticePacs]
Listen = Callable[..., IntakeRole]
UNWILLING = Manners(refused_classes=frozenset({COMMITMENT_CLASS}))


def test_an_answer_on_the_same_association_delivers(outbox: Outbox, practice: Start):
    """A PACS that answers where it was asked is heard there."""
    pacs = practice(commitment="same")
    outbox.owe(3)

    outbox.sender(peer(pacs.port, commitment=True)).step()

    assert outbox.states() == ["delivered"] * 3
    assert pacs.commitments == 1


def test_an_answer_on_an_association_of_its_own_delivers(outbox: Outbox, practice: Start, listen: Listen):
    """A PACS that calls back is heard by intake, and the sender waits no longer than that."""
    with listen(peer(11112, commitment=True)) as role:
        pacs = practice(commitment="new", answers_to=("127.0.0.1", role.port))
        outbox.owe(2)

        outbox.sender(peer(pacs.port, commitment=True), commitment_wait_s=3600.0).step()

        assert outbox.states() == ["delivered"] * 2
        assert pacs.commitments == 1


def test_without_commitment_nobody_is_asked(outbox: Outbox, practice: Start):
    """A peer that is not configured for storage commitment is not asked for it."""
    pacs = practice()
    outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    assert outbox.states() == ["delivered"]
    assert pacs.commitments == 0


def test_the_transaction_is_durable_before_the_question(outbox: Outbox, practice: Start):
    """Whoever answers at once finds the transaction in the database."""
    pacs = practice(commitment="silent")
    outbox.owe()
    deliveries, seen = outbox.shelf.deliveries, []
    begin = deliveries.begin_commitment

    def watched(*args: Any, **values: Any) -> Any:
        asked = begin(*args, **values)
        seen.append((asked, pacs.commitments, outbox.rows()[0]["transaction_uid"]))
        return asked

    deliveries.begin_commitment = watched  # type: ignore[method-assign]  # looks at the moment between the two
    outbox.sender(peer(pacs.port, commitment=True), commitment_wait_s=0.0).step()

    ((asked, questions, transaction),) = seen
    assert (questions, transaction) == (0, asked.transaction_uid)
    assert pacs.commitments == 1


def test_silence_sends_again_and_the_third_raises_an_alarm(outbox: Outbox, practice: Start):
    """A silent PACS is asked once for each time that it takes the report, which keeps its UID."""
    pacs = practice(commitment="silent")
    (data,) = outbox.owe()
    sender, clock = outbox.sender(peer(pacs.port, commitment=True), commitment_wait_s=0.0), outbox.shelf.clock

    for times in (1, 2, 3):
        assert outbox.alarms() == set()
        assert sender.step()
        assert outbox.states() == ["sent"]
        assert not sender.step(), "it is not asked again while it may still answer"
        assert pacs.commitments == times
        clock.pass_(5 * 3600)
        outbox.shelf.deliveries.silent("pacs", since=clock.now() - timedelta(hours=4), retry_s=0.0)
        assert outbox.states() == ["pending"]

    assert outbox.alarms() == {("commitment-silent", "pacs")}
    assert pacs.received == [parse_meta(data).sop_instance_uid] * 3

    pacs.manners = Manners(commitment="same")
    outbox.sender(peer(pacs.port, commitment=True)).step()
    assert outbox.states() == ["delivered"]
    assert outbox.alarms() == set()


def test_a_pacs_that_refuses_commitment_is_asked_again_later(outbox: Outbox, practice: Start, tmp_path: Path):
    """A refusal raises an alarm and makes no hot loop; once the PACS is willing the alarm goes."""
    port = free_port()
    outbox.owe()
    sender, clock = outbox.sender(peer(port, commitment=True)), outbox.shelf.clock
    with PracticePacs(folder=tmp_path / "practice", port=port, manners=UNWILLING) as unwilling:
        assert sender.step()
        asked = unwilling.associations
        clock.pass_(1.9)
        assert not sender.step()
        assert unwilling.associations == asked
    assert (outbox.states(), outbox.rows()[0]["transaction_uid"]) == (["sent"], None)
    assert outbox.alarms() == {("commitment-refused", "pacs")}

    practice(port=port, commitment="same")
    clock.pass_(0.1)
    sender.step()

    assert outbox.states() == ["delivered"]
    assert outbox.alarms() == set()


def test_a_pacs_that_is_gone_is_asked_again_later(outbox: Outbox, practice: Start, tmp_path: Path):
    """A question that reached nobody is put again after a growing pause."""
    port = free_port()
    outbox.owe()
    sender, clock = outbox.sender(peer(port, commitment=True)), outbox.shelf.clock
    with PracticePacs(folder=tmp_path / "practice", port=port, manners=UNWILLING):
        sender.step()
    for pause_s in (2, 4):
        assert not sender.step()
        clock.pass_(pause_s)
        assert sender.step()
        assert outbox.states() == ["sent"]

    practice(port=port, commitment="same")
    clock.pass_(8)
    sender.step()

    assert outbox.states() == ["delivered"]


def test_what_a_pacs_does_not_promise_goes_again(outbox: Outbox, practice: Start):
    """A denied commitment sends the report again, later each time; the third time raises an alarm."""
    pacs = practice(commitment="same", denies=True)
    outbox.owe()
    sender, clock = outbox.sender(peer(pacs.port, commitment=True)), outbox.shelf.clock

    for pause_s in (2, 4, 8):
        assert sender.step()
        (row,) = outbox.rows()
        assert (row["state"], row["reason"]) == ("pending", "commitment-failed-0112")
        assert row["run_after"] == clock.now() + timedelta(seconds=pause_s)
        assert not sender.step()
        clock.pass_(pause_s)

    assert outbox.alarms() == {("commitment-failed", "pacs")}
    assert len(pacs.received) == 3


def test_an_answer_to_an_unknown_transaction_moves_nothing(outbox: Outbox):
    """A PACS may answer twice, or answer what was forgotten."""
    outbox.owe()
    information = Dataset()
    information.TransactionUID = "2.25.1"

    assert take_answer(information, outbox.shelf.deliveries, actor="pacs") == 0
    assert outbox.states() == ["pending"]
