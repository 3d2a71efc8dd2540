"""Decoding: one RGB picture out of any transfer syntax, or a reason why there is none."""

from __future__ import annotations

import contextlib
import errno
import io
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array

from oculard_models import dicom_pixels
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, wrap_fundus
from oculard_models.data.person import sample_people
from oculard_models.dicom_pixels import Undecodable, codestream_size, jpeg_rgb, read_rgb, read_values
from peers import program

PIXELS_MAX = 50_000_000
COLOUR = (
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_expb_2frame.dcm",
    "SC_ybr_full_uncompressed.dcm",
    "HTJ2KLossless_08_RGB.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "US1_J2KR.dcm",
    "examples_jpeg2k.dcm",
    "OBXXXX1A_rle_2frame.dcm",
)


@pytest.mark.parametrize("name", COLOUR)
def test_colour_in_every_transfer_syntax(data: Path, name: str) -> None:
    """JPEG, JPEG-LS, JPEG 2000, HTJ2K, RLE, big endian and raw give rows x columns x 3 of uint8."""
    path = data / "dicom" / name
    header = dcmread(path, stop_before_pixels=True)
    if header.SamplesPerPixel != 3:
        with pytest.raises(Undecodable, match="3 samples"):
            read_rgb(path, pixels_max=PIXELS_MAX)
        return

    pixels = read_rgb(path, pixels_max=PIXELS_MAX)
    assert pixels.shape == (header.Rows, header.Columns, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 0


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted photograph, raw."""
    pixels = paint(sample_people(1, 1)[0], "R", 1, 256)
    ds = wrap_fundus(pixels, Visit(study_uid="1.2", series_uid="1.3"), eye="R", uid="1.4", compression="raw")
    path = tmp_path_factory.mktemp("painted") / "raw.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("tool", "option"),
    [
        ("dcmcjpeg", "+e1"),
        ("dcmcjpeg", "+el"),
        ("dcmcjpls", "+el"),
        ("dcmcrle", ""),
        ("dcmconv", "+tb"),
        ("dcmconv", "+td"),
    ],
)
def test_what_dcmtk_encodes_without_loss_is_read_without_loss(
    painted: Path, tmp_path: Path, tool: str, option: str
) -> None:
    """JPEG lossless (both), JPEG-LS, RLE, big endian, deflated: the same pixels as the raw picture."""
    encoded = tmp_path / "encoded.dcm"
    arguments = [program(tool), *([option] if option else []), str(painted), str(encoded)]
    subprocess.run(arguments, check=True, capture_output=True)

    assert np.array_equal(read_rgb(encoded, pixels_max=PIXELS_MAX), read_rgb(painted, pixels_max=PIXELS_MAX))


def test_a_large_picture_is_refused_before_it_is_decoded(painted: Path) -> None:
    """The header's size is looked at first."""
    with pytest.raises(Undecodable) as why:
        read_rgb(painted, pixels_max=1000)
    assert why.value.reason == "size-implausible"


def test_a_codestream_that_is_larger_than_its_header_is_refused(tmp_path: Path) -> None:
    """A decoder would allocate what the codestream says: its size is looked at first."""
    small = Visit(study_uid="1.2", series_uid="1.3")
    ds = wrap_fundus(np.zeros((64, 64, 3), np.uint8), small, eye="R", uid="1.4")
    large = wrap_fundus(np.zeros((640, 640, 3), np.uint8), small, eye="R", uid="1.4")
    ds.PixelData = large.PixelData
    ds["PixelData"].is_undefined_length = True
    path = tmp_path / "bomb.dcm"
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(Undecodable) as why:
        read_rgb(path, pixels_max=PIXELS_MAX)
    assert why.value.reason == "pixels-inconsistent"
    jpeg_2000 = b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">4L", 26_000, 26_001, 0, 1)
    assert codestream_size(jpeg_2000) == (26_000, 26_000)


def test_a_sequence_that_is_cut_is_the_images_trouble(tmp_path: Path) -> None:
    """The parser calls it an OSError, as if the disk had failed: the job would wait for ever."""
    ds = wrap_fundus(np.zeros((64, 64, 3), np.uint8), Visit(study_uid="1.2", series_uid="1.3"), eye="R", uid="1.4")
    ds.AnatomicRegionSequence[0].is_undefined_length_sequence_item = True
    ds["AnatomicRegionSequence"].is_undefined_length = True
    path = tmp_path / "cut.dcm"
    ds.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\xfe\xff\x0d\xe0")])
    with pytest.raises(Undecodable) as why:
        read_rgb(path, pixels_max=PIXELS_MAX)
    assert why.value.reason == "header-unreadable"


