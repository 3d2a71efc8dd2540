"""Reports of several objects on their way: a segmentation, a picture and a PDF, and the SR that refers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from companion_samples import MAKERS
from outbox import Outbox, peer
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from oculard.delivery import batch
from oculard.delivery.commitment import take_answer
from oculard.delivery.part10 import parse_meta
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import PeerAssociation
from oculard.intake.role import IntakeRole
from oculard.job import DeliveryEvent
from oculard.report.variant import VARIANTS, as_variant
from peers import Orthanc, StoreScp

Start = Callable[..., PracticePacs]
CLASSES = [SegmentationStorage, SecondaryCaptureImageStorage, EncapsulatedPDFStorage, Comprehensive3DSRStorage]


def uid(data: bytes) -> str:
    """A file's SOP Instance UID."""
    return parse_meta(data).sop_instance_uid


def uids(files: Sequence[bytes]) -> list[str]:
    """The SOP Instance UID of each file."""
    return [uid(data) for data in files]


def data_set(data: bytes) -> bytes:
    """A file without its meta information, which belongs to whoever wrote the file."""
    return data[parse_meta(data).offset :]


class Listener:
    """Takes what the sender logs."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.heard.append((event, fields))

    warning = info


def test_the_whole_report_travels_on_one_association(outbox: Outbox, practice: Start):
    """Companions go first and in their order, the SR last, each with every byte of its data set: one delivery."""
    pacs = practice()
    files = outbox.owe_whole()

    assert outbox.sender(peer(pacs.port)).step()

    assert (pacs.associations, pacs.received) == (1, uids(files))
    assert outbox.states() == ["delivered"]
    assert outbox.sent() == [(*one, None) for one in zip([*MAKERS, "sr"], CLASSES, uids(files), strict=True)]
    for data in files:
        arrived = pacs.path(uid(data)).read_bytes()
        assert data_set(arrived) == data_set(data)
        assert parse_meta(arrived).transfer_syntax_uid == parse_meta(data).transfer_syntax_uid
    assert parse_meta(files[1]).transfer_syntax_uid == RLELossless


def test_several_whole_reports_share_an_association(outbox: Outbox, practice: Start):
    """What belongs together arrives together: one report after the other, whatever they consist of."""
    pacs = practice()
    files = [*outbox.owe_whole(), *outbox.owe(), *outbox.owe_whole()]

    outbox.sender(peer(pacs.port)).step()

    assert (pacs.associations, pacs.received) == (1, uids(files))
    assert outbox.states() == ["delivered"] * 3


def test_storescp_gets_every_object(outbox: Outbox, storescp: StoreScp):
    """DCMTK writes four files whose data sets are ours, bit for bit."""
    files = outbox.owe_whole()

    outbox.sender(peer(storescp.port, ae_title=storescp.ae_title)).step()

    assert outbox.states() == ["delivered"]
    written = [path.read_bytes() for path in sorted(storescp.folder.iterdir())]
    assert {uid(data): data_set(data) for data in written} == {uid(data): data_set(data) for data in files}


def test_orthanc_keeps_and_commits_to_every_object(orthanc: Orthanc, outbox: Outbox, listen: Callable[..., IntakeRole]):
    """Orthanc files segmentation, picture, PDF and SR in one study and promises to keep all four."""
    us = peer(orthanc.port, ae_title=orthanc.ae_title, commitment=True)
    files = outbox.owe_whole()
    with listen(us) as role:
        orthanc.introduce("OCULARD", role.port)
        outbox.sender(us).step()

        assert outbox.states() == ["delivered"]
    kept = [orthanc.get(f"/instances/{one}")["MainDicomTags"]["SOPInstanceUID"] for one in orthanc.get("/instances")]
    assert sorted(kept) == sorted(uids(files))
    assert len(orthanc.get("/studies")) == 1
    assert all(row["committed_at"] for row in _traced(outbox)["sent"])


@pytest.mark.parametrize(
    ("refused", "missing"),
    [
        (CLASSES[:1], ["seg"]),
        (CLASSES[1:2], ["sc"]),
        (CLASSES[:3], ["seg", "sc", "pdf"]),
    ],
)
def test_the_report_goes_without_what_the_peer_does_not_accept(
    outbox: Outbox, practice: Start, monkeypatch: pytest.MonkeyPatch, refused: list[str], missing: list[str]
):
    """A PACS without a companion's class gets the rest; log, delivery, its event and trace say what was left out."""
    listener = Listener()
    monkeypatch.setattr(batch, "logger", listener)
    pacs = practice(refused_classes=frozenset(refused))
    files = dict(zip([*MAKERS, "sr"], outbox.owe_whole(), strict=True))

    outbox.sender(peer(pacs.port)).step()

    reason = f"companion-not-accepted-{'-'.join(missing)}"
    assert pacs.received == [uid(data) for role, data in files.items() if role not in missing]
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("delivered", reason)]
    assert outbox.alarms() == set(), "the PACS may well lack it"
    study = _traced(outbox)
    assert [event["reason"] for event in study["events"] if event["name"] == "done"][-1] == reason
    assert {one["role"]: one["reason"] for one in study["sent"]} == {
        role: "companion-not-accepted" if role in missing else None for role in files
    }
    said = [(fields["name"], fields["reason"]) for event, fields in listener.heard if event == "companion left out"]
    assert said == [(role, "companion-not-accepted") for role in missing]


