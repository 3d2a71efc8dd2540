"""Frames of a multi-frame instance of grey values, by number, in any transfer syntax; one at a time in memory.

Nothing is trusted before its size was looked at: not the number of frames, not the tables of offsets, no codestream.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from oculard_models.dicom_header import header_numbers, header_text, must_be_the_files
from oculard_models.dicom_pixels import DECODER_ERRORS, DECODERS, Undecodable, codestream_size
from oculard_models.header_file import LONG_BYTES

UNDEFINED = 0xFFFFFFFF
ITEM, SEQUENCE_END, PIXEL_DATA = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", (0x7FE0, 0x0010)
FRAGMENTS_MAX = 1 << 16
SLACK_BYTES = 64 << 10  # a compressed frame may be larger than a raw one by no more
STARTS = (  # of a JPEG, of a JPEG 2000 codestream, of one in its box, and of RLE, of which a frame is one fragment
    b"\xff\xd8",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP",
    *(bytes((segments, 0, 0, 0, 64, 0, 0, 0)) for segments in (1, 2)),
)
Frame = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a header says of its pixels."""

    syntax: UID
    frames: int
    rows: int
    columns: int
    bits: int
    stored: int
    signed: bool
    inverted: bool

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.bits // 8


class Frames(Protocol):
    """The frames of a file, by number."""

    def frame(self, number: int) -> Frame:
        """One frame as stored, rows x columns."""


def read_layout(header: Dataset, voxels_max: int) -> Layout:
    """Read what the header says of its pixels. Raises Undecodable for what is no volume of grey values, or too much."""
    names = ("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "SamplesPerPixel")
    numbers = [(header_numbers(header, name) or (0.0,))[0] for name in names]
    if not all(0 < number < 1e6 for number in numbers):
        raise Undecodable("pixels-undescribed", "the header does not describe its pixels")
    frames, rows, columns, bits, samples = (int(number) for number in numbers)
    meaning = header_text(header, "PhotometricInterpretation")
    if samples != 1 or bits not in (8, 16) or meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise Undecodable("pixels-unsupported", f"expected 1 sample of 8 or 16 bits of grey: {samples} of {bits}")
    syntax = UID(str(header.file_meta.get("TransferSyntaxUID", "")))
    if syntax not in uid.AllTransferSyntaxes:
        raise Undecodable("pixels-unsupported", "the transfer syntax is unknown")
    if frames * rows * columns > voxels_max:
        raise Undecodable("size-implausible", f"a volume of {frames} x {rows} x {columns} voxels is not decoded")
    return Layout(
        syntax=syntax,
        frames=frames,
        rows=rows,
        columns=columns,
        bits=bits,
        stored=int((header_numbers(header, "BitsStored") or (bits,))[0]),
        signed=(header_numbers(header, "PixelRepresentation") or (0.0,))[0] == 1,
        inverted=meaning == "MONOCHROME1",
    )


def open_pixels(path: Path, layout: Layout) -> BinaryIO:
    """The file at the head of its pixel data, or what of it was deflated. Raises Undecodable and OSError."""
    if layout.syntax != uid.DeflatedExplicitVRLittleEndian:
        file = path.open("rb")
        try:
            dcmread(file, stop_before_pixels=True, defer_size=LONG_BYTES)
        except DECODER_ERRORS as why:
            file.close()
            must_be_the_files(why)
            raise Undecodable("pixels-undescribed", f"the pixels cannot be found: {type(why).__name__}") from why
        return file
    try:
        value = dcmread(path).PixelData
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        raise Undecodable("pixels-undecodable", f"the pixels cannot be inflated: {type(why).__name__}") from why
    return io.BytesIO(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, len(value)) + value)


def frames_of(file: BinaryIO, layout: Layout) -> Frames:
    """The frames of the pixel data at whose head the file stands."""
    order = "<" if layout.syntax.is_little_endian else ">"
    head = file.read(8 if layout.syntax.is_implicit_VR else 12)
    if len(head) < 8:
        raise Undecodable("frames-missing", "there are no pixels")
    if struct.unpack(f"{order}HH", head[:4]) != PIXEL_DATA:
        raise Undecodable("pixels-unsupported", "the pixels are no integers")
    if layout.syntax.is_encapsulated:
        return _Encapsulated(file, layout)
    (length,) = struct.unpack(f"{order}L", head[-4:])
    is_words = head[4:6] == b"OW" and order == ">" and layout.bits == 8
    return _Native(file, layout, length, swapped=is_words)


