"""Topcon's own files become DICOM that is read like a device's; what is broken in them is told."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import PaintedVolume, paint_volume
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_layers import NAMES, read_layers
from oculard_models.dicom_pixels import Undecodable, read_header, read_rgb
from oculard_models.dicom_volume import read_voxels
from oculard_models.importers.topcon_dicom import topcon_instances
from oculard_models.importers.topcon_file import TopconScan, read_topcon
from topcon_samples import TopconFile, captured, fda, fds, jpeg_2000, patient

VOXELS_MAX = 10_000_000
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def painted() -> PaintedVolume:
    """A small right eye's volume."""
    return paint_volume(draw_eye(7, "normal", eye="R"), frames=32, depth=100, columns=48, seed=1)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture whose colours and corners differ."""
    shades = np.zeros((60, 80, 3), dtype=np.uint8)
    shades[..., 0], shades[:30, :, 1], shades[:, :20, 2] = 200, 90, 30
    return shades


def scan_of(file: TopconFile) -> TopconScan:
    """What is read of a file."""
    return read_topcon(io.BytesIO(file.content()))


def reason_of(content: bytes) -> str:
    """Why a file is not read."""
    with pytest.raises(Undecodable) as caught:
        read_topcon(io.BytesIO(content))
    return caught.value.reason


def written(instances: list[FileDataset], folder: Path) -> list[Path]:
    """The instances as files."""
    paths = [folder / f"{number}.dcm" for number in range(len(instances))]
    for ds, path in zip(instances, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def test_an_fda_becomes_a_volume_its_photograph_and_its_layers(
    tmp_path: Path, painted: PaintedVolume, photograph: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    """Pixels, colours, spacing, eye, patient, time and layers come through, and our readers read them."""
    file = fda(painted.volume.pixels, layers=painted.layers, photograph=photograph)
    volume, picture, layers = topcon_instances(scan_of(file), DIGEST)
    paths = written([volume, picture, layers], tmp_path)

    known = read_geometry(read_header(paths[0]))
    np.testing.assert_array_equal(read_voxels(paths[0], known, voxels_max=VOXELS_MAX).pixels, painted.volume.pixels)
    assert astuple(known.spacing) == pytest.approx((187.5, 11.5, 125.0))
    assert not known.mirrored
    np.testing.assert_array_equal(read_rgb(paths[1], pixels_max=10_000), photograph)
    found = read_layers(paths[2], known, volume_uid=volume.SOPInstanceUID)
    for name in NAMES:
        assert np.nanmax(np.abs(getattr(found, name) - getattr(painted.layers, name))) <= 0.51
    assert (volume.PatientID, volume.PatientName, volume.PatientBirthDate) == ("0001234", "Yamada^Tarou", "19600102")
    assert (volume.ImageLaterality, volume.AcquisitionDateTime) == ("R", "20260304093015")
    assert (volume.ManufacturerModelName, volume.DeviceSerialNumber) == ("3DOCT-1Maestro2", "000042")
    assert volume.FrameOfReferenceUID == picture.FrameOfReferenceUID == layers.FrameOfReferenceUID
    first = volume.PerFrameFunctionalGroupsSequence[0].OphthalmicFrameLocationSequence[0]
    assert first.ReferenceCoordinates == pytest.approx([15 + 30 / 64, 20, 15 + 30 / 64, 60], abs=1e-3)


def test_an_fds_becomes_a_volume_and_its_photograph(
    tmp_path: Path, photograph: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> None:
    """16 bit and no layers; the eye is the other."""
    wide = (np.arange(32 * 100 * 48, dtype=np.uint32).reshape(32, 100, 48) // 3).astype(np.uint16)
    volume, picture = topcon_instances(scan_of(fds(wide, photograph)), DIGEST)
    paths = written([volume, picture], tmp_path)

    found = read_voxels(paths[0], read_geometry(read_header(paths[0])), voxels_max=VOXELS_MAX)
    assert found.scaled is not None
    assert np.all(np.diff(found.pixels[:, 50, 20].astype(int)) >= 0)
    np.testing.assert_array_equal(np.frombuffer(volume.PixelData, "<u2").reshape(wide.shape), wide)
    np.testing.assert_array_equal(read_rgb(paths[1], pixels_max=10_000), photograph)
    assert (volume.ImageLaterality, volume.LossyImageCompression) == ("L", "00")


def test_the_same_file_gives_the_same_instances(painted: PaintedVolume) -> None:
    """Imported twice it is a duplicate; another file's instances are others, of the same study on the same day."""
    first, again, other = (topcon_instances(scan_of(fda(painted.volume.pixels)), digest)[0] for digest in "aab")

    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.StudyInstanceUID == again.StudyInstanceUID == other.StudyInstanceUID
    later = fda(painted.volume.pixels)
    later.put(b"@CAPTURE_INFO_02", captured(0, (2026, 3, 5, 9, 0, 0)))
    assert topcon_instances(scan_of(later), "a")[0].StudyInstanceUID != first.StudyInstanceUID


@pytest.mark.parametrize("eye", [2, 255])
def test_an_unknown_eye_stays_unknown(painted: PaintedVolume, eye: int) -> None:
    """A number that means neither eye is none."""
    (volume,) = topcon_instances(scan_of(fda(painted.volume.pixels, eye=eye)), DIGEST)

    assert volume.ImageLaterality == ""


def test_contours_that_do_not_fit_are_left_out(painted: PaintedVolume) -> None:
    """One of another size, or of an unknown encoding: then there is no object of layers at all."""
    file = fda(painted.volume.pixels, layers=painted.layers)
    name, content = file.chunks[-1]
    file.chunks[-1] = (name, content[:20] + struct.pack("<H", 0x100) + content[22:])

    found = scan_of(file)

    assert set(found.contours) == {"ilm", "rnfl_gcl", "ipl_inl"}
    assert len(topcon_instances(found, DIGEST)) == 1


