"""Volumes: every frame in every transfer syntax, in the order of the geometry, or a reason why there is none."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, encapsulate_extended

from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_study import Visit
from oculard_models.data.painted_volume import as_topcon, volume_study, wrap_volume
from oculard_models.dicom_geometry import Geometry, read_geometry
from oculard_models.dicom_pixels import Undecodable
from oculard_models.dicom_volume import Voxels, read_voxels
from peers import program
from volume_samples import COLUMNS, FRAMES, ROWS, coded, opt, painted, written

VOXELS_MAX = 300_000_000
RAW = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (*RAW, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless)
LOSSY = (uid.JPEG2000, uid.JPEGLSNearLossless)


def read(path: Path, **changed: object) -> Voxels:
    """The pixels, by the geometry of the file's own header."""
    return read_voxels(path, replace(geometry(path), **changed), voxels_max=VOXELS_MAX)  # type: ignore[arg-type]


def geometry(path: Path) -> Geometry:
    """The geometry of a file."""
    return read_geometry(dcmread(path, stop_before_pixels=True))


def reason_of(path: Path, known: Geometry | None = None, voxels_max: int = VOXELS_MAX) -> str:
    """Why a file's pixels are not read."""
    with pytest.raises(Undecodable) as caught:
        read_voxels(path, known or geometry(path), voxels_max=voxels_max)
    return caught.value.reason


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_syntax_gives_the_pixels(tmp_path: Path, syntax: str) -> None:
    """Raw, deflated, JPEG 2000, JPEG-LS and RLE give back what was stored."""
    found = read(written(opt(), tmp_path / "v.dcm", syntax=syntax))

    assert found.pixels.dtype == np.uint8
    assert found.scaled is None
    np.testing.assert_array_equal(found.pixels, painted())


@pytest.mark.parametrize("syntax", LOSSY)
def test_every_lossy_syntax_gives_nearly_the_pixels(tmp_path: Path, syntax: str) -> None:
    """JPEG 2000 and JPEG-LS near lossless change a value by little."""
    found = read(written(opt(), tmp_path / "v.dcm", syntax=syntax))

    assert np.abs(found.pixels.astype(int) - painted()).max() <= 12


@pytest.mark.parametrize(("option", "off"), [("+eb", 8), ("+e1", 0), ("+el", 0)])
def test_jpeg_of_another_program(tmp_path: Path, option: str, off: int) -> None:
    """Baseline and lossless JPEG as DCMTK writes them."""
    path, jpeg = written(opt(), tmp_path / "v.dcm"), tmp_path / "jpeg.dcm"
    subprocess.run([program("dcmcjpeg"), option, str(path), str(jpeg)], check=True, capture_output=True)

    found = read(jpeg)

    assert dcmread(jpeg, stop_before_pixels=True).file_meta.TransferSyntaxUID.is_encapsulated
    assert np.abs(found.pixels.astype(int) - painted()).max() <= off


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_sixteen_bits_become_eight(tmp_path: Path, syntax: str) -> None:
    """Values of 16 bit are brought into 8 by the range that they use, which is told."""
    wide = painted().astype(np.uint16) * 200 + 1000
    found = read(written(opt(wide), tmp_path / "v.dcm", wide, syntax=syntax))

    assert found.scaled is not None
    low, high = found.scaled
    assert 1000 <= low < 1000 + 200 * 20 < 200 * 190 < high <= 200 * 211 + 1000
    expected = np.clip((wide.astype(float) - low) / (high - low) * 255, 0, 255)
    assert np.abs(found.pixels - expected).max() <= 1


def test_sixteen_bits_that_fit_into_eight_stay(tmp_path: Path) -> None:
    """Small values in large words are the values."""
    small = painted().astype(np.uint16)
    found = read(written(opt(small), tmp_path / "v.dcm", small))

    assert found.scaled is None
    np.testing.assert_array_equal(found.pixels, painted())


def test_white_is_high_whatever_the_header_means(tmp_path: Path) -> None:
    """MONOCHROME1 is turned round."""
    ds = opt()
    ds.PhotometricInterpretation = "MONOCHROME1"

    np.testing.assert_array_equal(read(written(ds, tmp_path / "v.dcm")).pixels, 255 - painted())


def test_the_geometry_orders_and_mirrors(tmp_path: Path) -> None:
    """Frames come superior first, columns from left to right."""
    path = written(opt(), tmp_path / "v.dcm", syntax=uid.JPEGLSLossless)

    found = read(path, order=tuple(reversed(range(FRAMES))), mirrored=True)

    np.testing.assert_array_equal(found.pixels, painted()[::-1, :, ::-1])


