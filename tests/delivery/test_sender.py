"""The sender against a PACS that behaves, and against all the ways in which one does not."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from outbox import Outbox, peer, value
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from oculard.delivery.part10 import parse_meta
from oculard.delivery.practice_pacs import Manners, PracticePacs
from oculard.job import DeliveryEvent
from oculard.report.variant import as_variant
from oculard.store.vault import Vault
from peers import free_port
from shelf import Shelf

Start = Callable[..., PracticePacs]


class Gate(threading.Event):
    """Holds up whoever comes to it until it is set, and knows that somebody has come."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Stand before the gate."""
        self.reached.set()
        return super().wait(timeout)


def uid(data: bytes) -> str:
    """A file's SOP Instance UID."""
    return parse_meta(data).sop_instance_uid


def data_set(data: bytes) -> bytes:
    """A file without its meta information, which belongs to whoever wrote the file."""
    return data[parse_meta(data).offset :]


def test_a_report_arrives_as_it_is(outbox: Outbox, practice: Start):
    """A delivered report has every byte of the data set that the worker wrote."""
    pacs = practice()
    (data,) = outbox.owe()

    assert outbox.sender(peer(pacs.port)).step()

    assert data_set(pacs.path(uid(data)).read_bytes()) == data_set(data)
    (row,) = outbox.rows()
    assert row["state"] == "delivered"
    assert outbox.sent() == [("sr", Comprehensive3DSRStorage, uid(data), None)]


def test_nothing_to_do_says_so(outbox: Outbox, practice: Start):
    """Without a delivery nobody is called."""
    pacs = practice()

    assert not outbox.sender(peer(pacs.port)).step()

    assert pacs.associations == 0


def test_a_batch_travels_on_one_association(outbox: Outbox, practice: Start):
    """A hundred reports need one association."""
    pacs = practice()
    files = outbox.owe(100)

    outbox.sender(peer(pacs.port), batch=100).step()

    assert pacs.associations == 1
    assert pacs.uids() == {uid(data) for data in files}
    assert set(outbox.states()) == {"delivered"}


@pytest.mark.parametrize(
    ("refused", "taken"),
    [
        ({Comprehensive3DSRStorage}, ComprehensiveSRStorage),
        ({Comprehensive3DSRStorage, ComprehensiveSRStorage}, EnhancedSRStorage),
    ],
)
def test_an_older_class_is_used_where_the_newer_is_refused(
    outbox: Outbox, practice: Start, refused: set[str], taken: str
):
    """A PACS without Comprehensive 3D SR gets the same tree as the best class that it takes, in the same study."""
    pacs = practice(refused_classes=frozenset(refused))
    (data,) = outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    (row,) = outbox.rows()
    expected = as_variant(data, taken)
    arrived = pacs.path(expected.sop_instance_uid).read_bytes()
    assert row["state"] == "delivered"
    assert outbox.sent() == [("sr", taken, expected.sop_instance_uid, None)]
    assert data_set(arrived) == data_set(expected.data)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SpecificCharacterSet"):
        assert value(arrived, keyword) == value(data, keyword)
    assert not list(outbox.shelf.vault.spool.iterdir()), "what was rewritten for the PACS is deleted"


def test_implicit_vr_keeps_every_value(outbox: Outbox, practice: Start):
    """A PACS that takes Implicit VR only gets the same class and the same bytes of patient and study."""
    pacs = practice(transfer_syntaxes=(ImplicitVRLittleEndian,))
    (data,) = outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    arrived = pacs.path(uid(data)).read_bytes()
    assert parse_meta(arrived).transfer_syntax_uid == ImplicitVRLittleEndian
    assert parse_meta(arrived).sop_class_uid == Comprehensive3DSRStorage
    for keyword in ("PatientName", "StudyDescription", "SpecificCharacterSet", "PatientID"):
        assert value(arrived, keyword) == value(data, keyword)
    assert outbox.states() == ["delivered"]


def test_no_class_at_all_parks(outbox: Outbox, practice: Start):
    """A PACS that takes no SR class makes a person look, with the cause and what to change."""
    pacs = practice(refused_classes=frozenset({Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage}))
    outbox.owe(2)

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", "pacs-accepts-no-class")] * 2
    assert ("delivery-parked", "pacs") in outbox.alarms()


