"""Any file sent as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from outbox import japanese_report
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    OphthalmicPhotography8BitImageStorage,
    UID_dictionary,
)

from oculard.delivery.files import send_files
from oculard.delivery.part10 import parse_meta
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import Target
from peers import StoreScp, free_port
from report.report_samples import part10, photograph

Start = Callable[..., PracticePacs]


def target(port: int, ae_title: str = "PRACTICE") -> Target:
    """A peer on loopback."""
    return Target(name="pacs", host="127.0.0.1", port=port, called_ae=ae_title, calling_ae="OCULARD")


def pretending(data: bytes, syntax: str) -> bytes:
    """A file that says it has another transfer syntax, so that nobody can decode its data set."""
    old, new = str(ExplicitVRLittleEndian).encode() + b"\0", syntax.encode()
    meta = parse_meta(data)
    head, body = data[: meta.offset], data[meta.offset :]
    at = head.index(b"\x02\0\x10\0UI") + 6
    padded = new + b"\0" * (len(new) % 2)
    length = int.from_bytes(head[140:144], "little") - len(old) + len(padded)
    head = head[:140] + length.to_bytes(4, "little") + head[144:]
    return head[:at] + len(padded).to_bytes(2, "little") + padded + head[at + 2 + len(old) :] + body


def write(folder: Path, **files: bytes) -> list[Path]:
    """Files in a folder."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return sorted(folder.iterdir())


def data_set(data: bytes) -> bytes:
    """A file without its meta information."""
    return data[parse_meta(data).offset :]


def test_files_travel_bit_for_bit(practice: Start, tmp_path: Path):
    """Images and reports of any transfer syntax arrive on one association with every byte of their data sets."""
    pacs = practice()
    files = {
        "plain": part10(photograph(1)),
        "implicit": part10(photograph(2), syntax=ImplicitVRLittleEndian),
        "jpeg": pretending(part10(photograph(3)), JPEGBaseline8Bit),
        "jpeg2000": pretending(part10(photograph(4)), JPEG2000Lossless),
        "report": japanese_report(),
    }

    sent = list(send_files(target(pacs.port), write(tmp_path / "files", **files)))

    assert [one.reason for one in sent] == ["stored"] * 5
    assert pacs.associations == 1
    for data in files.values():
        meta = parse_meta(data)
        arrived = pacs.path(meta.sop_instance_uid).read_bytes()
        assert data_set(arrived) == data_set(data)
        assert parse_meta(arrived).transfer_syntax_uid == meta.transfer_syntax_uid


def test_a_folder_may_hold_other_files(practice: Start, tmp_path: Path):
    """What is no DICOM file is named as such, and the rest arrives."""
    pacs = practice()
    paths = write(tmp_path / "files", a=b"a letter", b=part10(photograph()), c=b"")

    sent = {one.path.name: one for one in send_files(target(pacs.port), [*paths, tmp_path / "missing"])}

    assert {name: one.reason for name, one in sent.items()} == {
        "a": "not-part10",
        "b": "stored",
        "c": "not-part10",
        "missing": "file-unreadable",
    }


def test_a_refused_class_concerns_its_own_files(practice: Start, tmp_path: Path):
    """A file of a class that the peer refuses is named, and the rest arrives."""
    pacs = practice(refused_classes=frozenset({OphthalmicPhotography8BitImageStorage}))
    paths = write(tmp_path / "files", image=part10(photograph()), report=japanese_report())

    sent = {one.path.name: one for one in send_files(target(pacs.port), paths)}

    assert (sent["image"].is_taken, sent["image"].reason) == (False, "pacs-accepts-no-class")
    assert sent["report"].is_taken


def test_a_lost_association_is_the_fate_of_the_rest(practice: Start, tmp_path: Path):
    """Each file has one fate, also when the association ends in the middle."""
    pacs = practice(aborts_after=1)
    paths = write(tmp_path / "files", **{f"f{n}": part10(photograph(n)) for n in range(1, 4)})

    sent = list(send_files(target(pacs.port), paths))

    assert [one.reason for one in sent] == ["stored", "association-lost", "association-lost"]


def test_a_peer_that_is_down_is_the_fate_of_all(tmp_path: Path):
    """Without an association every file is named with the reason."""
    paths = write(tmp_path / "files", a=part10(photograph(1)), b=part10(photograph(2)))

    sent = list(send_files(target(free_port()), paths))

    assert [one.reason for one in sent] == ["pacs-connection-refused"] * 2
    assert all(one.hint for one in sent)


def test_more_contexts_than_an_association_holds(practice: Start, tmp_path: Path):
    """Files of more than 128 kinds travel on two associations."""
    pacs = practice()
    classes = [uid for uid, (_, kind, _, retired, _) in UID_dictionary.items() if kind == "SOP Class" and not retired]
    storage = [uid for uid in classes if uid.startswith("1.2.840.10008.5.1.4.1.1.")][:140]
    files = {}
    for number, uid in enumerate(storage):
        files[f"f{number:03}"] = part10(photograph(number + 1, SOPClassUID=uid))

    sent = list(send_files(target(pacs.port), write(tmp_path / "files", **files)))

    assert len(sent) == len(storage) == 140
    assert pacs.associations == 2
    assert all(one.is_taken or one.reason == "pacs-accepts-no-class" for one in sent)
    assert sum(one.is_taken for one in sent) > 128


def test_dcmtk_gets_the_same_bytes(storescp: StoreScp, tmp_path: Path):
    """DCMTK's storescp writes what the file had."""
    files = {"image": part10(photograph()), "report": japanese_report()}

    sent = list(send_files(target(storescp.port, storescp.ae_title), write(tmp_path / "files", **files)))

    assert [one.reason for one in sent] == ["stored"] * 2
    arrived = {data_set(path.read_bytes()) for path in storescp.folder.iterdir()}
    assert arrived == {data_set(data) for data in files.values()}
