"""C-STORE: what is taken, what is refused, and what is on disk afterwards."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from devices import (
    OPHTHALMIC_8_BIT,
    Device,
    Site,
    data_set_of,
    encode,
    fragments,
    peer_program,
    photograph,
    sha256,
    store,
)
from oculard import IMPLEMENTATION_CLASS_UID
from oculard.intake.contexts import TRANSFER_SYNTAXES
from oculard.intake.folder import read_layout
from oculard.store.spool import Spooler

PRIVATE_CLASS = "1.3.6.1.4.1.99999.1.2"
NEWER_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.5.99"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
BASIC_GRAYSCALE_PRINT = "1.2.840.10008.5.1.1.9"


def in_syntax(syntax: str) -> tuple[Dataset, bytes]:
    """A photograph and its bytes in any transfer syntax; the pixels are not what they say, and nobody looks."""
    ds = photograph()
    uid = UID(syntax)
    if uid.is_encapsulated:
        ds.PixelData = encapsulate([b"\xff\xd8" + bytes(100) + b"\xff\xd9"])
        ds["PixelData"].is_undefined_length = True
    if uid == DeflatedExplicitVRLittleEndian:
        import zlib

        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return ds, deflate.compress(encode(ds)) + deflate.flush()
    return ds, encode(ds, uid if not uid.is_encapsulated else ExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_every_transfer_syntax_is_stored_bit_for_bit(site: Site, device: Device, syntax: str) -> None:
    """The data set's bytes are kept as they came, in a file whose meta information tells the truth."""
    ds, data = in_syntax(syntax)

    status = device.send(data, sop_instance=ds.SOPInstanceUID, transfer_syntax=syntax)

    assert status.Status == 0x0000
    [row] = site.rows()
    assert site.stored_data_set(row) == data
    assert row["sha256"] == sha256(data)
    assert row["transfer_syntax_uid"] == syntax
    meta = dcmread(site.vault.path(row["path"]), stop_before_pixels=True).file_meta
    assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, ds.SOPInstanceUID)
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert site.vault.path(row["path"]).stat().st_mode & 0o777 == 0o600


def test_lossless_is_preferred_whatever_the_device_lists_first(site: Site, device: Device) -> None:
    """A device that offers both is never made to compress lossily for us."""
    offered = ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2"]

    with device.association((OPHTHALMIC_8_BIT, offered), (PRIVATE_CLASS, offered[:3])) as association:
        accepted = {
            str(context.abstract_syntax): context.transfer_syntax[0] for context in association.accepted_contexts
        }

    assert accepted == {OPHTHALMIC_8_BIT: ImplicitVRLittleEndian, PRIVATE_CLASS: "1.2.840.10008.1.2.5"}


def test_every_storage_class_is_accepted_and_nothing_else(site: Site, device: Device) -> None:
    """Private and newer storage classes are kept too; queries, worklists and print are refused one by one."""
    asked = (OPHTHALMIC_8_BIT, PRIVATE_CLASS, NEWER_CLASS, STUDY_ROOT_FIND, MODALITY_WORKLIST, BASIC_GRAYSCALE_PRINT)

    with device.association(*((uid, [ExplicitVRLittleEndian]) for uid in asked)) as association:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}

    assert accepted == {OPHTHALMIC_8_BIT, PRIVATE_CLASS, NEWER_CLASS}


def test_a_private_storage_class_is_stored(site: Site, device: Device) -> None:
    """What nobody but its device knows is kept as well."""
    ds = photograph(SOPClassUID=PRIVATE_CLASS)

    assert device.send_dataset(ds).Status == 0x0000
    assert [row["sop_class_uid"] for row in site.rows()] == [PRIVATE_CLASS]


def test_the_same_bytes_three_times_are_one_instance(site: Site, device: Device) -> None:
    """Sending again is answered success and adds nothing."""
    ds = photograph()

    assert [device.send_dataset(ds).Status for _ in range(3)] == [0, 0, 0]
    assert len(site.rows()) == 1
    site.wait_idle()
    assert site.spooled() == []


def test_other_bytes_under_the_same_uid_are_both_kept(site: Site, device: Device) -> None:
    """A differing duplicate is stored beside the first, and an alarm stands."""
    ds = photograph()
    first = encode(ds)
    ds.ImageComments = "edited"

    device.send(first, sop_instance=ds.SOPInstanceUID)
    device.send_dataset(ds)

    assert [site.stored_data_set(row) for row in site.rows()] == [first, encode(ds)]
    assert [alarm.name for alarm in site.shelf.alarms.standing()] == ["differing-duplicate"]