def test_a_pacs_that_is_down_gets_it_later(outbox: Outbox, practice: Start):
    """While the PACS is down a report waits with a growing pause; once it is up the report arrives."""
    port = free_port()
    (data,) = outbox.owe()
    sender, clock = outbox.sender(peer(port)), outbox.shelf.clock

    sender.step()
    (row,) = outbox.rows()
    assert (row["state"], row["reason"]) == ("pending", "pacs-connection-refused")
    assert row["run_after"] == clock.now() + timedelta(seconds=2)
    assert not sender.step(), "it is not called again before its time"
    clock.pass_(2)
    sender.step()
    assert outbox.rows()[0]["run_after"] == clock.now() + timedelta(seconds=4)

    pacs = practice(port=port)
    clock.pass_(4)
    sender.step()
    assert outbox.states() == ["delivered"]
    assert pacs.uids() == {uid(data)}


def test_a_pacs_that_is_down_for_long_raises_an_alarm(outbox: Outbox, practice: Start):
    """After many attempts an alarm stands for the peer; the first report that it takes clears the alarm."""
    port = free_port()
    outbox.owe()
    sender, clock = outbox.sender(peer(port)), outbox.shelf.clock
    for _ in range(10):
        assert ("delivery-delayed", "pacs") not in outbox.alarms()
        sender.step()
        clock.pass_(1000)
    assert ("delivery-delayed", "pacs") in outbox.alarms()

    practice(port=port)
    sender.step()

    assert outbox.alarms() == set()


def test_a_peer_that_is_down_costs_the_others_nothing(outbox: Outbox, practice: Start):
    """Another peer gets its reports in the same step, and the dead one is left alone for a while."""
    pacs = practice()
    outbox.owe(3, peers=("dead", "pacs"))
    sender = outbox.sender(peer(free_port(), name="dead"), peer(pacs.port), batch=1)

    sender.step()
    sender.step()
    sender.step()

    rows = outbox.rows()
    assert [row["state"] for row in rows if row["peer"] == "pacs"] == ["delivered"] * 3
    assert sum(row["attempts"] for row in rows if row["peer"] == "dead") == 1


def test_a_caller_that_the_pacs_does_not_know_is_parked(outbox: Outbox, practice: Start):
    """A PACS that refuses our AE title parks the report; once it knows us, a person's resend delivers it."""
    port = free_port()
    (data,) = outbox.owe()
    strict = PracticePacs(folder=outbox.shelf.vault.folder / "strict", port=port, manners=Manners(callers=("OTHER",)))
    with strict:
        outbox.sender(peer(port)).step()
    (row,) = outbox.rows()
    assert (row["state"], row["reason"]) == ("parked", "pacs-calling-ae-unknown")
    assert ("delivery-parked", "pacs") in outbox.alarms()

    pacs = practice(port=port, callers=("OCULARD",))
    assert outbox.shelf.deliveries.resend(peer="pacs", actor="somebody") == 1
    outbox.sender(peer(port)).step()

    assert outbox.states() == ["delivered"]
    assert pacs.uids() == {uid(data)}
    assert outbox.alarms() == set()


def test_a_wrong_called_ae_title_is_parked(outbox: Outbox, practice: Start):
    """A PACS that is called by another name than its own parks the report."""
    pacs = practice(ae_title="OTHER")
    outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", "pacs-called-ae-unknown")]


def test_a_busy_pacs_is_tried_again(outbox: Outbox, practice: Start):
    """0xA700 concerns one report: it waits, the others arrive."""
    pacs = practice(statuses=(0xA700,))
    files = outbox.owe(3)
    sender = outbox.sender(peer(pacs.port))

    sender.step()
    assert outbox.states() == ["pending", "delivered", "delivered"]
    assert outbox.rows()[0]["reason"] == "pacs-out-of-resources"
    outbox.shelf.clock.pass_(2)
    sender.step()

    assert outbox.states() == ["delivered"] * 3
    assert pacs.uids() == {uid(data) for data in files}


