"""Every shortcut of intake has a slow twin in pydicom or pynetdicom: whatever comes, the two agree."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from test_intake_store import cases, in_syntax

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, photograph
from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.errors import Rejected
from oculard.intake.association import IntakeAssociation
from oculard.intake.codec import read_store, write_store_response
from oculard.intake.custody import facts_of
from oculard.intake.header import BadDataSet, _Plain, _Walk
from oculard.intake.stride import HEAD_BYTES, stride
from oculard.store.spool import PREAMBLE, file_head

uids = st.lists(st.integers(0, 10**9), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def command_of(message_id: int, sop_class: str, sop_instance: str, **more: Any) -> bytes:
    """The command set of a C-STORE request as pynetdicom encodes it."""
    request = C_STORE()
    request.MessageID, request.Priority, request.DataSet = message_id, 2, BytesIO(b"ab")
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(sop_class), UID(sop_instance)
    for name, value in more.items():
        setattr(request, name, value)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    first = next(message.encode_msg(1, 0))
    return bytes(first.presentation_data_value_list[0][1][1:])


def decoded(command: bytes) -> C_STORE:
    """A command set as pynetdicom reads it. Raises what it raises."""
    message, part = DIMSEMessage(), P_DATA()
    part.presentation_data_value_list.append((1, b"\x03" + command))
    message.decode_msg(part)
    message.data_set = BytesIO(b"ab")
    primitive = message.message_to_primitive()
    assert isinstance(primitive, C_STORE)
    return primitive


@given(st.integers(0, 65535), uids, uids)
def test_a_command_is_read_as_pynetdicom_reads_it(message_id: int, sop_class: str, sop_instance: str) -> None:
    """An ordinary request takes the short way."""
    command = command_of(message_id, sop_class, sop_instance)

    read = read_store(command)

    assert read is not None
    assert (read.message_id, read.sop_class_uid, read.sop_instance_uid) == (message_id, sop_class, sop_instance)


@settings(max_examples=400)
@given(st.integers(0, 200), st.binary(min_size=0, max_size=4), st.sampled_from(["set", "cut", "put"]))
def test_a_damaged_command_is_never_read_differently(at: int, damage: bytes, how: str) -> None:
    """What the short way accepts, pynetdicom reads alike; the rest takes the long way."""
    whole = command_of(7, OPHTHALMIC_8_BIT, "1.2.3")
    rest = {"set": at + len(damage), "cut": len(whole), "put": at}[how]
    command = whole[:at] + (b"" if how == "cut" else damage) + whole[rest:]

    read = read_store(command)

    if read is not None:
        twin = decoded(command)
        assert read.message_id == twin.MessageID
        assert (read.sop_class_uid, read.sop_instance_uid) == (twin.AffectedSOPClassUID, twin.AffectedSOPInstanceUID)


@pytest.mark.parametrize(
    "more",
    [{"DataSet": None}, {"MoveOriginatorMessageID": 3, "MoveOriginatorApplicationEntityTitle": "PACS"}],
)
def test_an_unusual_command_takes_the_long_way(more: dict[str, Any]) -> None:
    """No data set, or the images of a C-MOVE: pynetdicom knows what that means."""
    assert read_store(command_of(7, OPHTHALMIC_8_BIT, "1.2.3", **more)) is None


def test_a_priority_that_there_is_not_takes_the_long_way() -> None:
    """pynetdicom refuses such a request: the short way must not be more lenient."""
    whole = command_of(7, OPHTHALMIC_8_BIT, "1.2.3")
    command = whole.replace(struct.pack("<HHLH", 0, 0x0700, 2, 2), struct.pack("<HHLH", 0, 0x0700, 2, 3))

    assert command != whole
    assert read_store(command) is None


@given(
    st.integers(0, 65535),
    uids,
    uids,
    st.integers(0, 127).map(lambda n: 2 * n + 1),
    st.sampled_from([0x0000, 0xA700, 0xA900, 0xC000, 0x0117]),
    st.sampled_from(["", "cannot write: keep the instance and send it again", "odd"]),
)
def test_a_response_is_written_as_pynetdicom_writes_it(
    message_id: int, sop_class: str, sop_instance: str, context_id: int, status: int, comment: str
) -> None:
    """Byte for byte, PDU and all."""
    command = read_store(command_of(message_id, sop_class, sop_instance))
    assert command is not None
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = message_id, status
    response.AffectedSOPClassUID, response.AffectedSOPInstanceUID = UID(sop_class), UID(sop_instance)
    if comment:
        response.ErrorComment = comment  # type: ignore[assignment]
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    [part] = message.encode_msg(context_id, 0)

    assert write_store_response(command, context_id, status, comment) == P_DATA_TF(part).encode()


@given(uids, uids, uids)
def test_a_files_head_is_written_as_pydicom_writes_it(sop_class: str, sop_instance: str, syntax: str) -> None:
    """Preamble and file meta information, byte for byte."""
    meta, buffer = FileMetaDataset(), DicomBytesIO()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(sop_instance)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(syntax), UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    write_file_meta_info(buffer, meta)

    assert file_head(sop_class, sop_instance, syntax) == PREAMBLE + buffer.getvalue()


# --- facts --------------------------------------------------------------------------------------------------------

TEXTS = ["PatientID", "AccessionNumber", "Manufacturer", "ManufacturerModelName", "Modality", "Laterality"]
TEXTS += ["ImageLaterality", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionDateTime", "ImageComments"]
TEXTS += ["FrameOfReferenceUID", "SOPInstanceUID", "StudyInstanceUID", "ImageType", "NumberOfFrames"]
odd_words = st.one_of(
    words,
    st.sampled_from(["R", "L", "B", "OPT", "ORIGINAL\\PRIMARY", "ORIGINAL\\PRIMARY\\\\COLOR", "a\\b", "1.2.3", "128"]),
    st.sampled_from(["", " R ", "~", "山田", "\x1b$B;3ED\x1b(B", "20260101", "128 ", "1e3", "-4", "1\\2"]),
)
charsets = st.sampled_from([None, "ISO_IR 100", "ISO_IR 192", "ISO_IR 13", "\\ISO 2022 IR 87", "GB18030", "nonsense"])


def element(tag: int, vr: bytes, value: bytes, *, implicit: bool) -> bytes:
    """One element, whatever it says."""
    value += b"" if len(value) % 2 == 0 else b" "
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHL", group, number, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def both_ways(data: bytes, syntax: str) -> tuple[Any, Any]:
    """What the short and the long way make of a data set: facts, or the reason of a refusal."""

    def facts(quick: bool) -> Any:
        try:
            return facts_of(BytesIO(data), len(data), syntax, inflated_bytes_max=1 << 20, quick=quick)
        except BadDataSet as why:
            return why.reason

    return facts(True), facts(False)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(TEXTS), odd_words), charsets, st.booleans(), st.randoms())
@pytest.mark.filterwarnings("ignore")
def test_facts_are_read_as_pydicom_reads_them(
    texts: dict[str, str], charset: str | None, implicit: bool, chance: random.Random
) -> None:
    """Any words in any element, in any character set, even where its value representation forbids them."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    elements = {
        0x00080016: (b"UI", OPHTHALMIC_8_BIT.encode()),
        0x00080018: (b"UI", b"1.2.3"),
        0x0020000D: (b"UI", b"1.2.4"),
        0x0020000E: (b"UI", b"1.2.5"),
        0x00280010: (b"US", chance.choice([b"\x08\0", b"\x08\0\x08\0", b"", b"\xff\xff"])),
        0x52009229: (b"UN", b""),
    }
    del elements[0x52009229]
    if charset is not None:
        elements[0x00080005] = (b"CS", charset.encode())
    for keyword, text in texts.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        vr = dictionary_VR(tag).encode() if chance.random() > 0.1 else chance.choice([b"LO", b"UN", b"SH", b"US"])
        if vr != b"UN":
            elements[tag] = (vr, text.encode("utf-8", "ignore"))
    order = sorted(elements) if chance.random() > 0.1 else list(elements)
    data = b"".join(element(tag, *elements[tag], implicit=implicit) for tag in order)

    quick, slow = both_ways(data, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)

    assert quick == slow