def test_many_senders_of_one_instance_make_one_row(site: Site) -> None:
    """Two at a time or eight: one instance."""
    ds, statuses = photograph(), list[int]()
    senders = [threading.Thread(target=lambda: statuses.append(Device(site).send_dataset(ds).Status)) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()

    assert statuses == [0] * 8
    assert len(site.rows()) == 1
    site.wait_idle()
    assert site.spooled() == []


def sequences(depth: int) -> bytes:
    """A data set with so many sequences of undefined length inside each other."""
    begin = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return begin * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth


def cases() -> dict[str, tuple[bytes, int]]:
    """Broken data sets, and the status each is refused with."""
    whole = encode(photograph(SOPInstanceUID="1.2.3"))
    head = encode(photograph(SOPInstanceUID="1.2.3", PixelData=None))
    packed = encode(photograph(SOPInstanceUID="1.2.3", PixelData=None)) + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    return {
        "empty": (b"", 0xC000),
        "cut in the pixel data": (whole[:-1], 0xC000),
        "cut in the header": (whole[:77], 0xC000),
        "cut between tag and length": (head + b"\x28\x00\x10", 0xC000),
        "no delimiter": (packed + b"\xfe\xff\x00\xe0\x04\0\0\0abcd", 0xC000),
        "cut in a fragment": (packed + b"\xfe\xff\x00\xe0\x04\0\0\0ab", 0xC000),
        "no item in a sequence": (packed + b"\x28\x00\x10\x00US\x02\0ab", 0xC000),
        "text": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 10, 0xC000),
        "zeros": (bytes(4096), 0xC000),
        "nested too deep": (head + sequences(100), 0xC000),
        "no study": (encode(photograph(SOPInstanceUID="1.2.3", StudyInstanceUID=None)), 0xC000),
        "empty study": (encode(photograph(SOPInstanceUID="1.2.3", StudyInstanceUID="")), 0xC000),
        "no instance": (encode(photograph(SOPInstanceUID=None)), 0xC000),
        "another instance": (encode(photograph(SOPInstanceUID="1.2.4")), 0xA900),
        "another class": (encode(photograph(SOPInstanceUID="1.2.3", SOPClassUID=PRIVATE_CLASS)), 0xA900),
    }


@pytest.mark.parametrize("case", cases())
def test_a_broken_data_set_is_refused_and_leaves_nothing(site: Site, device: Device, case: str) -> None:
    """The device is told why and keeps its image; the next one is taken."""
    data, expected = cases()[case]

    status = device.send(data, sop_instance="1.2.3")

    assert status.Status == expected
    assert status.ErrorComment
    assert site.rows() == []
    assert device.send_dataset(photograph()).Status == 0x0000
    site.wait_idle()
    assert site.spooled() == []


@pytest.mark.parametrize(
    "uid", ["../../x", "/etc/passwd", "1.2.3/../4", "1..2", "1.2.", "x" * 64, "1." * 40 + "1", "", None]
)
def test_an_absurd_uid_never_names_a_file(site: Site, device: Device, uid: str | None, tmp_path: Path) -> None:
    """An announced UID that is none is refused, or ends its own association; nothing is written anywhere."""
    before = sorted(path for path in tmp_path.rglob("*") if "oculard.db" not in path.name)

    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        status = store(association, encode(photograph()), sop_instance=uid)

    assert status.get("Status", 0x0117) == 0x0117
    assert device.send_dataset(photograph(SOPInstanceUID="1.2.3")).Status == 0x0000
    site.wait_idle()
    after = {path for path in tmp_path.rglob("*") if "oculard.db" not in path.name} - set(before)
    assert {path.suffix for path in after if path.is_file()} == {".dcm"}
    assert len([path for path in after if path.is_file()]) == 1


def test_a_request_without_a_data_set_is_refused(site: Site, device: Device) -> None:
    """A C-STORE that announces no data set is answered, not left waiting."""
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        status = store(association, None, sop_instance="1.2.3")

    assert status.Status == 0xC000


def test_an_instance_of_another_class_than_negotiated_is_refused(site: Site, device: Device) -> None:
    """The presentation context is for one class."""
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        status = store(association, encode(photograph()), sop_instance="1.2.3", sop_class=PRIVATE_CLASS)

    assert status.Status == 0x0122


def test_a_verification_context_stores_nothing(site: Site, device: Device) -> None:
    """A data set on a context that is no storage context is refused."""
    verification = "1.2.840.10008.1.1"
    with device.association((verification, [ExplicitVRLittleEndian])) as association:
        status = store(association, encode(photograph()), sop_instance="1.2.3", sop_class=verification)

    assert status.Status == 0x0122
    assert site.rows() == []


def test_a_deflated_bomb_costs_little_and_is_refused(make_site: Callable[..., Site]) -> None:
    """What inflates to more than an instance may have is refused before it fills the memory."""
    import zlib

    site = make_site(store={"instance_max_gib": 0.01})
    ds = photograph(PixelData=bytes(64 << 20))
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    data = deflate.compress(encode(ds)) + deflate.flush()

    status = Device(site).send(data, sop_instance=ds.SOPInstanceUID, transfer_syntax=DeflatedExplicitVRLittleEndian)

    assert (status.Status, len(data) < 1 << 20) == (0xC000, True)


def test_a_header_larger_than_its_limit_is_refused(site: Site, device: Device) -> None:
    """Functional groups of absurd size are not parsed."""
    ds, item = photograph(), Dataset()
    item.add_new(0x00420011, "OB", bytes(33 << 20))
    ds.PerFrameFunctionalGroupsSequence = Sequence([item])

    assert device.send_dataset(ds).Status == 0xC000