def test_a_pacs_that_is_busy_for_everything_rests(outbox: Outbox, practice: Start):
    """A PACS that takes nothing of a batch is left alone for a while, though more is waiting."""
    pacs = practice(statuses=(0xA700,) * 10)
    outbox.owe(4)
    sender = outbox.sender(peer(pacs.port), batch=2)

    assert sender.step()
    assert not sender.step()

    assert len(pacs.received) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [(0xA900, "pacs-class-mismatch"), (0xC123, "pacs-cannot-understand"), (0x0124, "pacs-not-authorised")],
)
def test_a_report_that_the_pacs_will_not_have_is_parked(outbox: Outbox, practice: Start, status: int, reason: str):
    """A permanent status concerns one report: it is parked, the others arrive."""
    pacs = practice(statuses=(status,))
    outbox.owe(2)

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", reason), ("delivered", None)]


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0111])
def test_a_warning_is_a_success(outbox: Outbox, practice: Start, status: int):
    """What the PACS kept with a warning is delivered and not sent again."""
    pacs = practice(statuses=(status,))
    outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    assert outbox.states() == ["delivered"]


def test_a_slow_pacs_is_waited_for(outbox: Outbox, practice: Start):
    """A PACS that takes its time gets its report once."""
    gate = Gate()
    pacs = practice(waits_for=gate)
    outbox.owe()
    sender = outbox.sender(peer(pacs.port))
    step = ThreadPoolExecutor().submit(sender.step)

    assert gate.reached.wait(30)
    assert outbox.states() == ["sending"]
    gate.set()
    assert step.result()

    assert outbox.states() == ["delivered"]
    assert len(pacs.received) == 1


def test_a_pacs_that_is_too_slow_is_tried_again(outbox: Outbox, practice: Start):
    """No answer in time ends the association; the report goes again under the same UID."""
    gate = threading.Event()
    pacs = practice(waits_for=gate)
    (data,) = outbox.owe()
    sender = outbox.sender(peer(pacs.port), answer_s=0.5)

    sender.step()
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", "pacs-no-answer")]
    gate.set()
    assert pacs.wait_for(lambda: len(pacs.received) == 1)
    outbox.shelf.clock.pass_(2)
    outbox.sender(peer(pacs.port)).step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [uid(data)] * 2


def test_what_was_sent_before_the_association_broke_stays_sent(outbox: Outbox, practice: Start):
    """An association that breaks in the middle concerns the rest only, and nothing arrives under another UID."""
    pacs = practice(aborts_after=2)
    files = outbox.owe(5)
    sender = outbox.sender(peer(pacs.port))

    sender.step()
    assert outbox.states() == ["delivered"] * 2 + ["pending"] * 3
    assert {row["reason"] for row in outbox.rows()[2:]} == {"association-lost"}
    outbox.shelf.clock.pass_(2)
    sender.step()
    assert outbox.states() == ["delivered"] * 2 + ["pending"] + ["delivered"] * 2
    sender.step()

    assert outbox.states() == ["delivered"] * 5
    assert sorted(pacs.received) == sorted(uid(data) for data in files)


def test_a_report_that_breaks_the_association_holds_up_no_other(outbox: Outbox, practice: Start):
    """What the PACS dies of goes again alone and later each time; what was not on the wire goes at once, untried."""
    files = outbox.owe(4)
    pacs = practice(aborts_at=frozenset({uid(files[0]), uid(files[2])}))
    sender, clock = outbox.sender(peer(pacs.port)), outbox.shelf.clock

    sender.step()
    assert [(row["attempts"], row["run_after"] - clock.now()) for row in outbox.rows()] == [
        (1, timedelta(seconds=2)),
        *[(0, timedelta())] * 3,
    ]
    assert not sender.step(), "the PACS rests"
    clock.pass_(2)
    outbox.owe()
    sender.step()
    assert outbox.states() == ["pending", "delivered", "pending", "pending", "pending"]
    clock.pass_(4)
    sender.step()

    assert outbox.states() == ["pending", "delivered", "pending", "delivered", "delivered"]
    for _ in range(40):
        clock.pass_(900)
        sender.step()
    assert [row["attempts"] for row in outbox.rows()] == [21, 1, 21, 1, 1], "each was tried alone, in turn"
    assert ("delivery-delayed", "pacs") in outbox.alarms()


def test_a_report_that_kills_its_sender_takes_no_other_along(outbox: Outbox, practice: Start):
    """A sender that dies in the middle leaves suspects: each goes alone, so the next death concerns the cause only."""
    pacs = practice()
    files = outbox.owe(3)
    deliveries = outbox.shelf.deliveries
    assert len(deliveries.claim("dead", "pacs", lease_s=60, limit=50)) == 3
    deliveries.queue.reap(dead_owner="dead")

    assert [one.report_id for one in deliveries.claim("dead", "pacs", lease_s=60, limit=50)] == [1]
    deliveries.queue.reap(dead_owner="dead")
    sender = outbox.sender(peer(pacs.port))
    sender.step()
    sender.step()

    assert outbox.states() == ["pending", "delivered", "delivered"]
    assert pacs.uids() == {uid(data) for data in files[1:]}


