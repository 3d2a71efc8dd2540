"""Photographs from files: JPEG, PNG, TIFF and DICOM as RGB pixels, and instances found by their UID.

What a file declares decides: grey pictures, more than 8 bits a sample, several pages and a turned or mirrored
orientation (EXIF) are refused, never converted in silence. Colour profiles are not applied, as in the daemon.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from oculard_models.data.dicom_header import has_one_frame, read_uid
from oculard_models.dicom_pixels import Undecodable, read_rgb
from oculard_models.preprocess import Pixels

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})
PIXELS_MAX = 89_000_000  # of one photograph: more than any camera has, less than Pillow warns of
FILE_BYTES_MAX = 1 << 30
DICM_AT = 128  # the preamble's length (PS3.10 7.1)
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
COLOUR_MODES = ("RGB", "RGBA", "P")
ORIENTATION, BITS_PER_SAMPLE = 0x0112, 0x0102  # TIFF and EXIF tags
PNG_DEPTH_AT = 24  # of the bit depth in the first chunk (PNG 11.2.2)
# What Pillow raises on damaged files, by experience.
PICTURE_ERRORS = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    RuntimeError,
    AttributeError,
    MemoryError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Unreadable(ValueError):
    """A file is no colour photograph that can be read. The message names the file and says why."""


def read_pixels(path: Path) -> Pixels:
    """Read one colour photograph, rows x columns x 3, uint8, RGB. Raises Unreadable."""
    if not path.is_file():  # a pipe would wait for ever
        raise Unreadable(f"{path} is no file")
    try:
        with path.open("rb") as file:
            start = file.read(DICM_AT + 4)
            size = os.fstat(file.fileno()).st_size
    except OSError as why:
        raise Unreadable(f"{path} cannot be opened: {why.strerror}") from why
    if size > FILE_BYTES_MAX:
        raise Unreadable(f"{path} has {size} bytes; a photograph of more than {FILE_BYTES_MAX} is not read")
    if start[DICM_AT:] == b"DICM":
        return _dicom(path)
    kind = next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)
    if kind is None:
        raise Unreadable(f"{path} is no JPEG, PNG, TIFF or DICOM file")
    if kind == "PNG" and start[PNG_DEPTH_AT : PNG_DEPTH_AT + 1] == b"\x10":
        raise Unreadable(f"{path} has 16 bits a sample; hint: convert it to 8, so that you decide how")
    return _picture(path, kind)


def find_instances(folder: Path, wanted: Collection[str] | None = None) -> dict[str, Path]:
    """Find DICOM files below a folder by SOP Instance UID (all of them, or the wanted), reading headers only.

    Links are not followed, what is no DICOM file is passed over, and of equal copies the first by path is taken.
    Raises Unreadable where two different files have one UID: nobody can say which is meant.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.resolve().rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            uid = read_uid(path)
        except (Undecodable, OSError):
            continue  # no DICOM file, or a broken one: it has no UID that a table could mean
        if not uid or (wanted is not None and uid not in wanted):
            continue
        first = found.setdefault(uid, path)
        if first != path and _digest(first) != _digest(path):
            raise Unreadable(f"instance {uid} is in two different files, {first} and {path}")
    return found


def _dicom(path: Path) -> Pixels:
    """Decode a DICOM file."""
    try:
        if not has_one_frame(path):
            raise Unreadable(f"{path} cannot be read as DICOM: expected one frame, the header says more")
        return read_rgb(path, pixels_max=PIXELS_MAX)
    except (Undecodable, OSError) as why:
        raise Unreadable(f"{path} cannot be read as DICOM: {why}") from why


def _picture(path: Path, kind: str) -> Pixels:
    """Decode a JPEG, PNG or TIFF file after a look at what it declares."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's doubts about metadata are not ours
            with Image.open(path, formats=[kind]) as picture:
                wrong = _wrong(picture, kind)
                if wrong:
                    raise Unreadable(f"{path} {wrong}")
                if picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255):
                    raise Unreadable(f"{path} is partly transparent; hint: save it without an alpha channel")
                return np.asarray(picture.convert("RGB"))
    except Unreadable:
        raise
    except PICTURE_ERRORS as why:
        raise Unreadable(f"{path} cannot be read as {kind}: {str(why) or type(why).__name__}") from why


def _wrong(picture: Image.Image, kind: str) -> str:
    """Say what a picture declares that makes it no photograph for us, or nothing."""
    width, height = picture.size
    if width * height > PIXELS_MAX or width < 1 or height < 1:
        return f"has {width} x {height} pixels; more than {PIXELS_MAX} are not decoded"
    if picture.mode not in COLOUR_MODES:
        return f"is no colour photograph of 8 bits a sample (its mode is {picture.mode})"
    if kind == "TIFF" and max(getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8:
        return "has more than 8 bits a sample; hint: convert it to 8, so that you decide how"
    if kind != "JPEG" and getattr(picture, "n_frames", 1) != 1:  # a camera's JPEG may hold a preview as well
        return "holds several pictures; hint: which one is the photograph?"
    turned = picture.getexif().get(ORIENTATION, 1)
    if turned not in (0, 1):
        return (
            f"is stored turned or mirrored (orientation {turned}); hint: turn the picture itself, then its eye is sure"
        )
    return ""


def _digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