def test_a_name_that_is_no_ascii_is_left_out(painted: PaintedVolume) -> None:
    """Nothing says in which alphabet it is; a wrong name is worse than none."""
    file = fda(painted.volume.pixels)
    file.put(b"@PATIENT_INFO_02", patient(b"0001234", (0, 0, 0), given="太郎".encode("cp932")))

    found = scan_of(file)

    assert (found.given_name, found.family_name, found.birth_date) == ("", "Yamada", None)


def without(name: bytes) -> Callable[[TopconFile], None]:
    return lambda file: file.drop(name)


def hidden(file: TopconFile) -> None:
    file.drop(b"@PATIENT_INFO_02")
    file.put(b"@PATIENT_INFO_03", b"\x99" * 600)


def nobody(file: TopconFile) -> None:
    file.put(b"@PATIENT_INFO_02", patient(b""))


def strange_id(file: TopconFile) -> None:
    file.put(b"@PATIENT_INFO_02", patient(b"\xff\xfe12"))


def another_size(file: TopconFile) -> None:
    content = dict(file.chunks)[b"@IMG_JPEG"]
    file.put(b"@IMG_JPEG", struct.pack("<B6L", 2, 0, 0, 49, 100, 32, 0) + content[25:])


def huge(file: TopconFile) -> None:
    file.put(b"@IMG_JPEG", struct.pack("<B6L", 2, 0, 0, 65535, 65535, 512, 0))


def no_day(file: TopconFile) -> None:
    file.put(b"@CAPTURE_INFO_02", captured(0, (0, 0, 0, 0, 0, 0)))


def no_size(file: TopconFile) -> None:
    file.put(b"@PARAM_SCAN_04", struct.pack("<3L3d", 3, 0, 0, float("nan"), 6.0, 2.6))


def short_chunk(file: TopconFile) -> None:
    file.put(b"@PARAM_SCAN_04", b"\0" * 8)


def short_device(file: TopconFile) -> None:
    file.put(b"@HW_INFO_03", b"3DOCT" + b"\0" * 15)


def one_row(file: TopconFile) -> None:
    row = jpeg_2000(np.full((1, 48), 9, dtype=np.uint8))
    slices = (struct.pack("<L", len(row)) + row) * 32
    file.put(b"@IMG_JPEG", struct.pack("<B6L", 2, 0, 0, 48, 100, 32, 0) + slices)


def too_many_frames(file: TopconFile) -> None:
    dot = jpeg_2000(np.full((8, 8), 9, dtype=np.uint8))
    slices = (struct.pack("<L", len(dot)) + dot) * 2049
    file.put(b"@IMG_JPEG", struct.pack("<B6L", 2, 0, 0, 8, 8, 2049, 0) + slices)


def many_chunks(file: TopconFile) -> None:
    file.chunks += [(b"@X", b"")] * 5000


def nameless(file: TopconFile) -> None:
    file.chunks.append((b"X", b""))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(b"@IMG_JPEG"), "topcon-no-volume"),
        (without(b"@PARAM_SCAN_04"), "topcon-unreadable"),
        (without(b"@CAPTURE_INFO_02"), "topcon-unreadable"),
        (hidden, "topcon-no-patient"),
        (nobody, "topcon-no-patient"),
        (strange_id, "topcon-no-patient"),
        (another_size, "topcon-unreadable"),
        (huge, "size-implausible"),
        (no_day, "topcon-unreadable"),
        (no_size, "topcon-unreadable"),
        (short_chunk, "topcon-unreadable"),
        (short_device, "topcon-unreadable"),
        (one_row, "topcon-unreadable"),
        (too_many_frames, "size-implausible"),
        (many_chunks, "topcon-unreadable"),
        (nameless, "topcon-unreadable"),
    ],
)
def test_what_cannot_be_read_is_told(painted: PaintedVolume, change: Callable[[TopconFile], None], reason: str) -> None:
    """Each way of being broken ends in a reason."""
    file = fda(painted.volume.pixels)
    change(file)

    assert reason_of(file.content()) == reason


def test_another_file_is_not_read() -> None:
    """An empty file, a text, and one that is only a head."""
    for content in (b"", b"hello", b"FOCTFDA", b"FOCTFDA\2\0\0\0\3\0\0\0"):
        assert reason_of(content).startswith("topcon-")


def test_a_file_that_is_not_whole(painted: PaintedVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another beginning, an end that was cut where nothing is read, and a file beyond all sizes."""
    file = fda(painted.volume.pixels, layers=painted.layers)
    file.put(b"@THUMBNAIL", b"\0" * 200)
    content = file.content()
    assert reason_of(b"FOCX" + content[4:]) == "topcon-unreadable"
    assert reason_of(content[:-100]) == "topcon-unreadable"

    monkeypatch.setattr("oculard_models.importers.topcon_file.FILE_BYTES_MAX", len(content) - 1)
    assert reason_of(content) == "topcon-unreadable"


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(0, 255)), max_size=12), st.floats(0.0, 1.0))
def test_damage_is_told(painted: PaintedVolume, damage: list[tuple[int, int]], kept: float) -> None:
    """Bytes changed anywhere and a file cut anywhere give a scan or Undecodable, and nothing else."""
    content = bytearray(fda(painted.volume.pixels, layers=painted.layers).content())
    for at, value in damage:
        content[at % len(content)] = value

    try:
        found = read_topcon(io.BytesIO(bytes(content[: int(kept * len(content))])))
    except Undecodable:
        return
    assert found.pixels.ndim == 3
    topcon_instances(found, DIGEST)
