"""Headers that cost a hundred times their length: none costs the worker more memory than a header may."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
import zlib
from itertools import product
from pathlib import Path

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from oculard_models import header_cost
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_header import header_items
from oculard_models.dicom_pixels import Undecodable, read_header
from volume_samples import item, opt, written

ITEM, ITEM_END, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
UNDEFINED = b"\xff" * 4
FIRST = b"\x08\x00\x18\x00UI"  # what comes behind a header's costly part
PIXELS = b"\xe0\x7f\x10\x00"
FRAMES_MOST = 4096
GROUPS = (
    "FrameContentSequence",
    "OphthalmicFrameLocationSequence",
    "FrameAnatomySequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "DerivationImageSequence",
    "RealWorldValueMappingSequence",
)
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from oculard_models.dicom_header import header_items
from oculard_models.dicom_pixels import Undecodable, read_header
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (160 << 20),) * 2)
for name in sys.argv[1:]:
    try:
        print(len(header_items(read_header(Path(name)), "PerFrameFunctionalGroupsSequence")))
    except Undecodable as why:
        print(why.reason)
"""


def head(group: int, element: int, vr: bytes, length: int) -> bytes:
    """An element's, with a length of 32 bits."""
    return struct.pack("<HH2sHL", group, element, vr, 0, length)


def short(number: int, value: bytes = b"") -> bytes:
    """One of many elements with a length of 16 bits."""
    return struct.pack("<HH2sH", 9 + 2 * (number >> 16), number & 0xFFFF, b"LO", len(value)) + value


def nested(content: bytes) -> bytes:
    """In an item of a sequence, none of which says its length."""
    return head(0x0008, 0x2112, b"SQ", 0xFFFFFFFF) + ITEM + UNDEFINED + content + ITEM_END + END


