"""Headers that lie about their lengths, and files that cannot be read just now: the one is the file's trouble alone."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import FileDataset

from oculard_models import dicom_frames, header_cost, header_file
from oculard_models.dicom_frames import open_pixels, read_layout
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_header import header_items, must_be_the_files
from oculard_models.dicom_layers import read_layers
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.dicom_volume import read_voxels
from oculard_models.header_cost import HeaderTooLarge
from oculard_models.header_file import HeaderFile
from oculard_models.importers.topcon_file import read_topcon
from volume_samples import FRAMES, opt, written

ALL = 0xFFFFFFF0  # a length of four gigabytes
BROKEN_DISK = Path("/proc/self/mem")  # whose first byte nobody can read: EIO
ITEM, ITEM_END, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
UNDEFINED = struct.pack("<L", 0xFFFFFFFF)
FIRST = b"\x08\x00\x18\x00UI"  # what comes behind our sequence
SEQUENCE = struct.pack("<HH2sH", 0x0008, 0x2112, b"SQ", 0) + UNDEFINED
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from oculard_models.dicom_pixels import Undecodable, read_header
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (512 << 20),) * 2)
for name in sys.argv[1:]:
    try:
        read_header(Path(name))
    except Undecodable as why:
        print(why.reason)
"""


def long_element(group: int, element: int, vr: bytes, length: int) -> bytes:
    """The head of an element with a length of 32 bits."""
    return struct.pack("<HH2sHL", group, element, vr, 0, length)


def altered(path: Path, at: bytes, lie: bytes) -> Path:
    """A sound file with something put before these bytes of it."""
    content = written(opt(), path).read_bytes()
    assert content.count(at) == 1
    path.write_bytes(content.replace(at, lie + at))
    return path


def liars(folder: Path) -> list[Path]:
    """A lie of four gigabytes in each place that pydicom reads at once, however long it is."""
    class_uid = b"\x08\x00\x16\x00UI"
    lies = {
        "charset": (class_uid, long_element(0x0008, 0x0005, b"UT", ALL)),
        "nested": (FIRST, SEQUENCE + ITEM + UNDEFINED + long_element(0x0009, 0x1010, b"OB", ALL)),
        "meta": (b"\x02\x00\x10\x00UI", long_element(0x0002, 0x0001, b"OB", ALL)),
        "command": (class_uid, struct.pack("<HHL", 0x0000, 0x0010, ALL)),
    }
    return [altered(folder / f"{name}.dcm", *lie) for name, lie in lies.items()]


def test_a_length_that_lies_costs_no_memory(tmp_path: Path) -> None:
    """A file altered in the vault claims 4 GB: it is refused within half a GB more than the imports take."""
    files = [str(path) for path in liars(tmp_path)]
    ran = subprocess.run([sys.executable, "-c", UNDER_A_LIMIT, *files], capture_output=True, text=True)

    assert ran.stdout.split() == ["header-too-large"] * len(files), ran.stderr[-500:]


def test_a_header_of_countless_items_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item costs a hundred times its own length, however little it holds."""
    monkeypatch.setattr(header_cost, "COST_MAX", 1 << 20)
    content = SEQUENCE + (ITEM + bytes(4)) * 2000 + END
    path = altered(tmp_path / "many.dcm", FIRST, content)

    with pytest.raises(Undecodable) as why:
        read_header(path)
    assert why.value.reason == "header-too-large"


def test_a_header_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it says is there, no value is longer than many are, and it is more than any header needs."""
    value = long_element(0x0009, 0x1010, b"OB", 60_000) + bytes(60_000)
    path = altered(tmp_path / "long.dcm", FIRST, SEQUENCE + 4 * (ITEM + UNDEFINED + value + ITEM_END) + END)
    assert len(read_header(path).SourceImageSequence) == 4

    monkeypatch.setattr(header_cost, "COST_MAX", 2 * 200_000)
    with pytest.raises(Undecodable) as why:
        read_header(path)
    assert why.value.reason == "header-too-large"


def long_volume(path: Path) -> FileDataset:
    """The header of a file whose frames are described in more than is read at once."""
    ds = opt()
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.ImageComments = "x" * 3000
    written(ds, path)
    return read_header(path)


