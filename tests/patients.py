"""Who was a patient in the tests, and whether a log names one: every DICOM file against every log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "PatientComments",
    "ReferringPhysicianName",
    "AccessionNumber",
)
BROKEN = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    AttributeError,
)
CHARS_MIN = 5  # what is shorter stands in many a word
COMMON = frozenset({"image", "study", "other", "sample", "person"})  # words of our own that are parts of test names


def values(folder: Path) -> set[str]:
    """What tells of a patient in the DICOM files below a folder: whole values, and the parts of names."""
    found: set[str] = set()
    for path in _files(folder):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                continue
        found |= _of_file(path)
    return found


def _of_file(path: Path) -> set[str]:
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
        texts = [str(one) for keyword in KEYWORDS for one in _several(ds.get(keyword))]
    except BROKEN:
        return set()  # on purpose
    parts = {part.strip() for text in texts for part in (text, *re.split(r"[\^=\s]", text))}
    return {part for part in parts if _tells(part)}


def _several(value: object) -> Iterable[object]:
    if value is None:
        return ()
    return value if isinstance(value, MultiValue) else (value,)


def _tells(part: str) -> bool:
    long = len(part) >= CHARS_MIN or (len(part) > 1 and not part.isascii())
    return long and part.casefold() not in COMMON and "<withheld>" not in part


def logs(folder: Path) -> Iterator[Path]:
    """Every log below a folder: those of daemons, and the events of the test run itself."""
    for path in _files(folder):
        if path.name == "log" or re.search(r"\.log(\.\d+)?$", path.name):
            yield path


def leaks(folder: Path) -> list[str]:
    """Each log that names a patient, with what it says."""
    told = sorted(values(folder))
    found = []
    for path in logs(folder):
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path}: {value}" for value in told if value in text and _stands_alone(value, text)]
    return found


def _stands_alone(value: str, text: str) -> bool:
    """Whether it is there for itself: a date's digits may stand by chance in a UID."""
    return re.search(rf"(?<![\w.]){re.escape(value)}(?!\w)", text) is not None


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                yield path
        except OSError:
            continue  # gone meanwhile, or made unreadable by a test
