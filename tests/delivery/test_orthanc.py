"""Reports at Orthanc: the study they belong to, the bytes of the patient, commitment, queries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from outbox import Outbox, japanese_report, peer, value
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from pynetdicom import AE

from oculard.delivery.echo import probe
from oculard.delivery.files import send_files
from oculard.delivery.part10 import parse_meta
from oculard.delivery.scu import Target
from oculard.intake.role import IntakeRole
from peers import Orthanc
from report.report_samples import STUDY, part10, photograph

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def uid(data: bytes) -> str:
    """A file's SOP Instance UID."""
    return parse_meta(data).sop_instance_uid


def target(orthanc: Orthanc) -> Target:
    """Orthanc, called by us."""
    return Target(name="pacs", host="127.0.0.1", port=orthanc.port, called_ae=orthanc.ae_title, calling_ae="OCULARD")


def test_a_report_stands_in_the_study_of_its_image(orthanc: Orthanc, outbox: Outbox, tmp_path: Path):
    """Orthanc files the report under the image's patient and study, with the patient's bytes untouched."""
    image = part10(
        photograph(),
        {"SpecificCharacterSet": rb"\ISO 2022 IR 87", "PatientName": value(japanese_report(), "PatientName")},
    )
    (tmp_path / "image.dcm").write_bytes(image)
    assert [one.reason for one in send_files(target(orthanc), [tmp_path / "image.dcm"])] == ["stored"]
    (data,) = outbox.owe()

    outbox.sender(peer(orthanc.port, ae_title=orthanc.ae_title)).step()

    assert outbox.states() == ["delivered"]
    assert (len(orthanc.get("/patients")), len(orthanc.get("/studies")), len(orthanc.get("/series"))) == (1, 1, 2)
    arrived = orthanc.file(uid(data)) or b""
    assert arrived[parse_meta(arrived).offset :] == data[parse_meta(data).offset :]
    for keyword in ("PatientName", "StudyDescription", "SpecificCharacterSet", "PatientID", "StudyInstanceUID"):
        assert value(arrived, keyword) == value(data, keyword)


def test_orthanc_commits_on_an_association_of_its_own(
    orthanc: Orthanc, outbox: Outbox, listen: Callable[..., IntakeRole]
):
    """Orthanc calls back with its storage commitment, and the reports are delivered."""
    us = peer(orthanc.port, ae_title=orthanc.ae_title, commitment=True)
    outbox.owe(2)
    with listen(us) as role:
        orthanc.introduce("OCULARD", role.port)

        outbox.sender(us).step()

        assert outbox.states() == ["delivered"] * 2


def test_orthanc_denies_what_it_lost(orthanc: Orthanc, outbox: Outbox, listen: Callable[..., IntakeRole]):
    """A report that Orthanc no longer has is denied, and goes again under the same UID."""
    us = peer(orthanc.port, ae_title=orthanc.ae_title, commitment=True)
    (data,) = outbox.owe()
    deliveries, clock = outbox.shelf.deliveries, outbox.shelf.clock
    begin = deliveries.begin_commitment

    def after_a_loss(*args: object, **values: object) -> object:
        asked = begin(*args, **values)  # type: ignore[arg-type]  # handed through
        if asked is not None and not lost:
            lost.extend(orthanc.get("/instances"))
            orthanc.delete(f"/instances/{lost[0]}")
        return asked

    lost: list[str] = []
    deliveries.begin_commitment = after_a_loss  # type: ignore[method-assign]  # Orthanc loses it between the two
    with listen(us) as role:
        orthanc.introduce("OCULARD", role.port)
        sender = outbox.sender(us)
        sender.step()
        (row,) = outbox.rows()
        assert (row["state"], row["reason"]) == ("pending", "commitment-failed-0112")
        clock.pass_(2)
        sender.step()

    assert outbox.states() == ["delivered"]
    assert orthanc.file(uid(data)) is not None


def test_a_query_finds_what_was_sent(orthanc: Orthanc, outbox: Outbox):
    """A hundred reports on one association are all found by C-FIND."""
    files = outbox.owe(100)

    outbox.sender(peer(orthanc.port, ae_title=orthanc.ae_title), batch=100).step()

    assert set(outbox.states()) == {"delivered"}
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "IMAGE", STUDY
    query.SeriesInstanceUID = query.SOPInstanceUID = ""
    assert _found(orthanc, query) == {uid(data) for data in files}


def test_orthanc_is_probed(orthanc: Orthanc):
    """A probe says what Orthanc takes and how soon it answers."""
    probed = probe(target(orthanc))

    assert probed.is_fine
    assert probed.commitment
    assert probed.reports[0][0] == Comprehensive3DSRStorage
    assert probed.echo_s is not None


def test_orthanc_under_another_name_says_so(orthanc: Orthanc):
    """A wrong called AE title is named, with the setting to change."""
    wrong = Target(name="pacs", host="127.0.0.1", port=orthanc.port, called_ae="WRONG", calling_ae="OCULARD")

    probed = probe(wrong)

    assert probed.reason == "pacs-called-ae-unknown"
    assert "ae_title in [[peers]]" in probed.hint


def _found(orthanc: Orthanc, query: Dataset) -> set[str]:
    ae = AE("OCULARD")
    ae.add_requested_context(STUDY_ROOT_FIND)
    association = ae.associate("127.0.0.1", orthanc.port, ae_title=orthanc.ae_title)
    answers = association.send_c_find(query, STUDY_ROOT_FIND)
    found = {str(identifier.SOPInstanceUID) for status, identifier in answers if status.Status == 0xFF00}
    association.release()
    return found
