"""What a table needs of a DICOM header: the instance's UID, its eye, and how many frames it has."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from oculard_models.dicom_pixels import DECODER_ERRORS, read_header


def read_uid(path: Path) -> str:
    """Return the SOP Instance UID, "" where the header has none. Raises Undecodable; OSError as `read_header`."""
    return _text(read_header(path), "SOPInstanceUID")


def header_eye(path: Path) -> str:
    """Return "R" or "L" as Image Laterality and Laterality say, "" where they are silent, contradict or say both."""
    header = read_header(path)
    said = {_text(header, keyword).upper() for keyword in ("ImageLaterality", "Laterality")} - {""}
    return said.pop() if said in ({"R"}, {"L"}) else ""


def has_one_frame(path: Path) -> bool:
    """Tell whether the header speaks of a single frame, or of none in particular."""
    return _text(read_header(path), "NumberOfFrames") in ("", "1")


def _text(header: Dataset, keyword: str) -> str:
    """Return an element as text, "" where it is missing or cannot be read."""
    try:
        value = header.get(keyword)
    except DECODER_ERRORS:
        return ""
    return "" if value is None else str(value).strip()
