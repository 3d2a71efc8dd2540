"""The tree of a report that is read back: its items by the role of their names, undecoded."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oculard.errors import Rejected
from oculard.report import raw
from oculard.report.codes import Code, term


class NotOurReport(Rejected):
    """A file is not a report that we wrote."""

    reason = "not-our-report"


def open_report(data: bytes) -> Dataset:
    """The dataset of a report, its elements raw."""
    try:
        ds = dcmread(BytesIO(data))
    except (InvalidDicomError, *raw.UNREADABLE) as why:
        raise NotOurReport("this is not a DICOM file") from why
    if raw.text(ds, "Modality") != "SR" or key(ds, "ConceptNameCodeSequence") != pair(term("report")):
        raise NotOurReport("this is not an Imaging Measurement Report")
    return ds


def children(item: Dataset) -> list[Dataset]:
    """The items below an item."""
    return raw.items(item, "ContentSequence")


def named(items: list[Dataset], role: str) -> list[Dataset]:
    """The items whose name plays a role, e.g. `finding-site`."""
    return [item for item in items if key(item, "ConceptNameCodeSequence") == pair(term(role))]


def one(items: list[Dataset], role: str) -> Dataset:
    """The first item whose name plays a role, which every report of ours has."""
    found = named(items, role)
    if not found:
        raise NotOurReport(f"the report has no `{term(role).meaning}`")
    return found[0]


def pair(code: Code) -> tuple[str, str]:
    """What identifies a code."""
    return code.value, code.scheme


def key(item: Dataset, keyword: str) -> tuple[str, str]:
    """Value and scheme of a coded element, empty when there is none."""
    for code in raw.items(item, keyword)[:1]:
        return raw.text(code, "CodeValue"), raw.text(code, "CodingSchemeDesignator")
    return "", ""


def answer(item: Dataset) -> tuple[str, str]:
    """The value of a CODE item."""
    return key(item, "ConceptCodeSequence")


def meaning(item: Dataset, keyword: str) -> str:
    """The words of a coded element."""
    return "".join(raw.text(code, "CodeMeaning") for code in raw.items(item, keyword)[:1])


def texts(items: list[Dataset], role: str) -> list[str]:
    """The values of the TEXT items whose name plays a role."""
    return [raw.text(item, "TextValue") for item in named(items, role)]


def number(item: Dataset) -> float | None:
    """The value of a NUM item, None when it has none."""
    for measured in raw.items(item, "MeasuredValueSequence"):
        try:
            return float(raw.text(measured, "NumericValue"))
        except ValueError as why:
            raise NotOurReport("a number of the report is not one") from why
    return None


def reference(item: Dataset) -> tuple[str, str]:
    """SOP Class and Instance UID that an item refers to."""
    for instance in raw.items(item, "ReferencedSOPSequence"):
        return raw.text(instance, "ReferencedSOPClassUID"), raw.text(instance, "ReferencedSOPInstanceUID")
    raise NotOurReport("an item of the report refers to nothing")