@pytest.mark.parametrize("answer", ["denied", "silence"])
def test_what_the_peer_took_is_no_suspect(outbox: Outbox, answer: str):
    """Reports that were taken and not committed to go again together: none of them broke anything."""
    outbox.owe(2)
    deliveries, clock = outbox.shelf.deliveries, outbox.shelf.clock
    for sent in deliveries.claim("s", "pacs", lease_s=60, limit=50):
        outbox.shelf.took(sent)
    asked = deliveries.begin_commitment("pacs", "2.25.1", limit=50)
    assert asked is not None
    clock.pass_(1)
    if answer == "denied":
        failed = [(item, 0x0112) for _, item in asked.items]
        deliveries.commitment_answered("2.25.1", committed=(), failed=failed, actor="pacs")
    else:
        deliveries.silent("pacs", since=clock.now(), retry_s=0.0)
    clock.pass_(1000)

    assert len(deliveries.claim("s", "pacs", lease_s=60, limit=50)) == 2


def test_an_alarm_stands_while_one_report_is_late(outbox: Outbox, practice: Start):
    """Other reports that arrive do not silence the alarm of the one that never does."""
    (poison,) = outbox.owe()
    pacs = practice(aborts_at=frozenset({uid(poison)}))
    sender, clock = outbox.sender(peer(pacs.port)), outbox.shelf.clock
    for _ in range(10):
        sender.step()
        clock.pass_(1000)
    outbox.owe()
    sender.step()

    assert outbox.states() == ["pending", "delivered"]
    assert ("delivery-delayed", "pacs") in outbox.alarms()


def test_many_reports_do_not_put_off_the_alarm(outbox: Outbox):
    """However the attempts are shared among what waits, a PACS that is down for a quarter of an hour is an alarm."""
    outbox.owe(40)
    sender, clock = outbox.sender(peer(free_port()), batch=2), outbox.shelf.clock
    began = clock.now()
    while ("delivery-delayed", "pacs") not in outbox.alarms():
        sender.step()
        clock.pass_(1)
        assert clock.now() - began < timedelta(minutes=16)

    assert max(row["attempts"] for row in outbox.rows()) < 10
    assert clock.now() - began > timedelta(minutes=10)


def test_what_a_renamed_peer_left_goes_to_the_new_one(outbox: Outbox, practice: Start):
    """A person's word moves what is parked; what the new peer has already is not sent twice."""
    pacs = practice()
    (first, _) = (*outbox.owe(peers=("old",)), *outbox.owe(peers=("old", "pacs")))
    deliveries = outbox.shelf.deliveries
    (sent,) = deliveries.claim("s", "old", lease_s=60, limit=1)
    outbox.shelf.took(sent)
    deliveries.begin_commitment("old", "2.25.1", limit=5)
    assert deliveries.orphans(["pacs"], actor="upkeep") == {"old": 2}

    assert deliveries.resend(peer="old", to="pacs", actor="person") == 1
    assert outbox.rows()[0] | {"peer": "pacs", "transaction_uid": None, "sent_at": None} == outbox.rows()[0]
    assert outbox.sent() == [], "the new peer has taken nothing yet"
    outbox.sender(peer(pacs.port)).step()

    assert [(row["peer"], row["state"]) for row in outbox.rows()] == [
        ("pacs", "delivered"),
        ("old", "parked"),
        ("pacs", "delivered"),
    ]
    assert uid(first) in pacs.uids()
    assert ("peer-unknown", "old") in outbox.alarms(), "one is left"


def test_the_alarm_of_an_unknown_peer_goes_with_the_last_report(outbox: Outbox):
    """When everything has been sent elsewhere nobody needs to look any more."""
    outbox.owe(peers=("old",))
    outbox.shelf.deliveries.orphans([], actor="upkeep")
    assert outbox.alarms() == {("peer-unknown", "old")}

    outbox.shelf.deliveries.resend(peer="old", to="pacs", actor="person")

    assert outbox.alarms() == set()


