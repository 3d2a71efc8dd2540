"""The document header: what a report says of itself (PS3.3 A.35.13), in ASCII and without patient or study."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from oculard.report.codes import Code, Scheme, family, table, term
from oculard.report.request import Device, Origin, ReportRequest
from oculard.report.source import Source


def document_header(request: ReportRequest, *, started: datetime, now: datetime) -> Dataset:
    """All elements but those of patient, study, order and content tree. Both moments are in the source's time zone."""
    ds = Dataset()
    ds.SOPClassUID = Comprehensive3DSRStorage
    ds.SOPInstanceUID = request.sop_instance_uid
    ds.InstanceCreationDate, ds.InstanceCreationTime = date(now), time(now)
    ds.CodingSchemeIdentificationSequence = [_scheme(one) for one in (table().own, *table().declared)]
    ds.ContributingEquipmentSequence = [_equipment(request.origin, request.device, now)]
    _add_series(ds, request, started)
    _add_equipment(ds, request.device)
    _add_state(ds, request, now)
    _add_references(ds, request)
    return ds


def date(moment: datetime) -> str:
    """A moment's DICOM DA."""
    return moment.strftime("%Y%m%d")


def time(moment: datetime) -> str:
    """A moment's DICOM TM."""
    return moment.strftime("%H%M%S.%f")


def _add_series(ds: Dataset, request: ReportRequest, started: datetime) -> None:
    ds.Modality = "SR"
    ds.SeriesInstanceUID = request.series_instance_uid
    ds.SeriesNumber = family(request.origin.family).series_number(request.eye)
    ds.SeriesDate, ds.SeriesTime = date(started), time(started)
    ds.SeriesDescription = request.title
    ds.ReferencedPerformedProcedureStepSequence = []


def _add_equipment(ds: Dataset, device: Device) -> None:
    ds.Manufacturer = device.manufacturer
    ds.ManufacturerModelName = device.model
    ds.DeviceSerialNumber = device.serial_number
    ds.SoftwareVersions = device.software_version
    if device.station_name:
        ds.StationName = device.station_name


def _add_state(ds: Dataset, request: ReportRequest, now: datetime) -> None:
    """Complete and preliminary, and never verified: no accountable person has looked at it."""
    ds.InstanceNumber = request.generation
    ds.CompletionFlag, ds.PreliminaryFlag, ds.VerificationFlag = "COMPLETE", "PRELIMINARY", "UNVERIFIED"
    ds.ContentDate, ds.ContentTime = date(now), time(now)
    ds.PerformedProcedureCodeSequence = []


def _add_references(ds: Dataset, request: ReportRequest) -> None:
    """Every image that was looked at, used or not, and the report that this one amends (PS3.3 C.17.2)."""
    home = request.sources[0].study_instance_uid
    ds.CurrentRequestedProcedureEvidenceSequence = _studies(s for s in request.sources if s.study_instance_uid == home)
    others = _studies(source for source in request.sources if source.study_instance_uid != home)
    if others:
        ds.PertinentOtherEvidenceSequence = others
    old = request.predecessor
    if old is not None:
        series = _series(old.series_instance_uid, [_instance(old.sop_class_uid, old.sop_instance_uid)])
        ds.PredecessorDocumentsSequence = [_study(old.study_instance_uid, [series])]


def _studies(sources: Iterable[Source]) -> list[Dataset]:
    """References to instances, grouped by study and series."""
    tree: dict[str, dict[str, list[Dataset]]] = {}
    for source in sources:
        series = tree.setdefault(source.study_instance_uid, {})
        series.setdefault(source.series_instance_uid, []).append(
            _instance(source.sop_class_uid, source.sop_instance_uid)
        )
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


def _instance(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID = sop_class_uid
    ds.ReferencedSOPInstanceUID = sop_instance_uid
    return ds


def _equipment(origin: Origin, device: Device, now: datetime) -> Dataset:
    """The model as equipment, so that a retrained model is another device (IHE AIR)."""
    ds = Dataset()
    ds.PurposeOfReferenceCodeSequence = [_code(term("processing-equipment"))]
    ds.Manufacturer = origin.manufacturer
    ds.ManufacturerModelName = origin.name
    ds.SoftwareVersions = [device.software_version, origin.version]
    ds.DeviceUID = origin.device_uid
    ds.ContributionDateTime = now.strftime("%Y%m%d%H%M%S.%f%z")
    ds.ContributionDescription = "DEMONSTRATION MODEL" if origin.demonstration else "AI estimation"
    return ds


def _scheme(scheme: Scheme) -> Dataset:
    ds = Dataset()
    ds.CodingSchemeDesignator = scheme.designator
    ds.CodingSchemeUID = scheme.uid
    ds.CodingSchemeName = scheme.name
    if scheme.version:
        ds.CodingSchemeVersion = scheme.version
    if scheme.organisation:
        ds.CodingSchemeResponsibleOrganization = scheme.organisation
    return ds


def _code(code: Code) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = code.value, code.scheme, code.meaning
    return ds
