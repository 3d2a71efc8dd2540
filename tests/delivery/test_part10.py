"""Files as bytes: what their meta information says, and Implicit VR without decoding a value."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pytest
from outbox import japanese_report
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from oculard.delivery.part10 import NotPart10, as_implicit, parse_meta, read_meta
from oculard.report import raw
from report.report_samples import part10, photograph

HEAD = b"\0" * 128 + b"DICM"


def test_meta_information_is_read(tmp_path: Path):
    """A file says its class, its instance, its transfer syntax and where its data set begins."""
    data = japanese_report()
    (tmp_path / "report.dcm").write_bytes(data)

    meta = read_meta(tmp_path / "report.dcm")

    ds = dcmread(BytesIO(data))
    assert meta == parse_meta(data)
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (Comprehensive3DSRStorage, ds.SOPInstanceUID)
    assert meta.transfer_syntax_uid == ExplicitVRLittleEndian
    assert data[meta.offset : meta.offset + 4] == struct.pack("<HH", 0x0008, 0x0005)


def test_meta_information_of_a_deflated_file_is_read():
    """What follows the meta information need not be readable."""
    data = part10(photograph())
    deflated = data[: parse_meta(data).offset] + b"\xff" * 9

    assert parse_meta(deflated).offset == len(deflated) - 9


@pytest.mark.parametrize("data", [b"", b"DICM", HEAD, HEAD + b"\x02\0\0\0UL\xff\xff", b"%PDF" * 99])
def test_what_is_no_dicom_file_is_refused(data: bytes):
    """Other files are named as such, never guessed."""
    with pytest.raises(NotPart10):
        parse_meta(data)


def test_implicit_vr_has_the_same_values():
    """Every element of a whole report has the same bytes without its VR, nested ones too."""
    explicit, implicit = japanese_report(), as_implicit(japanese_report())

    before, after = dcmread(BytesIO(explicit)), dcmread(BytesIO(implicit))
    assert after.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert after.file_meta.MediaStorageSOPInstanceUID == before.file_meta.MediaStorageSOPInstanceUID
    for tag in before.keys():  # noqa: SIM118  iterating a dataset decodes it
        if before.get_item(tag).VR != "SQ":  # type: ignore[union-attr]  # every tag has an element
            assert raw.value_bytes(before, tag) == raw.value_bytes(after, tag)
    assert before == after
    assert "山田^太郎" in str(after.PatientName)


def test_bytes_that_contradict_their_character_set_survive():
    """A name that does not match its declaration is neither repaired nor lost."""
    name = "Y^T=山田^太郎".encode("cp932")
    explicit = part10(photograph(), {"SpecificCharacterSet": rb"\ISO 2022 IR 87", "PatientName": name})

    after = dcmread(BytesIO(as_implicit(explicit)))

    assert raw.value_bytes(after, raw.tag_of("PatientName")).rstrip() == name


def test_sequences_of_undefined_length_become_implicit():
    """Items and sequences that end with a delimiter are understood, however deep."""
    leaf, branch, ds = Dataset(), Dataset(), photograph()
    leaf.TextValue = "leaf"
    leaf.is_undefined_length_sequence_item = True
    branch.ContentSequence = [leaf, leaf]
    branch.is_undefined_length_sequence_item = True
    branch["ContentSequence"].is_undefined_length = True
    ds.ContentSequence = [branch]
    ds["ContentSequence"].is_undefined_length = True
    explicit = part10(ds)
    assert b"\xfe\xff\xdd\xe0" in explicit

    before, after = dcmread(BytesIO(explicit)), dcmread(BytesIO(as_implicit(explicit)))

    assert after.PixelData == before.PixelData
    del after.PixelData, before.PixelData  # its VR is OW in Implicit VR (PS3.5 A.1)
    assert after == before
    assert [item.TextValue for item in after.ContentSequence[0].ContentSequence] == ["leaf", "leaf"]


def test_only_plain_files_become_implicit():
    """A file of another transfer syntax is a bug of the caller."""
    with pytest.raises(ValueError, match="cannot make"):
        as_implicit(part10(photograph(), syntax=ImplicitVRLittleEndian))


def test_a_cut_file_is_damaged():
    """A file that ends in the middle is named as damaged."""
    with pytest.raises(NotPart10, match="damaged"):
        as_implicit(japanese_report()[:-10])