@pytest.mark.parametrize("with_photograph", [True, False])
@pytest.mark.parametrize("order", [range(FRAMES), range(FRAMES - 1, -1, -1), [n * 5 % FRAMES for n in range(FRAMES)]])
def test_a_painted_volume_comes_back(tmp_path: Path, with_photograph: bool, order: Sequence[int]) -> None:
    """However a device stored the frames of a left eye, they come superior first, by photograph or by position."""
    shown = paint_volume(draw_eye(4, "myopic", eye="L"), frames=FRAMES, depth=220, columns=48, seed=1)
    visit = Visit(study_uid="2.25.1", series_uid="2.25.2")
    picture = volume_study(shown, visit)[1] if with_photograph else None
    ds = as_topcon(wrap_volume(shown, visit, uid="2.25.3", photograph=picture, order=order))
    if with_photograph:
        for group in ds.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence
    ds.save_as(tmp_path / "v.dcm", enforce_file_format=True)

    np.testing.assert_array_equal(read(tmp_path / "v.dcm").pixels, shown.volume.pixels)
    spacing = geometry(tmp_path / "v.dcm").spacing
    assert astuple(spacing) == pytest.approx(astuple(shown.volume.spacing), rel=1e-4)


def test_words_of_bytes_in_big_endian(tmp_path: Path) -> None:
    """8 bit pixels in OW are swapped in pairs where words are big endian (PS3.5 8.1.1)."""
    ds, shown = opt(), np.random.default_rng(1).integers(0, 256, (FRAMES, ROWS, COLUMNS), dtype=np.uint8)
    swapped = shown.view(np.uint16).byteswap().view(np.uint8)
    path = written(ds, tmp_path / "v.dcm", swapped, syntax=uid.ExplicitVRBigEndian)
    content = path.read_bytes()
    at = content.index(b"\x7f\xe0\x00\x10OB")
    path.write_bytes(content[: at + 4] + b"OW" + content[at + 6 :])

    np.testing.assert_array_equal(read(path).pixels, shown)


def encapsulated(tmp_path: Path, value: bytes, **tables: bytes) -> Path:
    """A JPEG-LS instance with this as its pixel data."""
    path = written(opt(), tmp_path / "v.dcm", syntax=uid.JPEGLSLossless)
    ds = dcmread(path)
    ds.PixelData = value
    ds["PixelData"].is_undefined_length = True
    for keyword, table in tables.items():
        setattr(ds, keyword, table)
    ds.save_as(path)
    return path


FRAMES_CODED = [coded(frame, uid.JPEGLSLossless) for frame in painted()]


@pytest.mark.parametrize("has_bot", [True, False])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_in_several_fragments(tmp_path: Path, has_bot: bool, fragments: int) -> None:
    """With a table of offsets or without, each frame's fragments find together."""
    path = encapsulated(tmp_path, encapsulate(FRAMES_CODED, fragments_per_frame=fragments, has_bot=has_bot))

    np.testing.assert_array_equal(read(path).pixels, painted())


def test_the_extended_table_is_not_believed(tmp_path: Path) -> None:
    """Offsets and lengths that lie change nothing: fragments are counted."""
    value, offsets, _ = encapsulate_extended(FRAMES_CODED)
    liar = struct.pack(f"<{FRAMES}Q", *[1 << 40] * FRAMES)
    path = encapsulated(tmp_path, value, ExtendedOffsetTable=offsets, ExtendedOffsetTableLengths=liar)

    np.testing.assert_array_equal(read(path).pixels, painted())


def bigger_than_it_says(ds: FileDataset) -> None:
    ds.NumberOfFrames = FRAMES + 8
    for _ in range(8):
        ds.PerFrameFunctionalGroupsSequence.append(ds.PerFrameFunctionalGroupsSequence[-1])


def smaller_than_it_says(ds: FileDataset) -> None:
    ds.NumberOfFrames = FRAMES - 4
    del ds.PerFrameFunctionalGroupsSequence[-4:]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(
    ("lie", "reason"), [(bigger_than_it_says, "frames-missing"), (smaller_than_it_says, "pixels-inconsistent")]
)
def test_a_number_of_frames_that_lies(
    tmp_path: Path, syntax: str, lie: Callable[[FileDataset], None], reason: str
) -> None:
    """More frames than there are, or fewer, are told in every transfer syntax."""
    path = written(opt(), tmp_path / "v.dcm", syntax=syntax)
    known = geometry(path)
    ds = dcmread(path)
    lie(ds)
    ds.save_as(path)
    count = ds.NumberOfFrames

    assert reason_of(path, replace(known, order=tuple(range(count)))) == reason


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    """Half a file has half its frames: they are missing."""
    for syntax in (uid.ExplicitVRLittleEndian, uid.JPEGLSLossless):
        path = written(opt(), tmp_path / "v.dcm", syntax=syntax)
        known, content = geometry(path), path.read_bytes()
        path.write_bytes(content[: len(content) - len(content) // 4])

        assert reason_of(path, known) in ("frames-missing", "pixels-undecodable")


class Content:
    """A decoder that is content with anything."""

    def as_array(self, *_: object, **__: object) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], object]:
        return np.zeros((ROWS, COLUMNS), dtype=np.uint8), {}