def test_a_disk_that_fails_is_the_worlds_trouble(painted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image may be sound: it is not called undecodable."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(dicom_pixels, "get_frame", fail)
    monkeypatch.setattr(dicom_pixels, "pixel_array", fail)
    with pytest.raises(OSError, match="input/output") as why:
        read_rgb(painted, pixels_max=PIXELS_MAX)
    assert why.value.errno == errno.EIO


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path) -> None:
    """300 MB of nothing deflate to 300 KB: the file is refused before it is read."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    visit, black = Visit(study_uid="1", series_uid="2"), np.zeros((64, 64, 3), np.uint8)
    ds = wrap_fundus(black, visit, eye="R", uid="1.4", compression="raw")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.add_new(0x00091010, "OB", bytes(300 << 20))
    path = tmp_path / "bomb.dcm"
    ds.save_as(path, enforce_file_format=True)
    with pytest.raises(Undecodable) as why:
        read_rgb(path, pixels_max=PIXELS_MAX)
    assert why.value.reason == "size-implausible"


def test_grey_files_are_refused(data: Path) -> None:
    """Sixteen bits or one sample are no colour photograph."""
    for name in ("CT_small.dcm", "MR_small.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"):
        with pytest.raises(Undecodable) as why:
            read_rgb(data / "dicom" / name, pixels_max=PIXELS_MAX)
        assert why.value.reason == "not-colour"


def test_truncated_and_altered_pixels_are_refused_or_read(painted: Path, tmp_path: Path) -> None:
    """Whatever is done to a file, decoding gives pixels or Undecodable, nothing else."""
    whole = painted.read_bytes()
    rng = np.random.default_rng(3)
    jpeg = tmp_path / "jpeg.dcm"
    subprocess.run([program("dcmcjpeg"), "+eb", str(painted), str(jpeg)], check=True, capture_output=True)
    for source in (whole, jpeg.read_bytes()):
        for _ in range(300):
            altered = bytearray(source)
            for place in rng.integers(132, len(altered), 20):
                altered[place] = rng.integers(0, 256)
            path = tmp_path / "altered.dcm"
            path.write_bytes(bytes(altered[: rng.integers(400, len(altered))]))
            with contextlib.suppress(Undecodable):
                read_rgb(path, pixels_max=PIXELS_MAX)


def as_jpeg(pixels: np.ndarray, subsampling: str, quality: int) -> bytes:
    """Compress as Pillow does: with a JFIF marker, or an Adobe marker where `keep_rgb` is asked for."""
    file = io.BytesIO()
    keep_rgb = subsampling == "rgb"
    Image.fromarray(pixels).save(
        file, "JPEG", quality=quality, subsampling="4:4:4" if keep_rgb else subsampling, keep_rgb=keep_rgb
    )
    return file.getvalue()


def wrapped(frame: bytes, pixels: np.ndarray, photometric: str = "YBR_FULL_422"):
    """A JPEG stream in an instance that says what its colours are."""
    ds = wrap_fundus(pixels, Visit(study_uid="1.2", series_uid="1.3"), eye="R", uid="1.4")
    ds.PixelData, ds.PhotometricInterpretation = encapsulate([frame]), photometric
    return ds


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(8, 70), st.integers(8, 70)),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.integers(5, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_short_way_through_a_jpeg_gives_what_pydicom_gives(
    size: tuple[int, int], subsampling: str, quality: int, seed: int
) -> None:
    """Whatever the colours, the sampling and the quality: every value but for how a half is rounded."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    frame = as_jpeg(pixels, subsampling, quality)

    ours = jpeg_rgb(frame, size)
    assert ours is not None
    slow = pixel_array(wrapped(frame, pixels), index=0, decoding_plugin="pillow")
    assert np.abs(ours.astype(int) - slow.astype(int)).max() <= 1


def test_an_unusual_jpeg_is_left_to_pydicom() -> None:
    """Colours that were never transformed, grey, and identifiers that spell RGB do not take the short way."""
    pixels = paint(sample_people(1, 1)[0], "R", 1, 64)
    grey = io.BytesIO()
    Image.fromarray(pixels).convert("L").save(grey, "JPEG")
    spelled = as_jpeg(pixels, "rgb", 90)
    assert jpeg_rgb(spelled, (64, 64)) is None
    assert jpeg_rgb(grey.getvalue(), (64, 64)) is None

    bare = as_jpeg(pixels, "4:4:4", 90)
    bare = bare[:2] + bare[2 + 18 :]  # without JFIF the identifiers decide
    assert jpeg_rgb(bare, (64, 64)) is not None
    at = bare.index(b"\xff\xc0")
    head = bytearray(bare)
    head[at + 10], head[at + 13], head[at + 16] = b"RGB"
    assert jpeg_rgb(bytes(head), (64, 64)) is None