@settings(max_examples=400)
@given(st.integers(0, 600), st.binary(max_size=6), st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_damaged_headers_are_judged_alike(at: int, damage: bytes, implicit: bool) -> None:
    """Bytes changed anywhere: the same facts, or the same refusal."""
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    ds = photograph(SOPInstanceUID="1.2.3", ImageType=["ORIGINAL", "PRIMARY", "", "COLOR"], NumberOfFrames=1)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.4", "1.2.5"
    data = bytearray(encode(ds, syntax))
    data[at : at + len(damage)] = damage

    quick, slow = both_ways(bytes(data), syntax)

    assert quick == slow


@pytest.mark.parametrize("laterality", ["R", None])
def test_frames_that_say_an_eye_are_heard(laterality: str | None) -> None:
    """Functional groups with a laterality take the long way, others the short one; both give what is said."""
    anatomy, group, ds = Dataset(), Dataset(), photograph(ImageLaterality=None)
    anatomy.FrameLaterality = laterality or ""
    if laterality is None:
        del anatomy.FrameLaterality
        anatomy.AnatomicRegionModifierSequence = Sequence([])
    group.FrameAnatomySequence = Sequence([anatomy])
    ds.SharedFunctionalGroupsSequence = Sequence([group])

    quick, slow = both_ways(encode(ds), ExplicitVRLittleEndian)

    assert quick == slow
    assert quick.eye == (laterality or "U")


def test_the_slab_of_an_en_face_image_is_heard() -> None:
    """Its code lies in a sequence, which takes the long way."""
    kind, ds = Dataset(), photograph()
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "128265", "DCM", "Superficial"
    ds.OphthalmicImageTypeCodeSequence = Sequence([kind])

    quick, slow = both_ways(encode(ds), ExplicitVRLittleEndian)

    assert quick == slow
    assert quick.slab == "128265"


@pytest.mark.parametrize(("tag", "vr", "value"), [(0x00100020, b"US", b"1234"), (0x00280010, b"SS", b"\xff\xff")])
@pytest.mark.filterwarnings("ignore")
def test_another_value_representation_is_believed(tag: int, vr: bytes, value: bytes) -> None:
    """What the element says of its own value decides, as it does for pydicom."""
    data = encode(photograph(PatientID=None, Rows=None))
    at = data.index(b"\x20\x00\x0d\x00") if tag < 0x0020000D else data.index(b"\x28\x00\x11\x00")
    data = data[:at] + element(tag, vr, value, implicit=False) + data[at:]

    quick, slow = both_ways(data, ExplicitVRLittleEndian)

    assert quick == slow


@pytest.mark.parametrize("tag", [0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFE0001])
def test_an_item_outside_of_a_sequence_is_refused_either_way(tag: int) -> None:
    """Even where it is dressed as an element."""
    data = encode(photograph(PixelData=None)) + element(tag, b"SH", b"ab", implicit=False)

    quick, slow = both_ways(data, ExplicitVRLittleEndian)

    assert quick == slow
    assert isinstance(quick, str)


@pytest.mark.filterwarnings("ignore")
def test_real_files_are_read_alike(data: Path) -> None:
    """The awkward files of many makers."""
    from oculard.intake.folder import read_layout
    from oculard_models.dicom_pixels import read_header

    short = 0
    for path in sorted((data / "dicom").rglob("*.dcm")):
        content = path.read_bytes()
        if content[128:132] != b"DICM":
            continue
        try:
            syntax = str(read_header(path).file_meta.TransferSyntaxUID)
            with path.open("rb") as file:
                begins_at = read_layout(file).begins_at
        except (AttributeError, ValueError, Rejected):
            continue
        quick, slow = both_ways(content[begins_at:], syntax)
        assert quick == slow, path.name
        short += 1
    assert short > 40


def nested(chance: random.Random, depth: int) -> bytes:
    """The elements of an item: sequences in sequences, with lengths and without."""
    parts = [element(0x00080100, b"SH", chance.randbytes(chance.randrange(9)), implicit=False)]
    for tag in (0x0008A730, 0x00081140)[: chance.randrange(3) if depth else 0]:
        items = b""
        for _ in range(chance.randrange(3)):
            inner = nested(chance, depth - 1)
            known = chance.random() < 0.5
            items += struct.pack("<HHL", 0xFFFE, 0xE000, len(inner) if known else 0xFFFFFFFF) + inner
            items += b"" if known else struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        known = chance.random() < 0.5
        head = struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(items) if known else 0xFFFFFFFF)
        parts.append(head + items + (b"" if known else struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)))
    return b"".join(parts)


