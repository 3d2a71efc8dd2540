"""Pixels: one frame of an instance in any transfer syntax. Nothing is trusted before its size was looked at."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import DecompressionBombError
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from oculard_models.dicom_header import is_too_large, must_be_the_files, share_meter
from oculard_models.header_cost import HeaderTooLarge
from oculard_models.header_file import LONG_BYTES, HeaderFile
from oculard_models.undecodable import Undecodable as Undecodable  # where everybody looks for it

# One decoder for each transfer syntax, the most robust there is: with none named, pydicom tries all that are installed
# in turn, and on damaged data the last one takes the whole process with it.
DECODERS = {
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
# Decoders raise whatever their C libraries gave them; all of it means the same: this image has no pixels for us.
PIECE_BYTES = 1 << 20
INFLATED_MAX = 256 << 20
META_GROUP, PIXEL_GROUP = 2, 0x7FE0
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
DECODER_ERRORS = (
    ValueError,
    RuntimeError,
    AttributeError,
    OSError,
    LookupError,
    TypeError,
    OverflowError,
    zlib.error,
    struct.error,
    EOFError,
    BytesLengthException,
    InvalidDicomError,
    DecompressionBombError,
)


def _refuse_segments(header: Dataset) -> None:
    """Refuse palettes in segments (PS3.3 C.7.9.2): few bytes unfold to gigabytes, and no eye device has them."""
    if any(f"Segmented{colour}PaletteColorLookupTableData" in header for colour in ("Red", "Green", "Blue")):
        raise Undecodable("pixels-unsupported", "the palette is in segments")


def read_header(path: Path) -> Dataset:
    """The header of a kept instance up to its pixels, its elements raw as they were received.

    Values longer than LONG_BYTES stay in the file. Raises Undecodable; OSError when the file cannot be read.
    """
    try:
        with HeaderFile(path) as file:
            header = _inflated_header(file, path)
            if header is None:
                header = _plain_header(file)
    except Undecodable:
        raise
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        if is_too_large(why):
            raise HeaderTooLarge from why
        raise Undecodable("header-unreadable", f"the header cannot be read: {type(why).__name__}") from why
    share_meter(header, file.meter)
    return header


def read_rgb(path: Path, *, pixels_max: int) -> npt.NDArray[np.uint8]:
    """The first frame as rows x columns x 3 of uint8, RGB. Raises Undecodable."""
    header = read_header(path)
    rows, columns, samples, bits = _described(header, pixels_max)
    if samples != 3 or bits != 8:
        raise Undecodable("not-colour", f"expected 3 samples of 8 bits, the header says {samples} of {bits}")
    pixels = _decoded(path, header, (rows, columns))
    if pixels.shape != (rows, columns, 3) or pixels.dtype != np.uint8:
        raise Undecodable("pixels-inconsistent", f"decoded {pixels.shape}, expected {rows} x {columns} x 3")
    return pixels


def read_values(path: Path, *, pixels_max: int) -> npt.NDArray[np.int32]:
    """The first frame as rows x columns of grey, or rows x columns x 3 (RGB), as stored and not scaled.

    White is high, whatever the header's convention; an image of indices into a palette becomes its colours. Raises
    Undecodable.
    """
    header = read_header(path)
    rows, columns, samples, bits = _described(header, pixels_max)
    if samples not in (1, 3) or bits not in (8, 16):
        raise Undecodable("pixels-unsupported", f"expected 1 or 3 samples of 8 or 16 bits: {samples} of {bits}")
    _refuse_segments(header)
    values = _decoded(path, header, (rows, columns))
    try:
        meaning = str(header["PhotometricInterpretation"].value).strip()
        if meaning == "PALETTE COLOR":
            values = apply_color_lut(values, dcmread(path, stop_before_pixels=True))
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        raise Undecodable("pixels-undescribed", "the header does not describe its pixels") from why
    if values.shape not in ((rows, columns), (rows, columns, 3)) or values.dtype.kind not in "iu":
        raise Undecodable("pixels-inconsistent", f"decoded {values.shape} of {values.dtype} for {rows} x {columns}")
    values = values.astype(np.int32)
    return values.max() + values.min() - values if meaning == "MONOCHROME1" else values


def _described(header: Dataset, pixels_max: int) -> tuple[int, int, int, int]:
    """Rows, columns, samples a pixel and bits allocated, as the header says. Raises Undecodable."""
    try:
        rows, columns = int(header["Rows"].value), int(header["Columns"].value)
        samples, bits = int(header["SamplesPerPixel"].value), int(header["BitsAllocated"].value)
    except DECODER_ERRORS as why:
        raise Undecodable("pixels-undescribed", "the header does not describe its pixels") from why
    if rows < 1 or columns < 1 or rows * columns > pixels_max:
        raise Undecodable("size-implausible", f"an image of {rows} x {columns} pixels is not decoded")
    return rows, columns, samples, bits


def _decoded(path: Path, header: Dataset, size: tuple[int, int]) -> npt.NDArray[Any]:
    """The first frame as its decoder gives it, YBR converted to RGB."""
    try:
        syntax = header.file_meta.TransferSyntaxUID
        ds = dcmread(path)
        if syntax.is_encapsulated:
            frame = get_frame(ds.PixelData, 0, number_of_frames=int(ds.get("NumberOfFrames") or 1))
            said = codestream_size(frame)
            if said not in (None, size):
                raise Undecodable("pixels-inconsistent", f"the codestream holds {said}, the header says {size}")
            if syntax == uid.JPEGBaseline8Bit and ds.get("PhotometricInterpretation") in ("YBR_FULL_422", "YBR_FULL"):
                rgb = jpeg_rgb(frame, size)
                if rgb is not None:
                    return rgb
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's doubts about padding are not ours
            return pixel_array(ds, index=0, decoding_plugin=DECODERS.get(syntax, ""))
    except Undecodable:
        raise
    except DECODER_ERRORS as why:
        must_be_the_files(why)
        raise Undecodable("pixels-undecodable", f"the pixels cannot be decoded: {type(why).__name__}") from why


def jpeg_rgb(frame: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """An ordinary YCbCr JPEG as RGB by libjpeg's own conversion; None for anything unusual, which pydicom must judge.

    The same values as pydicom's conversion, but for how a half is rounded (a test compares them), in a fifth of the
    time. Ordinary is: three components that libjpeg takes for YCbCr (a JFIF marker, or the identifiers 1, 2, 3) and no
    Adobe marker.
    """
    with Image.open(io.BytesIO(frame), formats=["JPEG"]) as picture:
        if picture.size != size[::-1]:  # libjpeg finds a size behind fill bytes, which `codestream_size` does not
            raise Undecodable(
                "pixels-inconsistent", f"the codestream holds {picture.size[::-1]}, the header says {size}"
            )
        identifiers = tuple(layer[0] for layer in getattr(picture, "layer", ()))
        is_ycc = "adobe_transform" not in picture.info and ("jfif" in picture.info or identifiers == (1, 2, 3))
        return np.asarray(picture) if picture.mode == "RGB" and is_ycc else None


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns as a JPEG, JPEG-LS or JPEG 2000 codestream itself says; None for what is none of them.

    A decoder allocates what the codestream says, whatever the header promised (ISO 10918-1 B.2, ISO 15444-1 A.5.1).
    """
    if frame[:4] == b"\xff\x4f\xff\x51":
        right, bottom, left, top = struct.unpack(">4L", frame[8:24])
        return bottom - top, right - left
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker in START_OF_FRAME:
            rows, columns = struct.unpack(">2H", frame[at + 5 : at + 9])
            return rows, columns
        at += 2 + length
    return None