def test_a_lost_answer_sends_the_same_uid_again(outbox: Outbox, practice: Start):
    """When the PACS keeps a report and its answer is lost, the same report goes again: the PACS has one."""
    pacs = practice(loses_answers=1)
    (data,) = outbox.owe()
    sender = outbox.sender(peer(pacs.port))

    sender.step()
    assert outbox.states() == ["pending"]
    outbox.shelf.clock.pass_(2)
    sender.step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [uid(data)] * 2
    assert pacs.uids() == {uid(data)}


def test_a_damaged_report_is_never_sent(outbox: Outbox, practice: Start):
    """A file that lost its digest is parked with an alarm, and the others arrive."""
    pacs = practice()
    outbox.owe(2)
    _damage(outbox.shelf)

    outbox.sender(peer(pacs.port)).step()

    assert outbox.states() == ["parked", "delivered"]
    assert outbox.rows()[0]["reason"] == "report-damaged"
    assert {name for name, _ in outbox.alarms()} == {"delivery-parked", "report-damaged"}
    assert len(pacs.received) == 1


def test_a_report_whose_file_is_gone_is_parked(outbox: Outbox, practice: Start):
    """A missing file makes a person look; nobody is called for it."""
    pacs = practice()
    outbox.owe()
    next((outbox.shelf.vault.folder / "reports").rglob("*.dcm")).unlink()

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", "report-damaged")]
    assert pacs.associations == 0


@pytest.mark.parametrize(
    ("number", "call", "reason"),
    [
        (errno.ENOSPC, "write_bytes", "disk-full"),
        (errno.EROFS, "write_bytes", "vault-unwritable"),
        (errno.EIO, "read_bytes", "vault-unreadable"),
    ],
)
def test_a_vault_that_fails_sends_the_report_later(
    outbox: Outbox, practice: Start, monkeypatch: pytest.MonkeyPatch, number: int, call: str, reason: str
):
    """What cannot be read, or rewritten for the PACS, is tried again and says which it was."""
    pacs = practice(refused_classes=frozenset({Comprehensive3DSRStorage}))
    outbox.owe()

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, fail)
        outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", reason)]


def test_a_lost_lease_is_somebody_elses_report(outbox: Outbox, practice: Start):
    """A sender whose lease ended while it sent settles nothing; the next holder sends the same UID."""
    gate = Gate()
    pacs = practice(waits_for=gate)
    (data,) = outbox.owe()
    slow, clock = outbox.sender(peer(pacs.port), owner="slow"), outbox.shelf.clock
    step = ThreadPoolExecutor().submit(slow.step)

    assert gate.reached.wait(30)  # the report is on its way: nothing renews its lease any more
    clock.pass_(1000)
    assert outbox.shelf.deliveries.queue.reap() == 1
    gate.set()
    assert step.result()
    assert outbox.states() == ["pending"]
    outbox.sender(peer(pacs.port), owner="next").step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [uid(data)] * 2


def test_a_long_batch_keeps_its_leases(outbox: Outbox, practice: Start):
    """While a batch is on its way the leases of what is still to be sent are prolonged."""
    pacs = practice()
    outbox.owe(3)
    sender, shelf = outbox.sender(peer(pacs.port), lease_s=120.0), outbox.shelf
    took = shelf.deliveries.took

    def slowly(*args: object, **values: object) -> None:
        took(*args, **values)  # type: ignore[arg-type]  # handed through
        shelf.clock.pass_(100)
        assert shelf.deliveries.queue.reap() == 0

    shelf.deliveries.took = slowly  # type: ignore[method-assign]  # time passes between two reports
    sender.step()

    assert outbox.states() == ["delivered"] * 3


def test_explicit_vr_is_preferred(outbox: Outbox, practice: Start):
    """Where the PACS takes both, the report goes as it is."""
    pacs = practice()
    (data,) = outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    assert parse_meta(pacs.path(uid(data)).read_bytes()).transfer_syntax_uid == ExplicitVRLittleEndian


def _damage(shelf: Shelf) -> None:
    """Change one byte of the first report's file."""
    (first, *_) = shelf.deliveries.claim("look", "pacs", lease_s=1, limit=1)
    path = Vault(shelf.vault.folder).path(first.objects[-1].path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    shelf.deliveries.queue.settle(first.ticket, DeliveryEvent.RETRY, attempts=0)