def costly(kind: str, count: int) -> bytes:
    """So many of what costs pydicom much."""
    if kind == "items":
        return head(0x0008, 0x2112, b"SQ", 0xFFFFFFFF) + (ITEM + bytes(4)) * count + END
    if kind == "elements":
        return nested(b"".join(short(number) for number in range(count)))
    if kind == "values":
        return nested(b"".join(short(number, b"ab") for number in range(count)))
    if kind == "sequences":
        return nested(b"".join(head(9, number, b"SQ", 0xFFFFFFFF) + END for number in range(count)))
    assert kind == "bytes"
    return nested(b"".join(head(9, number, b"OB", 60_000) + bytes(60_000) for number in range(count // 64)))


def with_costly(path: Path, content: bytes, *, before: bytes = FIRST) -> Path:
    """A sound file with something in its header."""
    plain = written(opt(), path).read_bytes()
    assert plain.count(before) == 1
    path.write_bytes(plain.replace(before, content + before))
    return path


def with_long_groups(path: Path, count: int) -> Path:
    """A file whose frames are described in a sequence that stays in the file, of items that hold nothing."""
    ds = opt()
    del ds.PerFrameFunctionalGroupsSequence
    written(ds, path)
    value = (ITEM + bytes(4)) * count
    path.write_bytes(path.read_bytes().replace(PIXELS, head(0x5200, 0x9230, b"SQ", len(value)) + value + PIXELS, 1))
    return path


def deflated(path: Path) -> Path:
    """The same file, deflated (PS3.5 A.5)."""
    plain, meta = path.read_bytes(), dcmread(path, stop_before_pixels=True).file_meta
    begins_at = 144 + meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    sample = written(opt(), path, syntax=uid.DeflatedExplicitVRLittleEndian).read_bytes()
    begins_there = 144 + dcmread(path, stop_before_pixels=True).file_meta.FileMetaInformationGroupLength
    path.write_bytes(sample[:begins_there] + packer.compress(plain[begins_at:]) + packer.flush())
    return path


@pytest.mark.parametrize(
    ("kind", "how"), list(product(["items", "elements", "values", "sequences", "bytes"], ["plain", "deflated"]))
)
def test_what_a_header_costs_is_paid_for(tmp_path: Path, kind: str, how: str) -> None:
    """Whatever pydicom makes of it takes no more memory than the meter says."""
    path = with_costly(tmp_path / "costly.dcm", costly(kind, 3000))
    if how == "deflated":
        deflated(path)
    read_header(path)  # what is made once is made
    tracemalloc.start()
    header = read_header(path)
    header_items(header, "SourceImageSequence")
    _, taken = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    paid = header_cost.COST_MAX - header._oculard_meter._left
    assert 500_000 < taken < paid


def test_long_groups_are_paid_for(tmp_path: Path) -> None:
    """They are decoded when somebody asks for them, and once."""
    header = read_header(with_long_groups(tmp_path / "long.dcm", 3000))
    tracemalloc.start()
    assert len(header_items(header, "PerFrameFunctionalGroupsSequence")) == 3000
    _, taken = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    left = header._oculard_meter._left

    assert 500_000 < taken < header_cost.COST_MAX - left
    assert len(header_items(header, "PerFrameFunctionalGroupsSequence")) == 3000
    assert header._oculard_meter._left == left


def test_no_header_costs_more_than_a_header_may(tmp_path: Path) -> None:
    """Before, some took half a gigabyte and more: all that there was to take."""
    files = {
        with_costly(tmp_path / "bytes.dcm", costly("bytes", 64 * 2000)): "header-too-large",
        deflated(with_costly(tmp_path / "deflated.dcm", costly("bytes", 64 * 2000))): "header-too-large",
        with_long_groups(tmp_path / "long.dcm", 500_000): "header-too-large",
    }
    ran = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, *map(str, files)], capture_output=True, text=True, check=False
    )

    assert ran.stdout.split() == list(files.values()), ran.stderr[-500:]


def test_sequences_in_a_sequence_share_its_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them are decoded, together they cost no more than a header may."""
    monkeypatch.setattr(header_cost, "COST_MAX", 3 << 20)
    ds = opt()
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.FrameContentSequence = [Dataset() for _ in range(500)]
    header = read_header(written(ds, tmp_path / "volume.dcm"))
    groups = header_items(header, "PerFrameFunctionalGroupsSequence")

    assert len(header_items(groups[0], "FrameContentSequence")) == 500
    with pytest.raises(Undecodable) as caught:
        [header_items(group, "FrameContentSequence") for group in groups]
    assert caught.value.reason == "header-too-large"


def test_the_largest_real_header_is_read(tmp_path: Path) -> None:
    """4096 frames, in which everything is described for each: twice as many as any device has."""
    ds = opt()
    ds.PerFrameFunctionalGroupsSequence = [rich_group()]
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    path = written(ds, tmp_path / "volume.dcm")
    content, begins = path.read_bytes(), head(0x5200, 0x9230, b"SQ", 0xFFFFFFFF)
    before, after = content.split(begins)
    group, pixels = after.split(END + PIXELS)
    path.write_bytes(before + begins + group * FRAMES_MOST + END + PIXELS + pixels)
    header = read_header(path)
    groups = header_items(header, "PerFrameFunctionalGroupsSequence")

    assert len(groups) == FRAMES_MOST
    assert all(len(header_items(group, GROUPS[-1])[0]) == 4 for group in groups)


def rich_group() -> Dataset:
    """One frame in eight sequences and thirty elements, none of which says its length: that costs the most."""
    place = item(ImagePositionPatient=[-3.0, 0.0, 1.0], ImageComments="x" * 16)
    group = item(PlanePositionSequence=[place])
    for keyword in GROUPS:
        one = Dataset()
        for element in range(4):
            one.add_new(0x00091000 + element, "LO", "abcdefgh")
        one.is_undefined_length_sequence_item = True
        setattr(group, keyword, Sequence([one]))
        group[keyword].is_undefined_length = True
    group.is_undefined_length_sequence_item = True
    return group


def test_a_deflated_header_says_what_a_plain_one_does(tmp_path: Path) -> None:
    """Element by element, and as far as the pixels."""
    plain = read_header(written(opt(), tmp_path / "plain.dcm"))
    packed = read_header(written(opt(), tmp_path / "packed.dcm", syntax=uid.DeflatedExplicitVRLittleEndian))

    assert packed.file_meta.TransferSyntaxUID == uid.DeflatedExplicitVRLittleEndian
    assert "PixelData" not in packed
    assert read_geometry(packed) == read_geometry(plain)
    assert packed == plain or [one.value for one in packed] == [one.value for one in plain]


def test_a_deflated_header_is_inflated_up_to_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the pixels, of which there may be a hundred times as much."""
    monkeypatch.setattr(header_cost, "COST_MAX", 1 << 20)
    ds = opt()
    path = deflated(written(ds, tmp_path / "volume.dcm"))
    plain = written(opt(), tmp_path / "plain.dcm")
    plain.write_bytes(plain.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<L", 30 << 20) + bytes(30 << 20))

    assert len(header_items(read_header(deflated(plain)), "PerFrameFunctionalGroupsSequence")) == 32
    with pytest.raises(Undecodable, match="too much memory"):
        read_header(deflated(with_costly(path, costly("bytes", 64 * 20))))
