"""Pixels of photographs, whatever file they come in; and files that are refused."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from photographs import fundus_folder
from PIL import Image
from pydicom import dcmread

from oculard_models.data.dicom_header import header_eye
from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, wrap_fundus, write_study
from oculard_models.data.person import sample_people
from oculard_models.data.photographs import Unreadable, find_instances, read_pixels

EYE = paint(sample_people(1, seed=1)[0], "R", 1, 96)
VISIT = Visit(study_uid="2.25.1", series_uid="2.25.2")


def write_dicom(folder: Path, compression: str, **changes: object) -> Path:
    """Write the eye as DICOM, with elements changed."""
    ds = wrap_fundus(EYE, VISIT, eye="R", uid="2.25.11", compression="raw" if compression == "raw" else "jpeg")
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return write_study(folder, [ds])[0]


@pytest.mark.parametrize("name", ["eye.png", "eye.tif", "eye.tiff", "eye.PNG", "eye.dcm", "no-suffix"])
def test_lossless_files_give_their_pixels(tmp_path: Path, name: str):
    """What a file is, its first bytes say: not its name."""
    path = tmp_path / name
    if name == "eye.dcm":
        write_dicom(tmp_path, "raw").rename(path)
    else:
        Image.fromarray(EYE).save(path, "TIFF" if "tif" in name else "PNG")

    np.testing.assert_array_equal(read_pixels(path), EYE)


@pytest.mark.parametrize("kind", ["jpg", "dcm"])
def test_jpeg_gives_nearly_its_pixels(tmp_path: Path, kind: str):
    """JPEG as a file and JPEG inside of DICOM are RGB in the end."""
    if kind == "jpg":
        Image.fromarray(EYE).save(tmp_path / "eye.jpg", quality=95)
    path = tmp_path / "eye.jpg" if kind == "jpg" else write_dicom(tmp_path, "jpeg")

    assert np.abs(read_pixels(path).astype(int) - EYE).mean() < 4.0


@pytest.mark.parametrize(
    ("mode", "name", "said"),
    [
        ("L", "grey.png", "no colour photograph"),
        ("L", "grey.jpg", "no colour photograph"),
        ("1", "black-and-white.png", "no colour photograph"),
        ("I;16", "deep.png", "16 bits a sample"),
        ("I;16", "deep.tif", "no colour photograph"),
        ("CMYK", "print.jpg", "no colour photograph"),
        ("LA", "grey.png", "no colour photograph"),
        ("F", "float.tif", "no colour photograph"),
        ("RGBA", "glass.png", "partly transparent"),
        ("RGB", "eye.gif", "no JPEG, PNG, TIFF or DICOM file"),
        ("RGB", "eye.bmp", "no JPEG, PNG, TIFF or DICOM file"),
    ],
)
def test_what_is_no_colour_photograph_is_refused(tmp_path: Path, mode: str, name: str, said: str):
    """Grey, deep, printed and transparent pictures are never converted in silence."""
    Image.new(mode, (32, 24)).save(tmp_path / name)

    with pytest.raises(Unreadable, match=said) as caught:
        read_pixels(tmp_path / name)

    assert name in str(caught.value)


def test_deep_colour_is_refused(tmp_path: Path):
    """16 bits a sample in three colours would be cut to 8 by the decoder; whoever has them decides how."""
    png = tmp_path / "deep.png"
    png.write_bytes(png_file(4, 4, depth=16))
    tiff = tmp_path / "deep.tif"
    tiff.write_bytes(deep_tiff())

    for path in (png, tiff):
        with pytest.raises(Unreadable, match="bits a sample; hint: convert it to 8"):
            read_pixels(path)


def png_file(width: int, height: int, depth: int) -> bytes:
    """Return a PNG file in three colours that says this size; its pixels are those of 4 x 4."""
    rows = b"".join(b"\0" + bytes(range(depth // 8 * 3 * 4)) for _ in range(4))
    head = struct.pack(">2I5B", width, height, depth, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_tiff() -> bytes:
    """Return a TIFF file of 2 x 2 pixels, three samples of 16 bits."""
    entries = [
        (256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 3, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 210),
        (277, 3, 1, 3), (278, 3, 1, 2), (279, 4, 1, 24), (284, 3, 1, 1),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries))
    head += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + struct.pack("<3H", 16, 16, 16) + b"\0" * 4 + bytes(24)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_turned_photograph_is_refused(tmp_path: Path, orientation: int):
    """A picture stored turned or mirrored shows another eye than a viewer does: nobody here chooses between them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(EYE).save(tmp_path / "turned.jpg", exif=exif)

    with pytest.raises(Unreadable, match=f"turned or mirrored \\(orientation {orientation}\\)"):
        read_pixels(tmp_path / "turned.jpg")