class _Native:
    """Frames one behind the other."""

    def __init__(self, file: BinaryIO, layout: Layout, length: int, *, swapped: bool) -> None:
        self._file, self._layout, self._start, self._swapped = file, layout, file.tell(), swapped
        expected = layout.frames * layout.frame_bytes
        there = file.seek(0, io.SEEK_END) - self._start
        if length == UNDEFINED or length > expected + 1:  # one byte of padding
            raise Undecodable("pixels-inconsistent", f"expected {expected} bytes of pixels, the header says {length}")
        if min(length, there) < expected:
            raise Undecodable("frames-missing", f"expected {expected} bytes of pixels, there are {min(length, there)}")

    def frame(self, number: int) -> Frame:
        """One frame as stored."""
        layout = self._layout
        self._file.seek(self._start + number * layout.frame_bytes)
        content = self._file.read(layout.frame_bytes)
        if len(content) != layout.frame_bytes:
            raise Undecodable("frames-missing", "the file became shorter")
        if self._swapped:  # PS3.5 8.1.1: bytes in words, and the words are big endian
            content = np.frombuffer(content, dtype="<u2").byteswap().tobytes()
        kind = "u1" if layout.bits == 8 else "i2" if layout.signed else "u2"
        values = np.frombuffer(content, dtype=np.dtype(kind).newbyteorder("<" if self._little else ">"))
        return values.reshape(layout.rows, layout.columns)

    @property
    def _little(self) -> bool:
        return self._layout.syntax.is_little_endian


class _Encapsulated:
    """Compressed frames in fragments (PS3.5 A.4). The extended table of offsets is not needed, and not believed."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file, self._layout = file, layout
        self._parts = _grouped(file, *_items(file), layout.frames)
        self._options: dict[str, Any] = {
            "transfer_syntax_uid": layout.syntax,
            "rows": layout.rows,
            "columns": layout.columns,
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_representation": int(layout.signed),
            "bits_allocated": layout.bits,
            "bits_stored": layout.stored,
            "number_of_frames": 1,
            "pixel_keyword": "PixelData",
        }

    def frame(self, number: int) -> Frame:
        """One frame, decoded."""
        layout, parts = self._layout, self._parts[number]
        if sum(size for _, size in parts) > 2 * layout.frame_bytes + SLACK_BYTES:
            raise Undecodable("pixels-inconsistent", "a compressed frame is larger than a raw one")
        content = b"".join(self._part(at, size) for at, size in parts)
        try:
            said = codestream_size(content)
            if said not in (None, (layout.rows, layout.columns)):
                raise Undecodable("pixels-inconsistent", f"a codestream holds {said}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a decoder's doubts about padding are not ours
                values, _ = get_decoder(layout.syntax).as_array(
                    encapsulate([content]),
                    index=0,
                    raw=True,
                    decoding_plugin=DECODERS.get(layout.syntax, ""),
                    **self._options,
                )
        except Undecodable:
            raise
        except DECODER_ERRORS as why:
            raise Undecodable("pixels-undecodable", f"a frame cannot be decoded: {type(why).__name__}") from why
        if values.shape != (layout.rows, layout.columns) or values.dtype.kind not in "iu":
            raise Undecodable("pixels-inconsistent", f"decoded {values.shape} of {values.dtype}")
        return values

    def _part(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)


def _items(file: BinaryIO) -> tuple[list[int], list[tuple[int, int]]]:
    """The basic table of offsets, and where each fragment's bytes begin and how many they are. Raises Undecodable."""
    found: list[tuple[int, int]] = []
    begin = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(begin)
    while True:
        head = file.read(8)
        if len(head) < 8 or head[:4] == SEQUENCE_END:
            break
        size, at = int.from_bytes(head[4:], "little"), file.tell()
        if head[:4] != ITEM or at + size > end or len(found) > FRAGMENTS_MAX:
            raise Undecodable("pixels-undecodable", "the fragments of the pixels are broken")
        found.append((at, size))
        file.seek(size, io.SEEK_CUR)
    if not found:
        raise Undecodable("frames-missing", "there are no pixels")
    at, size = found[0]
    file.seek(at)
    table = file.read(min(size, 4 * FRAGMENTS_MAX))
    return [one for (one,) in struct.iter_unpack("<L", table[: len(table) // 4 * 4])], found[1:]


def _grouped(
    file: BinaryIO, offsets: list[int], fragments: list[tuple[int, int]], frames: int
) -> list[list[tuple[int, int]]]:
    """The fragments of each frame: one each, or by the table of offsets, or by where a codestream begins."""
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if len(offsets) == frames:
        starts = {fragments[0][0] + offset for offset in offsets}
    else:
        starts = {at for at, _ in fragments if _begins(file, at)}
    groups: list[list[tuple[int, int]]] = []
    for at, size in fragments:
        if at in starts or not groups:
            groups.append([])
        groups[-1].append((at, size))
    if len(groups) != frames:
        reason = "frames-missing" if len(groups) < frames else "pixels-inconsistent"
        raise Undecodable(reason, f"expected {frames} frames, there are {len(groups)}")
    return groups


def _begins(file: BinaryIO, at: int) -> bool:
    """Whether a codestream begins there."""
    file.seek(at)
    return file.read(8).startswith(STARTS)