def test_a_peer_without_any_sr_class_gets_nothing(outbox: Outbox, practice: Start):
    """Pictures without the report that explains them stay here: a person must look first."""
    pacs = practice(refused_classes=frozenset({Comprehensive3DSRStorage, *VARIANTS}))
    outbox.owe_whole()

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", "pacs-accepts-no-class")]
    assert (pacs.received, outbox.sent()) == ([], [])


def test_an_older_sr_class_comes_with_its_companions(outbox: Outbox, practice: Start):
    """The SR's fallback goes last, as the SR would, and is kept as what the peer took."""
    pacs = practice(refused_classes=frozenset({Comprehensive3DSRStorage}))
    *companions, report = outbox.owe_whole()

    outbox.sender(peer(pacs.port)).step()

    taken = as_variant(report, ComprehensiveSRStorage).sop_instance_uid
    assert pacs.received == [*uids(companions), taken]
    assert outbox.sent()[-1] == ("sr", ComprehensiveSRStorage, taken, None)
    assert outbox.shelf.trace.find(taken) == outbox.shelf.trace.find(uid(companions[0])) == [1]


def test_implicit_vr_keeps_every_pixel(outbox: Outbox, practice: Start):
    """A PACS that takes Implicit VR only gets the same segmentation, and not the picture, which is compressed."""
    pacs = practice(transfer_syntaxes=(ImplicitVRLittleEndian,))
    files = outbox.owe_whole()

    outbox.sender(peer(pacs.port)).step()

    arrived = pacs.path(uid(files[0])).read_bytes()
    assert parse_meta(arrived).transfer_syntax_uid == ImplicitVRLittleEndian
    assert dcmread(BytesIO(arrived)).PixelData == dcmread(BytesIO(files[0])).PixelData
    assert [(role, reason) for role, _, _, reason in outbox.sent() if reason] == [("sc", "companion-not-accepted")]
    assert not list(outbox.shelf.vault.spool.iterdir()), "what was rewritten for the PACS is deleted"


@pytest.mark.parametrize("taken_before", [1, 2, 3])
def test_an_association_that_breaks_half_way_sends_the_whole_again(outbox: Outbox, practice: Start, taken_before: int):
    """Whatever arrived before comes again under its UID: in the end the PACS has each object once."""
    pacs = practice(aborts_after=taken_before)
    files = outbox.owe_whole()
    sender = outbox.sender(peer(pacs.port))

    sender.step()
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", "association-lost")]
    assert outbox.sent() == []
    outbox.shelf.clock.pass_(2)
    sender.step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [*uids(files[:taken_before]), *uids(files)]
    assert pacs.uids() == set(uids(files))
    for data in files:
        assert data_set(pacs.path(uid(data)).read_bytes()) == data_set(data)


def test_a_busy_pacs_gets_the_whole_report_later(outbox: Outbox, practice: Start):
    """0xA700 for one object holds back what comes after it, the SR above all; then all goes, in order."""
    pacs = practice(statuses=(0xA700,))
    files = outbox.owe_whole()
    sender = outbox.sender(peer(pacs.port))

    sender.step()
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", "pacs-out-of-resources")]
    assert pacs.uids() == set()
    outbox.shelf.clock.pass_(2)
    sender.step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [uid(files[0]), *uids(files)]


def test_an_object_that_the_pacs_will_not_have_parks_the_report(
    outbox: Outbox, practice: Start, monkeypatch: pytest.MonkeyPatch
):
    """A permanent status for a companion makes a person look, and the log names the companion; others arrive."""
    listener = Listener()
    monkeypatch.setattr(batch, "logger", listener)
    pacs = practice(statuses=(0xC000,))
    outbox.owe_whole()
    (other,) = outbox.owe()

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [
        ("parked", "pacs-cannot-understand"),
        ("delivered", None),
    ]
    assert pacs.uids() == {uid(other)}
    assert [fields["name"] for event, fields in listener.heard if event == "report parked"] == ["seg"]


