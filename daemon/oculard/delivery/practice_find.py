"""C-FIND over a few headers, for the practice PACS: PS3.4 C.2.2.2, as much of it as a demonstration needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

LEVELS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
UNMATCHED = {"QueryRetrieveLevel", "SpecificCharacterSet"}
EARLIEST, LATEST = "0", "9"  # before and after every date


def find(query: Dataset, headers: Iterable[Dataset]) -> Iterator[Dataset]:
    """An answer for each entity of the query's level that matches, with the attributes that the query asks for."""
    level = str(query.get("QueryRetrieveLevel", ""))
    if level not in LEVELS:
        return
    seen = set()
    for header in headers:
        entity = str(header.get(LEVELS[level], ""))
        if entity not in seen and _matches(query, header):
            seen.add(entity)
            yield _answer(query, header, level)


def _matches(query: Dataset, header: Dataset) -> bool:
    return all(
        _fits(element.value, element.VR, header.get(element.keyword, ""))
        for element in query
        if element.keyword not in UNMATCHED and element.VR != "SQ"
    )


def _fits(wanted: object, vr: str, value: object) -> bool:
    """Universal, list of UIDs, range of dates, or wild card matching (PS3.4 C.2.2.2)."""
    if wanted in (None, ""):
        return True
    if isinstance(wanted, MultiValue):
        return str(value) in [str(one) for one in wanted]
    text = str(wanted)
    if vr in ("DA", "TM") and "-" in text:
        first, _, last = text.partition("-")
        return (first or EARLIEST) <= str(value) <= (last or LATEST)
    return fnmatchcase(str(value), text.replace("[", "[[]"))


def _answer(query: Dataset, header: Dataset, level: str) -> Dataset:
    answer = Dataset()
    for element in query:
        answer.add_new(element.tag, element.VR, header[element.tag].value if element.tag in header else None)
    if "SpecificCharacterSet" in header:
        answer.SpecificCharacterSet = header.SpecificCharacterSet
    setattr(answer, LEVELS[level], header.get(LEVELS[level], ""))
    answer.QueryRetrieveLevel = level
    return answer
