"""Geometry: what a source's header says of its pixels and a companion repeats; whatever is malformed is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from oculard.report import raw
from oculard.report.source import Source

DECIMAL = re.compile(r"\+?(?=[0-9.]*[1-9])([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")  # above 0
UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")  # PS3.5 9.1
ORIENTATION = re.compile(r"[APRLHF]{1,3}")  # PS3.3 C.7.6.1.1.1
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})  # with loss, whatever the header says
YES_NO = re.compile(r"YES|NO")
METHOD = re.compile(r"[A-Z0-9_ ]{1,16}")
DECIMAL_CHARS_MAX, UID_CHARS_MAX = 16, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Decimal strings as they are in the header, each of them a number above 0.

    `lossy` says that the pixels were once compressed with loss; `lossy_ratios` and `lossy_methods` say how, if known.
    """

    pixel_spacing: tuple[str, ...]  # row, column, in mm; () when unknown, as is each of the others
    slice_thickness: str
    frame_of_reference_uid: str
    patient_orientation: tuple[str, ...]
    lossy: bool
    lossy_ratios: tuple[str, ...]
    lossy_methods: tuple[str, ...]
    burned_in: str  # "YES" or "NO", whether the pixels name somebody; "" when the header does not say


def geometry(source: Source) -> Geometry:
    """Read an image's geometry."""
    uid = raw.text(source.header, "FrameOfReferenceUID")
    return Geometry(
        pixel_spacing=_values(source, "PixelSpacing", DECIMAL, number=2),
        slice_thickness="".join(_values(source, "SliceThickness", DECIMAL, number=1)),
        frame_of_reference_uid=uid if UID.fullmatch(uid) and len(uid) <= UID_CHARS_MAX else "",
        patient_orientation=_values(source, "PatientOrientation", ORIENTATION, number=2),
        lossy=raw.text(source.header, "LossyImageCompression") == "01" or _syntax(source) in LOSSY,
        lossy_ratios=_values(source, "LossyImageCompressionRatio", DECIMAL),
        lossy_methods=_values(source, "LossyImageCompressionMethod", METHOD),
        burned_in="".join(_values(source, "BurnedInAnnotation", YES_NO, number=1)),
    )


def set_lossy(ds: Dataset, known: Geometry) -> None:
    """Say of what is made of these pixels that they lost something once, as they did (PS3.3 C.7.6.1.1.5)."""
    ds.LossyImageCompression = "01" if known.lossy else "00"
    if known.lossy and len(known.lossy_ratios) == len(known.lossy_methods) > 0:
        ds.LossyImageCompressionRatio = list(known.lossy_ratios)
        ds.LossyImageCompressionMethod = list(known.lossy_methods)


def _syntax(source: Source) -> str:
    """The transfer syntax of the source's file; "" where the header comes without its file meta information."""
    return str(getattr(source.header, "file_meta", Dataset()).get("TransferSyntaxUID", ""))


def _values(source: Source, keyword: str, shape: re.Pattern[str], number: int | None = None) -> tuple[str, ...]:
    """An element's values when all of them are of the right shape and number."""
    values = tuple(value.strip(" \0") for value in raw.text(source.header, keyword).split("\\"))
    fine = all(shape.fullmatch(value) and len(value) <= DECIMAL_CHARS_MAX for value in values)
    return values if fine and number in (None, len(values)) else ()