def test_a_long_value_is_read_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the file, which is closed; one that no header needs is refused, not called absent."""
    path = tmp_path / "volume.dcm"
    header = long_volume(path)
    assert header.get_item("PerFrameFunctionalGroupsSequence", keep_deferred=True).value is None
    assert len(header_items(header, "PerFrameFunctionalGroupsSequence")) == FRAMES
    assert read_geometry(header) == read_geometry(dcmread(path))

    monkeypatch.setattr(header_file, "VALUE_BYTES_MAX", 80_000)
    with pytest.raises(HeaderTooLarge):
        header_items(long_volume(path), "PerFrameFunctionalGroupsSequence")


def test_a_long_value_of_a_file_that_is_away_is_the_vaults_trouble(tmp_path: Path) -> None:
    """Frames that nobody could read are not called missing."""
    header = long_volume(tmp_path / "volume.dcm")
    (tmp_path / "volume.dcm").unlink()

    with pytest.raises(FileNotFoundError):
        read_geometry(header)


def test_a_file_is_read_as_any_other(tmp_path: Path) -> None:
    """Places, short reads at the end, and no more than there is."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with HeaderFile(path) as file:
        assert (file.read(4), file.tell()) == (b"0123", 4)
        assert (file.seek(-1, 1), file.read(2), file.seek(8), file.read(100)) == (3, b"34", 8, b"89")
        assert (file.read(8), file.seek(2), file.read(8)) == (b"", 2, b"23456789")
        file.seek(0)
        with pytest.raises(HeaderTooLarge):
            file.read(1 << 20)
    assert (file.seek(3), file.read(2), file.read(2)) == (3, b"34", b"56")


def test_whichever_read_of_a_header_fails_it_is_the_vaults_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydicom hides what the disk said of a sequence's item behind an error that says nothing of it."""
    path = altered(tmp_path / "volume.dcm", FIRST, SEQUENCE + 4 * (ITEM + UNDEFINED + ITEM_END) + END)
    read, reads, fails_at = HeaderFile._read, count(), -1

    def fail(self: HeaderFile, file: BinaryIO, size: int, bytes_max: int) -> bytes:
        if next(reads) == fails_at:
            raise OSError(errno.EIO, "input/output error")
        return read(self, file, size, bytes_max)

    monkeypatch.setattr(HeaderFile, "_read", fail)
    read_header(path)
    all_reads = next(reads)
    assert all_reads > 100
    for fails_at in range(all_reads):  # noqa: B007  `fail` reads it
        reads = count()
        with pytest.raises(OSError, match="input/output"):
            read_header(path)


def away(folder: Path, how: int) -> Path:
    """A file that the system does not let us read."""
    return BROKEN_DISK if how == errno.EIO else folder / "none.dcm"


@pytest.mark.parametrize("how", [errno.EIO, errno.ENOENT])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_pixels_of_a_file_that_is_away_are_the_vaults_trouble(tmp_path: Path, syntax: str, how: int) -> None:
    """They may be sound: the job waits, and is not failed."""
    header = read_header(written(opt(), tmp_path / "volume.dcm", syntax=syntax))

    with pytest.raises(OSError) as why:  # noqa: PT011  its number tells
        open_pixels(away(tmp_path, how), read_layout(header, 10**8))
    assert why.value.errno == how


@pytest.mark.parametrize("how", [errno.EIO, errno.ENOENT])
def test_layers_of_a_file_that_is_away_are_the_vaults_trouble(tmp_path: Path, how: int) -> None:
    """The device's own layers are not replaced by ours because a disk failed."""
    known = read_geometry(read_header(written(opt(), tmp_path / "volume.dcm")))

    with pytest.raises(OSError) as why:  # noqa: PT011  its number tells
        read_layers(away(tmp_path, how), known, volume_uid="2.25.1")
    assert why.value.errno == how


def test_a_topcon_file_that_is_away_is_not_called_unreadable() -> None:
    """The folder's share may come back."""

    class Away(BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output") as why:
        read_topcon(Away(bytes(1000)))
    assert why.value.errno == errno.EIO


@pytest.mark.parametrize("said", [OSError("broken data stream"), OSError(-2, "decoder error"), ValueError("bad")])
def test_what_a_codec_says_of_a_frame_is_the_images_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Exception
) -> None:
    """It has read no file: whatever it raises, the frame has no pixels for us, today and tomorrow."""
    path = written(opt(), tmp_path / "volume.dcm", syntax=uid.RLELossless)
    known = read_geometry(read_header(path))

    def fail(*_: object) -> None:
        raise said

    monkeypatch.setattr(dicom_frames, "get_decoder", fail)
    with pytest.raises(Undecodable) as why:
        read_voxels(path, known, voxels_max=10**8)
    assert why.value.reason == "pixels-undecodable"


def test_a_place_that_no_file_has_is_the_files_trouble() -> None:
    """A broken offset makes the system say "invalid argument", of a disk that is well."""
    must_be_the_files(OSError(errno.EINVAL, "invalid argument"))
    must_be_the_files(OSError("a parser's own"))
    with pytest.raises(PermissionError):
        must_be_the_files(PermissionError(errno.EACCES, "permission denied"))