def test_a_size_that_hides_behind_fill_bytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Fill bytes before a marker are allowed (ISO 10918-1 B.1.1.2); what they hide must fit the header all the same."""
    pixels = paint(sample_people(1, 1)[0], "R", 1, 256)
    frame = as_jpeg(pixels, "4:4:4", 90)
    hiding = frame[:2] + b"\xff" * 4 + frame[2:]
    assert codestream_size(hiding) is None
    assert jpeg_rgb(hiding, (256, 256)) is not None

    ds = wrapped(hiding, pixels)
    ds.Rows = ds.Columns = 64
    ds.save_as(tmp_path / "small.dcm", enforce_file_format=True)
    with pytest.raises(Undecodable) as why:
        read_rgb(tmp_path / "small.dcm", pixels_max=PIXELS_MAX)
    assert why.value.reason == "pixels-inconsistent"
    assert "(256, 256)" in str(why.value)


GREY = {
    "MR_small.dcm": ((64, 64), 127, 2145),
    "MR_small_RLE.dcm": ((64, 64), 127, 2145),
    "MR_small_bigendian.dcm": ((64, 64), 127, 2145),
    "MR_small_jp2klossless.dcm": ((64, 64), 127, 2145),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64), 127, 2145),
    "explicit_VR-UN.dcm": ((512, 512), -1024, 1186),  # signed
    "JPEGLSNearLossless_16.dcm": ((50, 10), 0, 65535),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": ((768, 1024), 0, 255),
    "emri_small_jpeg_ls_lossless.dcm": ((64, 64), 0, 425),  # the first of ten frames
    "SC_rgb_rle.dcm": ((100, 100, 3), 0, 255),
    "OBXXXX1A_expb.dcm": ((600, 800, 3), 0, 255),  # a palette
}


@pytest.mark.parametrize("name", GREY)
def test_values_are_read_as_they_were_stored(data: Path, name: str) -> None:
    """Eight and sixteen bit, signed and not, grey and in colours, in every transfer syntax: nothing is scaled."""
    values = read_values(data / "dicom" / name, pixels_max=PIXELS_MAX)

    assert (values.shape, values.min(), values.max()) == GREY[name]
    assert values.dtype == np.int32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("badVR.dcm", "pixels-unsupported"),  # 32 bit
        ("liver_deflate.dcm", "pixels-unsupported"),  # 1 bit
        ("MR_truncated.dcm", "pixels-undecodable"),
        ("test-SR.dcm", "pixels-undescribed"),
    ],
)
def test_values_that_cannot_be_read_are_refused(data: Path, name: str, reason: str) -> None:
    """Each with its reason."""
    with pytest.raises(Undecodable) as why:
        read_values(data / "dicom" / name, pixels_max=PIXELS_MAX)
    assert why.value.reason == reason


def test_white_is_high_in_either_convention(data: Path, tmp_path: Path) -> None:
    """An image that stores white as low values is turned round within its range."""
    path = tmp_path / "turned.dcm"
    ds = dcmread(data / "dicom" / "MR_small.dcm")
    ds.PhotometricInterpretation = "MONOCHROME1"
    ds.save_as(path)
    plain = read_values(data / "dicom" / "MR_small.dcm", pixels_max=PIXELS_MAX)

    assert np.array_equal(read_values(path, pixels_max=PIXELS_MAX), 127 + 2145 - plain)


def test_a_palette_in_segments_is_refused(data: Path, tmp_path: Path) -> None:
    """A few hundred bytes of it unfold to gigabytes: it is not even looked at."""
    path = tmp_path / "segments.dcm"
    ds = dcmread(data / "dicom" / "MR_small.dcm")
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ds.SegmentedRedPaletteColorLookupTableData = b"\x01\x00\xff\xff\x00\x00"
    ds.save_as(path)

    with pytest.raises(Undecodable) as why:
        read_values(path, pixels_max=PIXELS_MAX)
    assert why.value.reason == "pixels-unsupported"


def test_large_values_are_refused_before_they_are_decoded(data: Path) -> None:
    """The header's size is looked at first."""
    with pytest.raises(Undecodable) as why:
        read_values(data / "dicom" / "MR_small.dcm", pixels_max=1000)
    assert why.value.reason == "size-implausible"