def test_a_large_private_value_is_skipped(site: Site, device: Device) -> None:
    """Raw data of any size in front of the pixel data costs no memory and is kept, under its digest."""
    ds = photograph()
    block = ds.private_block(0x0009, "RAW", create=True)
    block.add_new(0x01, "OB", random.Random(1).randbytes(40 << 20))

    assert device.send_dataset(ds).Status == 0x0000
    [row] = site.rows()
    assert site.stored_data_set(row) == encode(ds)
    assert row["sha256"] == sha256(encode(ds))


def test_an_abort_in_the_middle_leaves_no_spool_file(site: Site, device: Device) -> None:
    """Half a data set is nobody's custody."""
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        begin_store(association, b"\0" * 100_000)
        site.wait_until(lambda: len(site.spooled()) == 1)
        association.abort()

    site.wait_idle()
    assert site.spooled() == []
    assert site.rows() == []


def test_a_device_that_vanishes_leaves_no_spool_file(site: Site, device: Device) -> None:
    """A cut cable in the middle of a data set is an abort."""
    import socket

    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        begin_store(association, b"\0" * 100_000)
        site.wait_until(lambda: len(site.spooled()) == 1)
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        site.wait_idle()

    assert site.spooled() == []


def test_a_spool_that_is_opened_too_late_leaves_no_file(
    site: Site, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share may hang while its room is asked for, until the association has been ended."""
    opened, room = [], Spooler._check_room

    def hangs_until_the_end(spooler: Spooler) -> None:
        [association] = site.server._services.floor.here()
        association._receiver.discard()  # as the association's end does
        opened.append(association)
        room(spooler)

    monkeypatch.setattr(Spooler, "_check_room", hangs_until_the_end)
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        begin_store(association, b"\0" * 100_000)
        site.wait_until(lambda: bool(opened))
        site.wait_until(lambda: opened[0]._receiver._spools == set() and not site.spooled())
        association.abort()
    site.wait_idle()


def begin_store(association: Any, data: bytes) -> None:
    """Send a C-STORE command and a part of its data set."""
    for part in fragments(association, data, sop_instance="1.2.3")[:-1]:
        association.dul.send_pdu(part)


def test_every_whole_real_file_is_stored_bit_for_bit(make_site: Callable[..., Site], data: Path) -> None:
    """Awkward files of many makers: whole ones are taken as they are, broken ones refused, and the server lives on."""
    site = make_site()
    device = Device(site)
    refused, taken = {}, 0
    for path in sorted((data / "dicom").rglob("*.dcm")):
        content = path.read_bytes()
        meta = dcmread(path, force=True, stop_before_pixels=True).file_meta
        names = meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID")
        if content[128:132] != b"DICM" or meta.get("TransferSyntaxUID") not in TRANSFER_SYNTAXES or not all(names):
            continue
        with path.open("rb") as file:
            sent = content[read_layout(file).begins_at :]
        sop_class, sop_instance = (str(name) for name in names)
        status = device.send(
            sent, sop_class=sop_class, sop_instance=sop_instance, transfer_syntax=str(meta.TransferSyntaxUID)
        )
        if status.Status:
            refused[path.name] = status.Status
            continue
        taken += 1
        row = next(row for row in site.rows() if row["sha256"] == sha256(sent))
        assert site.stored_data_set(row) == sent

    assert taken > 40
    assert {"MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"} <= set(refused)
    assert set(refused.values()) <= {0xC000, 0xA900, 0x0117}
    assert device.send_dataset(photograph()).Status == 0x0000


@pytest.mark.parametrize("option", ["-xe", "-xi", "-xb"])
def test_dcmtk_stores(site: Site, tmp_path: Path, option: str) -> None:
    """DCMTK's storescu sends in each uncompressed syntax."""
    storescu = peer_program("storescu")
    ds, path = photograph(), tmp_path / "photograph.dcm"
    ds.file_meta = Dataset()  # type: ignore[assignment]
    from pydicom.dataset import FileMetaDataset

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)

    command = [storescu, option, "-aet", "DEVICE", "-aec", "OCULARD", "127.0.0.1", str(site.port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    [row] = site.rows()
    assert row["sop_instance_uid"] == ds.SOPInstanceUID


def test_dcmtk_echoes(site: Site) -> None:
    """DCMTK's echoscu is answered when it is a sender, and refused when it is not."""
    echoscu = peer_program("echoscu")
    for title, ends in (("DEVICE", 0), ("NOBODY", 1)):
        command = [echoscu, "-aet", title, "-aec", "OCULARD", "127.0.0.1", str(site.port)]
        assert bool(subprocess.run(command, capture_output=True, timeout=60).returncode) == bool(ends)


def test_uid_of_a_stored_file_is_never_its_name(site: Site, device: Device) -> None:
    """Files are named by their digest."""
    ds = photograph(SOPInstanceUID=generate_uid())
    device.send_dataset(ds)

    [row] = site.rows()
    assert Path(row["path"]).stem == sha256(data_set_of(site.vault.path(row["path"]).read_bytes()))