def test_a_last_frame_that_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that is content with half a codestream does not get it: the last frame would be half a guess."""
    path = written(opt(), tmp_path / "v.dcm", syntax=uid.JPEG2000Lossless)
    known, content = geometry(path), path.read_bytes()
    monkeypatch.setattr("oculard_models.dicom_frames.get_decoder", lambda _: Content())
    assert not read_voxels(path, known, voxels_max=VOXELS_MAX).pixels.any()

    path.write_bytes(content[:-20])  # the delimiter, and the end of the codestream
    assert reason_of(path, known) == "pixels-undecodable"


def test_what_follows_the_pixels_is_no_frame(tmp_path: Path) -> None:
    """Too few raw frames are missing, even where padding behind them would fill the place."""
    ds = opt()
    ds.DataSetTrailingPadding = b"\0" * (4 * ROWS * COLUMNS)
    path = written(ds, tmp_path / "v.dcm", painted()[:-2])

    assert reason_of(path) == "frames-missing"


def test_a_codestream_of_another_size_is_not_decoded(tmp_path: Path) -> None:
    """What a decoder would allocate is looked at first."""
    other = coded(np.zeros((ROWS + 1, COLUMNS), np.uint8), uid.JPEGLSLossless)
    path = encapsulated(tmp_path, encapsulate([*FRAMES_CODED[:-1], other]))

    assert reason_of(path) == "pixels-inconsistent"


def test_a_frame_that_is_larger_than_raw_is_not_read(tmp_path: Path) -> None:
    """One fragment of many megabytes never comes into memory."""
    path = encapsulated(tmp_path, encapsulate([FRAMES_CODED[0] + b"\0" * (1 << 20), *FRAMES_CODED[1:]]))

    assert reason_of(path) == "pixels-inconsistent"


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("SamplesPerPixel", 3, "pixels-unsupported"),
        ("BitsAllocated", 32, "pixels-unsupported"),
        ("PhotometricInterpretation", "RGB", "pixels-unsupported"),
        ("Rows", 0, "pixels-undescribed"),
        ("Columns", 65535, "pixels-inconsistent"),
    ],
)
def test_a_header_that_describes_no_volume(tmp_path: Path, keyword: str, value: object, reason: str) -> None:
    """Colours, 32 bits, no rows, and a width that the geometry did not see."""
    path = written(opt(), tmp_path / "v.dcm")
    known, ds = geometry(path), dcmread(path)
    setattr(ds, keyword, value)
    ds.save_as(path)

    assert reason_of(path, known) == reason


def test_too_many_voxels(tmp_path: Path) -> None:
    """The limit is looked at before a byte is allocated."""
    path = written(opt(), tmp_path / "v.dcm")

    assert reason_of(path, voxels_max=FRAMES * ROWS * COLUMNS - 1) == "size-implausible"
    assert read_voxels(path, geometry(path), voxels_max=FRAMES * ROWS * COLUMNS).pixels.size


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([uid.ExplicitVRLittleEndian, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12),
    st.floats(0.05, 1.0),
)
def test_damage_is_told(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, damage: list[tuple[int, int]], kept: float
) -> None:
    """Bytes changed anywhere in the pixels and a file cut anywhere give pixels or Undecodable, and nothing else."""
    path = written(opt(), tmp_path_factory.mktemp("hurt") / "v.dcm", syntax=syntax)
    known, content = geometry(path), bytearray(path.read_bytes())
    begin = content.index(b"\xe0\x7f\x10\x00OB")
    for at, value in damage:
        content[begin + at % (len(content) - begin)] = value
    path.write_bytes(content[: begin + int(kept * (len(content) - begin))])

    with contextlib.suppress(Undecodable):
        assert read_voxels(path, known, voxels_max=VOXELS_MAX).pixels.shape == (FRAMES, ROWS, COLUMNS)


BIG = """
import resource, sys
from pathlib import Path
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_pixels import read_header
from oculard_models.dicom_volume import read_voxels
path = Path(sys.argv[1])
found = read_voxels(path, read_geometry(read_header(path)), voxels_max=300_000_000)
print(found.pixels.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_the_largest_volume_stays_below_two_gib(tmp_path: Path, syntax: str) -> None:
    """992 x 512 x 512 voxels, raw and compressed, are read in a process of less than 2 GiB."""
    pixels = np.random.default_rng(1).integers(0, 200, (1, 992, 512), dtype=np.uint8)
    pixels = np.broadcast_to(pixels, (512, 992, 512))
    path = written(opt(pixels), tmp_path / "v.dcm", pixels, syntax)

    said = subprocess.run([sys.executable, "-c", BIG, str(path)], check=True, capture_output=True, text=True).stdout

    assert said.startswith("(512, 992, 512)")
    assert int(said.split()[-1]) < 2048