def test_a_large_report_keeps_its_lease(outbox: Outbox, practice: Start, monkeypatch: pytest.MonkeyPatch):
    """While its objects are on their way, one by one, the lease of their report is prolonged."""
    pacs = practice()
    outbox.owe_whole()
    sender, shelf = outbox.sender(peer(pacs.port), lease_s=120.0), outbox.shelf
    store = PeerAssociation.store

    def slowly(*args: Any) -> Any:
        shelf.clock.pass_(100)
        assert shelf.deliveries.queue.reap() == 0
        return store(*args)

    monkeypatch.setattr(PeerAssociation, "store", slowly)  # time passes with every object
    sender.step()

    assert outbox.states() == ["delivered"]


def test_a_damaged_companion_parks_the_whole_report(outbox: Outbox, practice: Start):
    """A segmentation that lost its digest is never sent, nor the SR that refers to it."""
    pacs = practice()
    outbox.owe_whole()
    (delivery,) = outbox.shelf.deliveries.claim("look", "pacs", lease_s=1, limit=1)
    path = outbox.shelf.vault.path(delivery.objects[0].path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    outbox.shelf.deliveries.queue.settle(delivery.ticket, DeliveryEvent.RETRY, attempts=0)

    outbox.sender(peer(pacs.port)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("parked", "report-damaged")]
    assert pacs.associations == 0


def test_commitment_is_asked_for_what_the_peer_took(outbox: Outbox, practice: Start):
    """What was left out is in no question; everything else is, and its promise delivers the report, reason and all."""
    pacs = practice(refused_classes=frozenset({SegmentationStorage}), commitment="silent")
    files = outbox.owe_whole()
    sender = outbox.sender(peer(pacs.port, commitment=True), commitment_wait_s=0.0)
    sender.step()
    transaction = outbox.rows()[0]["transaction_uid"]

    assert take_answer(_answer(transaction, uids(files[1:])), outbox.shelf.deliveries, actor="pacs") == 1

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("delivered", "companion-not-accepted-seg")]


def test_a_report_is_delivered_when_all_of_it_is_committed(outbox: Outbox, practice: Start):
    """A PACS that answers piece by piece is heard out; three promises of four deliver nothing."""
    pacs = practice(commitment="silent")
    files = outbox.owe_whole()
    outbox.sender(peer(pacs.port, commitment=True), commitment_wait_s=0.0).step()
    transaction = outbox.rows()[0]["transaction_uid"]

    for data in reversed(files):
        assert outbox.states() == ["sent"]
        take_answer(_answer(transaction, [uid(data)]), outbox.shelf.deliveries, actor="pacs")

    assert outbox.states() == ["delivered"]


def test_one_object_that_is_denied_sends_all_again(outbox: Outbox, practice: Start):
    """A PACS that lost the segmentation gets the whole report again, under the same UIDs, and promises all of it."""
    pacs = practice(commitment="same")
    files = outbox.owe_whole()
    deliveries = outbox.shelf.deliveries
    begin = deliveries.begin_commitment

    def after_a_loss(*args: Any, **values: Any) -> Any:
        asked = begin(*args, **values)
        if asked is not None and pacs.commitments == 0:
            assert [one for _, one in asked.items] == uids(files)
            pacs.path(uid(files[0])).unlink()
        return asked

    deliveries.begin_commitment = after_a_loss  # type: ignore[method-assign]  # the PACS loses it between the two
    sender = outbox.sender(peer(pacs.port, commitment=True))
    sender.step()
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", "commitment-failed-0112")]
    outbox.shelf.clock.pass_(2)
    sender.step()

    assert outbox.states() == ["delivered"]
    assert pacs.received == [*uids(files), *uids(files)]
    assert pacs.uids() == set(uids(files))


def test_a_peer_that_learns_a_class_gets_everything(outbox: Outbox, practice: Start):
    """What was left out once goes when the report is sent again to a peer that accepts it by then."""
    pacs = practice(refused_classes=frozenset({SegmentationStorage}), commitment="same", denies=True)
    files = outbox.owe_whole()
    outbox.sender(peer(pacs.port, commitment=True)).step()
    assert outbox.states() == ["pending"]
    pacs.stop()

    pacs.manners = replace(pacs.manners, refused_classes=frozenset(), denies=False)
    pacs.start()
    outbox.shelf.clock.pass_(2)
    outbox.sender(peer(pacs.port, commitment=True)).step()

    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("delivered", None)]
    assert [one for _, _, one, reason in outbox.sent() if reason is None] == uids(files)
    assert pacs.uids() == set(uids(files))


def _answer(transaction_uid: str, committed: Sequence[str]) -> Dataset:
    """A PACS's promise to keep these."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = []
    for one in committed:
        item = Dataset()
        item.ReferencedSOPInstanceUID = one
        information.ReferencedSOPSequence.append(item)
    return information


def _traced(outbox: Outbox) -> dict[str, Any]:
    (study_id,) = outbox.shelf.trace.find("A1")
    return outbox.shelf.trace.study(study_id)
