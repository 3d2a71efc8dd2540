"""Planned: a report and the objects that travel with it, named before any is made, so that one can refer to another."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from oculard.report import uids
from oculard.report.codes import family
from oculard.report.request import ReportRequest


class Role(StrEnum):
    """What an object is among those of one report. The order is that of Series Numbers."""

    SR = "sr"
    SEG = "seg"
    SC = "sc"
    PDF = "pdf"


CLASSES = {  # SOP class, modality, and what it is in Series Descriptions
    Role.SR: (Comprehensive3DSRStorage, "SR", "RESULTS"),
    Role.SEG: (SegmentationStorage, "SEG", "OUTLINE"),
    Role.SC: (SecondaryCaptureImageStorage, "OT", "PICTURE"),
    Role.PDF: (EncapsulatedPDFStorage, "DOC", "RESULTS PDF"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One object of a report."""

    role: Role
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    series_number: int
    modality: str
    title: str


def planned_report(request: ReportRequest) -> Planned:
    """The report itself."""
    return _planned(request, Role.SR, request.sop_instance_uid, request.series_instance_uid)


def planned_companions(request: ReportRequest) -> tuple[Planned, ...]:
    """What travels with the report: without a shape and without views, nothing."""
    wanted = {
        Role.SEG: request.has_segmentation,
        Role.SC: request.has_picture and request.with_pictures,
        Role.PDF: request.has_picture and request.with_pdf,
    }
    report = request.sop_instance_uid
    return tuple(
        _planned(request, role, uids.companion_uid(report, role), uids.companion_series_uid(report, role))
        for role, is_wanted in wanted.items()
        if is_wanted
    )


def _planned(request: ReportRequest, role: Role, sop_instance_uid: str, series_instance_uid: str) -> Planned:
    sop_class_uid, modality, words = CLASSES[role]
    return Planned(
        role=role,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=series_instance_uid,
        study_instance_uid=request.sources[0].study_instance_uid,
        series_number=family(request.origin.family).series_number(request.eye, list(Role).index(role)),
        modality=modality,
        title=request.titled(words),
    )
