"""Headers: what a report and its companions say of themselves, in ASCII and without patient or study.

That of the report is PS3.3 A.35.13.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydicom.dataset import Dataset

from oculard.report.codes import Code, Scheme, table, term
from oculard.report.envelope import local
from oculard.report.planned import Planned, planned_companions, planned_report
from oculard.report.request import Device, Origin, ReportRequest
from oculard.report.source import Source


def document_header(request: ReportRequest) -> Dataset:
    """All elements of the report but those of patient, study, order and content tree."""
    ds = object_header(planned_report(request), request)
    ds.CodingSchemeIdentificationSequence = [scheme_item(one) for one in (table().own, *table().declared)]
    ds.ReferencedPerformedProcedureStepSequence = []
    # Complete and preliminary, and never verified: no accountable person has looked at it.
    ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag = "COMPLETE", "PRELIMINARY", "UNVERIFIED"
    ds.PerformedProcedureCodeSequence = []
    _add_references(ds, request)
    return ds


def object_header(planned: Planned, request: ReportRequest) -> Dataset:
    """What all objects of a report say: identity, series, equipment and times, in the time zone of the source."""
    header = request.sources[0].header
    started, now = local(request.started_at, header), local(request.created_at, header)
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = planned.sop_class_uid, planned.sop_instance_uid
    ds.InstanceCreationDate, ds.InstanceCreationTime = date(now), time(now)
    ds.ContributingEquipmentSequence = [_equipment(request.origin, request.device, now)]
    ds.Modality = planned.modality
    ds.SeriesInstanceUID = planned.series_instance_uid
    ds.SeriesNumber = planned.series_number
    ds.SeriesDate, ds.SeriesTime = date(started), time(started)
    ds.SeriesDescription = planned.title
    ds.InstanceNumber = request.generation
    ds.ContentDate, ds.ContentTime = date(now), time(now)
    _add_equipment(ds, request.device)
    return ds


def date(moment: datetime) -> str:
    """A moment's DICOM DA."""
    return moment.strftime("%Y%m%d")


def time(moment: datetime) -> str:
    """A moment's DICOM TM."""
    return moment.strftime("%H%M%S.%f")


def _add_equipment(ds: Dataset, device: Device) -> None:
    ds.Manufacturer = device.manufacturer
    ds.ManufacturerModelName = device.model
    ds.DeviceSerialNumber = device.serial_number
    ds.SoftwareVersions = device.software_version
    if device.station_name:
        ds.StationName = device.station_name


def _add_references(ds: Dataset, request: ReportRequest) -> None:
    """Every image that was looked at, used or not, what travels along, and what is amended (PS3.3 C.17.2)."""
    home = request.sources[0].study_instance_uid
    ours = [source for source in request.sources if source.study_instance_uid == home]
    ds.CurrentRequestedProcedureEvidenceSequence = _studies([*ours, *planned_companions(request)])
    others = _studies(source for source in request.sources if source.study_instance_uid != home)
    if others:
        ds.PertinentOtherEvidenceSequence = others
    old = request.predecessor
    if old is not None:
        series = _series(old.series_instance_uid, [instance(old.sop_class_uid, old.sop_instance_uid)])
        ds.PredecessorDocumentsSequence = [_study(old.study_instance_uid, [series])]


def _studies(referenced: Iterable[Source | Planned]) -> list[Dataset]:
    """References to instances, grouped by study and series."""
    tree: dict[str, dict[str, list[Dataset]]] = {}
    for one in referenced:
        series = tree.setdefault(one.study_instance_uid, {})
        series.setdefault(one.series_instance_uid, []).append(instance(one.sop_class_uid, one.sop_instance_uid))
    return [_study(uid, [_series(one, instances) for one, instances in below.items()]) for uid, below in tree.items()]


def _study(uid: str, series: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.StudyInstanceUID = uid
    ds.ReferencedSeriesSequence = series
    return ds


def _series(uid: str, instances: list[Dataset]) -> Dataset:
    ds = Dataset()
    ds.SeriesInstanceUID = uid
    ds.ReferencedSOPSequence = instances
    return ds


def instance(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """A reference to one instance (PS3.3 table 10-11)."""
    ds = Dataset()
    ds.ReferencedSOPClassUID = sop_class_uid
    ds.ReferencedSOPInstanceUID = sop_instance_uid
    return ds


def _equipment(origin: Origin, device: Device, now: datetime) -> Dataset:
    """The model as equipment, so that a retrained model is another device (IHE AIR)."""
    ds = Dataset()
    ds.PurposeOfReferenceCodeSequence = [coded(term("processing-equipment"))]
    ds.Manufacturer = origin.manufacturer
    ds.ManufacturerModelName = origin.name
    ds.SoftwareVersions = [device.software_version, origin.version]
    ds.DeviceUID = origin.device_uid
    ds.ContributionDateTime = now.strftime("%Y%m%d%H%M%S.%f%z")
    ds.ContributionDescription = "DEMONSTRATION MODEL" if origin.demonstration else "AI estimation"
    return ds


def scheme_item(scheme: Scheme) -> Dataset:
    """A coding scheme as it is declared (PS3.3 C.12.1)."""
    ds = Dataset()
    ds.CodingSchemeDesignator = scheme.designator
    ds.CodingSchemeUID = scheme.uid
    ds.CodingSchemeName = scheme.name
    if scheme.version:
        ds.CodingSchemeVersion = scheme.version
    if scheme.organisation:
        ds.CodingSchemeResponsibleOrganization = scheme.organisation
    return ds


def coded(code: Code) -> Dataset:
    """A code as a sequence's item."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = code.value, code.scheme, code.meaning
    return ds