def _plain_header(file: HeaderFile) -> Dataset:
    file.seek(0)
    return dcmread(file, stop_before_pixels=True, defer_size=LONG_BYTES)


def _inflated_header(file: HeaderFile, path: Path) -> Dataset | None:
    """The header of a deflated data set, of which no more is inflated; None for any other. pydicom inflates it all."""
    preamble = read_preamble(file, force=False)  # type: ignore[arg-type]  # it reads
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != META_GROUP)  # type: ignore[arg-type]
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return None
    _check_inflated_size(path, file.tell())
    file.inflate()
    ds = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 == PIXEL_GROUP)  # type: ignore[arg-type]
    header = FileDataset(file, ds, preamble, FileMetaDataset(meta), is_implicit_VR=False, is_little_endian=True)
    header.set_original_encoding(False, True, ds.original_character_set)
    return header


def _check_inflated_size(path: Path, begins_at: int) -> None:
    """Refuse a deflated data set that inflates to more than an eye's photograph, before anything inflates it."""
    with path.open("rb") as deflated:
        deflated.seek(begins_at)
        inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while inflated <= INFLATED_MAX and not inflater.eof:
            rest = inflater.unconsumed_tail or deflated.read(PIECE_BYTES)
            if not rest:
                return
            inflated += len(inflater.decompress(rest, PIECE_BYTES))
    if inflated > INFLATED_MAX:
        raise Undecodable("size-implausible", f"a deflated data set of more than {INFLATED_MAX} bytes is not decoded")
