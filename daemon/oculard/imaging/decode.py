"""Pixels: one frame of an instance in any transfer syntax, as RGB. Nothing is trusted before its size was looked at."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL.Image import DecompressionBombError
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array

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
DECODER_ERRORS = (
    ValueError,
    RuntimeError,
    AttributeError,
    OSError,
    LookupError,
    TypeError,
    struct.error,
    EOFError,
    BytesLengthException,
    InvalidDicomError,
    DecompressionBombError,
)


class Undecodable(ValueError):
    """The pixels cannot be read. `reason` is a stable slug; the message has no patient data."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def read_header(path: Path) -> Dataset:
    """The header of a kept instance up to its pixels, its elements raw as they were received."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except OSError:
        raise  # the vault's trouble, not the image's
    except DECODER_ERRORS as why:
        raise Undecodable("header-unreadable", f"the header cannot be read: {type(why).__name__}") from why


def read_rgb(path: Path, *, pixels_max: int) -> npt.NDArray[np.uint8]:
    """The first frame as rows x columns x 3 of uint8, RGB. Raises Undecodable."""
    header = read_header(path)
    try:
        rows, columns = int(header["Rows"].value), int(header["Columns"].value)
        samples, bits = int(header["SamplesPerPixel"].value), int(header["BitsAllocated"].value)
    except DECODER_ERRORS as why:
        raise Undecodable("pixels-undescribed", "the header does not describe its pixels") from why
    if rows < 1 or columns < 1 or rows * columns > pixels_max:
        raise Undecodable("size-implausible", f"an image of {rows} x {columns} pixels is not decoded")
    if samples != 3 or bits != 8:
        raise Undecodable("not-colour", f"expected 3 samples of 8 bits, the header says {samples} of {bits}")
    pixels = _decoded(path, header)
    if pixels.shape != (rows, columns, 3) or pixels.dtype != np.uint8:
        raise Undecodable("pixels-inconsistent", f"decoded {pixels.shape}, expected {rows} x {columns} x 3")
    return pixels


def _decoded(path: Path, header: Dataset) -> npt.NDArray[Any]:
    """The first frame as its decoder gives it, YBR converted to RGB."""
    try:
        syntax = header.file_meta.TransferSyntaxUID
        source = dcmread(path) if syntax.is_deflated else path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's doubts about padding are not ours
            return pixel_array(source, index=0, decoding_plugin=DECODERS.get(syntax, ""))
    except DECODER_ERRORS as why:
        raise Undecodable("pixels-undecodable", f"the pixels cannot be decoded: {type(why).__name__}") from why
