"""Variants: the same report as an older SR class, for archives that refuse Comprehensive 3D SR."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage

from oculard.report import raw
from oculard.report.part10 import Report, check, part10
from oculard.report.uids import variant_uid

VARIANTS: tuple[str, ...] = (ComprehensiveSRStorage, EnhancedSRStorage)  # in the order in which to try them


def as_variant(data: bytes, sop_class_uid: str) -> Report:
    """The same tree and the same envelope under another SOP class, with a SOP Instance UID of its own.

    The tree needs nothing that the older classes lack: its relationships are by value, and it has no SCOORD3D.
    """
    if sop_class_uid not in VARIANTS:
        raise ValueError(f"expected one of {VARIANTS}, got `{sop_class_uid}`")
    ds = dcmread(BytesIO(data))
    sop_instance_uid = variant_uid(raw.text(ds, "SOPInstanceUID"), sop_class_uid)
    elements = {int(tag): raw.copied(ds, tag) for tag in ds.keys()}  # noqa: SIM118  iterating over `ds` would decode it
    for keyword, uid in (("SOPClassUID", sop_class_uid), ("SOPInstanceUID", sop_instance_uid)):
        elements[raw.tag_of(keyword)] = raw.encoded(raw.tag_of(keyword), "UI", uid.encode())
    report = Report(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=raw.text(ds, "SeriesInstanceUID"),
        title=raw.text(ds, "SeriesDescription"),
        data=part10(sop_class_uid, sop_instance_uid, elements),
    )
    check(report, elements)
    return report