def encapsulated(chance: random.Random) -> bytes:
    """Pixels in fragments, some of them far behind the header."""
    head = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    sizes = [0, *(2 * chance.choice([0, 3, 40, 50_000]) for _ in range(chance.randrange(4)))]
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, size) + bytes(size) for size in sizes)
    return head + items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.sampled_from(["whole", "cut", "damaged", "longer"]))
@pytest.mark.filterwarnings("ignore")
def test_a_stride_notes_what_the_walk_notes(seed: int, how: str) -> None:
    """Sequences in sequences and pixels in fragments: what is whole is taken at a stride, and all is judged alike."""
    chance = random.Random(seed)
    ds = photograph(SOPInstanceUID="1.2.3", PixelData=None, StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.5")
    data = bytearray(encode(ds))
    at = data.index(b"\x08\x00\x60\x00CS")
    data[at:at] = nested(chance, 4)
    data += encapsulated(chance) if chance.random() < 0.5 else b""
    if how == "cut":
        del data[chance.randrange(len(data)) :]
    elif how == "damaged":
        data[chance.randrange(len(data))] = chance.choice([0, 0xFF, 0xFE, 0x7F])
    elif how == "longer":
        data += bytes(chance.randrange(1, 20))
    whole = bytes(data)

    def read(at: int, count: int) -> bytes:
        return whole[at : at + count]

    found = stride(whole[:HEAD_BYTES], len(whole), read, implicit=False)
    quick, slow = both_ways(whole, ExplicitVRLittleEndian)

    assert quick == slow
    assert found is not None or how != "whole"
    if found is not None:
        walk = _Walk(_Plain(BytesIO(whole), len(whole)), implicit=False, little=True)
        walk.header()
        assert found == walk.elements
        assert walk.is_ordinary


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_an_ordinary_data_set_is_taken_at_a_stride(syntax: str) -> None:
    """The shortcut is what is measured: it must not be left unseen."""
    data = encode(photograph(), syntax)

    found = stride(data, len(data), lambda *_: b"", implicit=syntax == ImplicitVRLittleEndian)

    assert found is not None
    assert 0x00080018 in found


# --- the wire -----------------------------------------------------------------------------------------------------


def pdus(data: bytes, *, sop_instance: str, context_id: int, chance: random.Random) -> bytes:
    """A C-STORE request in PDUs and fragments of any size, several in one PDU, some of them empty."""
    command = command_of(5, OPHTHALMIC_8_BIT, sop_instance)
    values = [struct.pack(">LBB", len(command) + 2, context_id, 3) + command]
    at = 0
    while at < len(data):
        size = chance.choice([0, 1, 7, 300, 5000])
        part, at = data[at : at + size], at + size
        last = 2 if at >= len(data) else 0
        values.append(struct.pack(">LBB", len(part) + 2, context_id, last) + part)
    sent = b""
    while values:
        count = chance.choice([1, 1, 2, 5])
        body, values = b"".join(values[:count]), values[count:]
        sent += struct.pack(">BBL", 4, 0, len(body)) + body
    return sent


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(0, 40_000))
def test_however_a_data_set_is_cut_it_is_kept_bit_for_bit(site: Site, seed: int, size: int) -> None:
    """PDUs, fragments and segments of any size, and then a release: the same file."""
    chance = random.Random(seed)
    ds = photograph(SOPInstanceUID=generate_uid(), PixelData=chance.randbytes(size // 2 * 2))
    data = encode(ds)
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        connection: socket.socket = association.dul.socket.socket
        association._reactor_checkpoint.clear()
        context_id = association.accepted_contexts[0].context_id
        sent = pdus(data, sop_instance=ds.SOPInstanceUID, context_id=context_id, chance=chance)
        while sent:
            count = chance.choice([1, 5, 6, 7, 11, 12, 13, 100, 4096, len(sent)])
            connection.sendall(sent[:count])
            sent = sent[count:]
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()

    assert answer.Status == 0x0000
    assert site.stored_data_set(site.rows()[-1]) == data


def spy(seen: list[object], method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that notes that it was called."""

    def call(*args: Any) -> Any:
        seen.append(args)
        return method(*args)

    return call


def short_and_long(make_site: Callable[..., Site], send: Callable[[Device], Any]) -> tuple[Any, Any]:
    """What an intake answers and keeps, by its own way and by pynetdicom's."""
    found = []
    for way in ("short", "long"):
        with pytest.MonkeyPatch.context() as patch:
            served: list[object] = []
            patch.setattr(IntakeAssociation, "_serve_request", spy(served, IntakeAssociation._serve_request))
            if way == "long":
                patch.setattr(IntakeAssociation, "begin_store", lambda *_: None)
            site = make_site()
            answer = send(Device(site))
            assert bool(served) == (way == "long")
        rows = [{k: v for k, v in row.items() if k not in ("received_at", "path")} for row in site.rows()]
        found.append((answer.get("Status"), answer.get("ErrorComment"), rows))
    return found[0], found[1]


@pytest.mark.parametrize("case", sorted(set(cases()) - {"empty"}))
def test_broken_data_sets_are_answered_alike(make_site: Callable[..., Site], case: str) -> None:
    """Status, comment and what is kept do not depend on the way."""
    data, _ = cases()[case]

    short, long = short_and_long(make_site, lambda device: device.send(data, sop_instance="1.2.3"))

    assert short == long


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"])
def test_whole_data_sets_are_kept_alike(make_site: Callable[..., Site], syntax: str) -> None:
    """The same bytes, digests and facts."""
    ds, data = in_syntax(syntax)

    short, long = short_and_long(
        make_site, lambda device: device.send(data, sop_instance=ds.SOPInstanceUID, transfer_syntax=syntax)
    )

    assert short == long
    assert short[0] == 0
