"""Topcon's own files, .fda and .fds: named chunks with an OCT volume, a photograph and the device's layer contours.

No specification is published. What is read here is what those who read such files agree on (the uocte project's page
on the format, and OCT-Converter, MIT); where they do not, nothing is read. Every size is looked at before it is used.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.dicom_geometry import FRAMES_MAX
from oculard_models.dicom_header import must_be_the_files
from oculard_models.dicom_pixels import DECODER_ERRORS, Undecodable
from oculard_models.volumes.volume import Map

MAGIC, SUFFIXES = b"FOCT", frozenset({".fda", ".fds"})
FILE_BYTES_MAX = 2 << 30
CHUNKS_MAX, NAME_MAX = 4096, 64
VOXELS_MAX, PHOTOGRAPH_PIXELS_MAX = 300_000_000, 50_000_000
NO_HEIGHT = 10_000  # of a contour: larger values are no heights
EYES: Mapping[int, str] = MappingProxyType({0: "R", 1: "L"})
CONTOURS: Mapping[str, str] = MappingProxyType(
    {
        "MULTILAYERS_1": "ilm",
        "MULTILAYERS_2": "rnfl_gcl",
        "MULTILAYERS_4": "ipl_inl",
        "MULTILAYERS_7": "bm",
    }
)
Chunks = Mapping[str, tuple[tuple[int, int], ...]]  # by name: where each begins, and its bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TopconScan:
    """One acquisition. `pixels` is frames x depth x columns, superior first, uint8 or uint16; `eye` "" is unknown."""

    pixels: npt.NDArray[Any]
    size_mm: tuple[float, float]  # from the first column to the last, from the first frame to the last
    depth_um: float  # of a pixel
    eye: str
    taken: datetime  # the device's local time
    patient_id: str
    lossy_ratio: float | None = None  # of the frames as they lie in the file
    family_name: str = ""
    given_name: str = ""
    birth_date: date | None = None
    model: str = ""
    serial: str = ""
    contours: Mapping[str, Map] = field(default_factory=dict)  # rows of the volume, frames x columns
    photograph: npt.NDArray[np.uint8] | None = None  # RGB
    box_px: tuple[int, int, int, int] | None = None  # of the scan in the photograph: left, top, right, bottom


def read_topcon(file: BinaryIO) -> TopconScan:
    """Read an open .fda or .fds file. Raises Undecodable; OSError when it cannot be read."""
    try:
        reader = _Reader(file)
        return reader.scan()
    except Undecodable:
        raise
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        raise Undecodable("topcon-unreadable", f"not a Topcon file that can be read: {type(why).__name__}") from why


def is_topcon(path: Path) -> bool:
    """Whether a file's name says that it is one of Topcon's own."""
    return path.suffix.lower() in SUFFIXES


class _Reader:
    """The chunks of one file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._chunks = _chunks(file)

    def scan(self) -> TopconScan:
        """Everything that is known of the acquisition."""
        pixels = self._volume()
        x_mm, y_mm, z_um = self._parameters()
        eye, taken = self._capture()
        photograph = self._photograph()
        model, serial = self._device()
        return TopconScan(
            pixels=pixels,
            size_mm=(x_mm, y_mm),
            depth_um=z_um,
            lossy_ratio=self._ratio(pixels.size) if pixels.dtype == np.uint8 else None,
            eye=EYES.get(eye, ""),
            taken=taken,
            model=model,
            serial=serial,
            contours=self._contours(pixels.shape),
            photograph=photograph,
            box_px=None if photograph is None else self._box(photograph.shape),
            **self._patient(),
        )

    def _read(self, name: str, form: str, count: int = 0) -> tuple[Any, ...] | None:
        """The head of a chunk as `struct` reads it; the file stands behind it. None when there is no such chunk."""
        if len(self._chunks.get(name, ())) <= count:
            return None
        at, size = self._chunks[name][count]
        head = struct.Struct("<" + form)
        if size < head.size:
            raise Undecodable("topcon-unreadable", f"the chunk {name} is cut short")
        self._file.seek(at)
        return head.unpack(self._file.read(head.size))

    def _volume(self) -> npt.NDArray[Any]:
        """The frames, from whichever chunk has them."""
        head = self._read("@IMG_JPEG", "B6L")
        if head is not None:
            _, _, _, columns, rows, frames, _ = head
            _must_be_plausible(frames, rows, columns)
            return self._compressed(frames, rows, columns)
        for name in ("@IMG_MOT_COMP_03", "@IMG_SCAN_03"):
            head = self._read(name, "B4LBL")
            if head is not None:
                _, columns, rows, bits, frames, _, _ = head
                _must_be_plausible(frames, rows, columns)
                if bits != 16:
                    raise Undecodable("topcon-unreadable", f"a volume of {bits} bits is not read")
                content = self._file.read(2 * frames * rows * columns)
                return np.frombuffer(content, dtype="<u2").reshape(frames, rows, columns)
        raise Undecodable("topcon-no-volume", "there is no OCT volume in it that can be read")

    def _ratio(self, voxels: int) -> float:
        return voxels / max(1, self._chunks["@IMG_JPEG"][0][1])

    def _compressed(self, frames: int, rows: int, columns: int) -> npt.NDArray[np.uint8]:
        """Frames as JPEG 2000, each behind its size."""
        pixels = np.empty((frames, rows, columns), dtype=np.uint8)
        for frame in range(frames):
            (size,) = struct.unpack("<L", self._file.read(4))
            picture = _decoded(self._file.read(min(size, 2 * rows * columns + (1 << 16))), rows * columns)
            if picture.shape != (rows, columns):
                raise Undecodable("topcon-unreadable", f"frame {frame} is {picture.shape}, not {rows} x {columns}")
            pixels[frame] = picture
        return pixels

    def _parameters(self) -> tuple[float, float, float]:
        """Width and height of the field in mm, and depth of a pixel in um."""
        head = self._read("@PARAM_SCAN_04", "12x3d") or self._read("@PARAM_SCAN_02", "21x3d")
        if head is None:
            raise Undecodable("topcon-unreadable", "it does not say how large the scan is")
        x_mm, y_mm, z_um = head
        if not all(0.0 < size < 1e4 for size in head):  # what no eye has is told where the volume is read
            raise Undecodable("topcon-unreadable", "it does not say how large the scan is")
        return x_mm, y_mm, z_um

    def _capture(self) -> tuple[int, datetime]:
        """The eye's number, and when it was scanned."""
        head = self._read("@CAPTURE_INFO_02", "BB104x6H") or self._read("@CAPTURE_INFO", "B6H")
        if head is None:
            raise Undecodable("topcon-unreadable", "it does not say which eye was scanned, and when")
        year, month, day, hour, minute, second = head[-6:]
        return head[0], datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  the device's clock has no zone

    def _patient(self) -> dict[str, Any]:
        """Who it is; a file that hides it cannot be matched with anything, and is refused."""
        head = self._read("@PATIENT_INFO_02", "32s32s32s8xB3H") or self._read("@PATIENT_INFO", "32s32s32s8xB3H")
        patient_id = "" if head is None else _text(head[0])
        if head is None or not patient_id:
            raise Undecodable("topcon-no-patient", "it has no patient ID that can be read")
        try:
            birth_date = date(*head[-3:]) if head[-3] >= 1850 else None
        except ValueError:
            birth_date = None
        return {
            "patient_id": patient_id,
            "given_name": _text(head[1]),
            "family_name": _text(head[2]),
            "birth_date": birth_date,
        }

    def _device(self) -> tuple[str, str]:
        for name in ("@HW_INFO_03", "@HW_INFO_02", "@HW_INFO_01"):
            head = self._read(name, "16s16s")
            if head is not None:
                return _text(head[0]), _text(head[1])
        return "", ""

    def _contours(self, shape: tuple[int, ...]) -> dict[str, Map]:
        """The boundaries of our four layers as rows of the volume; those of another size are left out."""
        frames, rows, columns = shape
        found: dict[str, Map] = {}
        for number in range(len(self._chunks.get("@CONTOUR_INFO", ()))):
            head = self._read("@CONTOUR_INFO", "20sH3L", number)
            assert head is not None
            name = CONTOURS.get(_text(head[0]))
            if name is None or name in found or head[1:4] != (0, columns, frames):
                continue
            content = self._file.read(2 * frames * columns)
            heights = np.frombuffer(content, dtype="<u2").reshape(frames, columns)[::-1].astype(np.float32)
            found[name] = np.where(heights > NO_HEIGHT, np.nan, rows - heights).astype(np.float32)
        return found

    def _photograph(self) -> npt.NDArray[np.uint8] | None:
        """The colour photograph as RGB; the device stores blue first."""
        head = self._read("@IMG_FUNDUS", "4L4sL")
        if head is not None:
            picture = _decoded(self._file.read(min(head[5], 3 * PHOTOGRAPH_PIXELS_MAX)), PHOTOGRAPH_PIXELS_MAX)
        else:
            head = self._read("@IMG_OBS", "4LBL")
            if head is None or head[2] != 24 or not 0 < head[0] * head[1] <= PHOTOGRAPH_PIXELS_MAX:
                return None
            picture = np.frombuffer(self._file.read(3 * head[0] * head[1]), np.uint8).reshape(head[1], head[0], 3)
        if picture.ndim != 3 or picture.shape[2] != 3:
            return None
        return np.ascontiguousarray(picture[:, :, ::-1])

    def _box(self, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
        """Where the scan lies in the photograph; None where that is said nowhere, or lies outside."""
        head = self._read("@REGIST_INFO", "B2L4L")
        if head is None:
            return None
        left, top, right, bottom = head[3:]
        inside = 0 <= left < right <= shape[1] and 0 <= top < bottom <= shape[0]
        return (left, top, right, bottom) if inside else None


def _chunks(file: BinaryIO) -> Chunks:
    """Where the chunks are. Raises Undecodable for what is no such file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(15)
    if head[:4] != MAGIC or size > FILE_BYTES_MAX:
        raise Undecodable("topcon-unreadable", "not a Topcon file, or one of more than 2 GiB")
    found: dict[str, tuple[tuple[int, int], ...]] = {}
    for _ in range(CHUNKS_MAX):
        length = file.read(1)
        if not length or not length[0]:
            return found
        name = file.read(length[0])
        content = file.read(4)
        if len(content) < 4 or length[0] > NAME_MAX or not name.startswith(b"@"):
            raise Undecodable("topcon-unreadable", "its chunks are broken")
        at, bytes_ = file.tell(), int.from_bytes(content, "little")
        if at + bytes_ > size:
            raise Undecodable("topcon-unreadable", "it is cut short")
        key = name.decode("ascii", errors="replace")
        found[key] = (*found.get(key, ()), (at, bytes_))
        file.seek(at + bytes_)
    raise Undecodable("topcon-unreadable", f"it has more than {CHUNKS_MAX} chunks")


def _must_be_plausible(frames: int, rows: int, columns: int) -> None:
    if not (0 < frames <= FRAMES_MAX and rows and columns and frames * rows * columns <= VOXELS_MAX):
        raise Undecodable("size-implausible", f"a volume of {frames} x {rows} x {columns} is not decoded")


def _decoded(content: bytes, pixels_max: int) -> npt.NDArray[np.uint8]:
    """A JPEG or JPEG 2000 picture, grey or in its three channels."""
    with Image.open(io.BytesIO(content), formats=["JPEG2000", "JPEG"]) as picture:
        if picture.width * picture.height > pixels_max or picture.mode not in ("L", "RGB"):
            raise Undecodable("topcon-unreadable", f"a picture of {picture.size} in {picture.mode} is not decoded")
        return np.asarray(picture)


def _text(raw: bytes) -> str:
    """A text that is plain ASCII; "" for any other, whose alphabet nothing says."""
    text = raw.split(b"\0", 1)[0].strip()
    return text.decode("ascii") if text.isascii() and text.decode("ascii").isprintable() else ""
