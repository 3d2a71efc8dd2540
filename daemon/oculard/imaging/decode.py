"""Pixels: one frame of an instance in any transfer syntax, as RGB. Nothing is trusted before its size was looked at."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array

# Decoders raise whatever their C libraries gave them; all of it means the same: this image has no pixels for us.
DECODER_ERRORS = (ValueError, RuntimeError, AttributeError, OSError, LookupError, TypeError)


class Undecodable(ValueError):
    """The pixels cannot be read. `reason` is a stable slug; the message has no patient data."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def read_header(path: Path) -> Dataset:
    """The header of a kept instance up to its pixels, its elements raw as they were received."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError) as why:
        raise Undecodable("header-unreadable", f"the header cannot be read: {type(why).__name__}") from why


def read_rgb(path: Path, *, pixels_max: int) -> npt.NDArray[np.uint8]:
    """The first frame as rows x columns x 3 of uint8, RGB. Raises Undecodable."""
    header = read_header(path)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    samples, bits = int(header.get("SamplesPerPixel") or 0), int(header.get("BitsAllocated") or 0)
    if rows < 1 or columns < 1 or rows * columns > pixels_max:
        raise Undecodable("size-implausible", f"an image of {rows} x {columns} pixels is not decoded")
    if samples != 3 or bits != 8:
        raise Undecodable("not-colour", f"expected 3 samples of 8 bits, the header says {samples} of {bits}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decoder's doubts about padding are not ours
            pixels = pixel_array(path, index=0)  # converts YBR to RGB
    except DECODER_ERRORS as why:
        raise Undecodable("pixels-undecodable", f"the pixels cannot be decoded: {type(why).__name__}") from why
    if pixels.shape != (rows, columns, 3) or pixels.dtype != np.uint8:
        raise Undecodable(
            "pixels-inconsistent", f"decoded {pixels.shape} of {pixels.dtype}, expected {rows} x {columns} x 3"
        )
    return pixels