@pytest.mark.parametrize("name", ["pages.tif", "pages.png"])
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, name: str):
    """Which page is the photograph, nobody said."""
    Image.fromarray(EYE).save(tmp_path / name, save_all=True, append_images=[Image.fromarray(255 - EYE)])

    with pytest.raises(Unreadable, match="holds several pictures"):
        read_pixels(tmp_path / name)


@pytest.mark.parametrize("name", ["eye.png", "eye.jpg", "eye.tif", "eye.dcm"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path: Path, name: str, keep: float):
    """Half a photograph is none."""
    path = tmp_path / name
    if name == "eye.dcm":
        write_dicom(tmp_path, "raw").rename(path)
    else:
        Image.fromarray(EYE).save(path)
    os.truncate(path, int(path.stat().st_size * keep))

    with pytest.raises(Unreadable, match=name):
        read_pixels(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 2}, "expected one frame, the header says more"),
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}, "expected 3 samples of 8 bits"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels is not decoded"),
        ({"Rows": 48}, "the codestream holds"),
        ({"Rows": None}, "does not describe its pixels"),
    ],
)
def test_dicom_that_is_no_photograph_is_refused(tmp_path: Path, changes: dict[str, object], said: str):
    """One frame of three samples of 8 bits, as large as its header says: before anything is decoded."""
    with pytest.raises(Unreadable, match=said):
        read_pixels(write_dicom(tmp_path, "jpeg", **changes))


@pytest.mark.parametrize("size", [(9500, 9500), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_bomb_is_refused_by_its_size(tmp_path: Path, size: tuple[int, int]):
    """A small file that promises an enormous picture is refused before it is decoded."""
    (tmp_path / "bomb.png").write_bytes(png_file(*size, depth=8))

    with pytest.raises(Unreadable, match=r"bomb\.png (has 9500 x 9500 pixels|cannot be read as PNG: Image size)"):
        read_pixels(tmp_path / "bomb.png")


def test_no_file_is_refused(tmp_path: Path):
    """A folder, a pipe and nothing are no photographs; nobody waits for a pipe."""
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none.png"):
        with pytest.raises(Unreadable, match="is no file"):
            read_pixels(path)


def test_instances_are_found_among_other_files(tmp_path: Path):
    """Other files are passed over, links are not followed, and a file's name does not matter."""
    path = write_dicom(tmp_path / "deep" / "er", "raw")
    path.rename(path.with_name("anything"))
    Image.fromarray(EYE).save(tmp_path / "eye.png")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    (tmp_path / "a-link.dcm").symlink_to(path.with_name("anything"))

    assert find_instances(tmp_path) == {"2.25.11": path.with_name("anything").resolve()}
    assert find_instances(tmp_path, {"2.25.12"}) == {}


@pytest.mark.parametrize(
    ("image", "other", "eye"),
    [
        ("R", None, "R"),
        ("", "L", "L"),
        ("R", "R", "R"),
        ("R", "L", ""),
        ("B", None, ""),
        ("R", "B", ""),
        ("", None, ""),
    ],
)
def test_header_says_the_eye(tmp_path: Path, image: str, other: str | None, eye: str):
    """Two attributes may say it; where they contradict each other, or say both eyes, nothing is said."""
    path = write_dicom(tmp_path, "raw", ImageLaterality=image)
    ds = dcmread(path)
    if other is not None:
        ds.Laterality = other
    ds.save_as(path)

    assert header_eye(path) == eye


def test_real_photographs_are_read():
    """Every real photograph beside the project is colour of 8 bits."""
    paths = sorted(fundus_folder().rglob("*.jpg"))[::5]

    assert all(read_pixels(path).shape[2] == 3 for path in paths)


def test_real_dicom_is_read_or_refused(data: Path):
    """Awkward real DICOM gives pixels where it holds one colour frame, else a refusal; nothing else."""
    read = set()
    for path in sorted((data / "dicom").rglob("*")):
        try:
            read |= {path.name} if read_pixels(path).size else set()
        except Unreadable:
            continue

    assert {"SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "HTJ2KLossless_08_RGB.dcm", "SC_rgb_jls_lossy_line.dcm"} <= read
    assert "SC_rgb_expb_2frame.dcm" not in read
