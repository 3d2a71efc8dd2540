"""The envelope: patient, study and order as the source's own bytes, whatever their character set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from pydicom.dataset import Dataset

from oculard.report import raw

# PS3.3 C.7.1 (Patient), C.7.2 (Study), C.12.1 (character set and time zone): archives split or merge patients and
# studies when one of these differs.
REQUIRED = (  # type 1 and 2: present even when the source lacks them
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
OPTIONAL = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "SourcePatientGroupIdentificationSequence",
    "GroupOfPatientsIdentificationSequence",
    "PatientBirthDateInAlternativeCalendar",
    "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "PatientBirthTime",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "QualityControlSubject",
    "ReferencedPatientSequence",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "StudyDescription",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "IssuerOfAccessionNumberSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "RequestingService",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "Occupation",
    "AdditionalPatientHistory",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "MedicalAlerts",
    "Allergies",
    "SmokingStatus",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientState",
    "SpecialNeeds",
    "ReasonForVisit",
)
COPIED = tuple(raw.tag_of(keyword) for keyword in (*REQUIRED, *OPTIONAL))
ORDER = (  # Referenced Request Sequence (PS3.3 C.17.2), all type 1 or 2
    "StudyInstanceUID",
    "ReferencedStudySequence",
    "AccessionNumber",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "RequestedProcedureID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
FROM_STUDY = ("StudyInstanceUID", "AccessionNumber")  # an order that does not say them means those of its study
OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


def envelope(header: Dataset) -> dict[int, bytes]:
    """The elements of patient, study and order by tag, each with the source's own bytes."""
    present = [tag for tag in COPIED if header.get_item(tag, keep_deferred=True) is not None]
    required = [raw.tag_of(keyword) for keyword in REQUIRED]
    elements = {tag: raw.copied(header, tag) for tag in (*required, *present)}
    orders = raw.items(header, "ReferencedRequestSequence") or raw.items(header, "RequestAttributesSequence")
    if orders:
        tag = raw.tag_of("ReferencedRequestSequence")
        elements[tag] = raw.sequence(tag, [_order(order, header) for order in orders])
    return elements


def _order(order: Dataset, header: Dataset) -> bytes:
    """One order that the images were made for, from either of the sequences in which images carry it."""
    tags = {keyword: raw.tag_of(keyword) for keyword in ORDER}
    parts: Mapping[int, bytes] = {
        tag: raw.copied(header if keyword in FROM_STUDY and not raw.value_bytes(order, tag) else order, tag)
        for keyword, tag in tags.items()
    }
    return b"".join(parts[tag] for tag in sorted(parts))


def patient_key(header: Dataset) -> str:
    """What tells patients apart, as bytes: decoded names and ids never do. A study without an id stands for itself."""
    patient_id = raw.value_bytes(header, raw.tag_of("PatientID")).strip(b" \0")
    issuer = raw.value_bytes(header, raw.tag_of("IssuerOfPatientID")).strip(b" \0")
    if not patient_id:
        return "study " + raw.text(header, "StudyInstanceUID")
    return f"patient {patient_id.hex()} {issuer.hex()}"


def local(moment: datetime, header: Dataset) -> datetime:
    """A moment in the source's time zone, so that all dates and times of a report agree with its time zone offset.

    A source without an offset wrote local times of an unnamed zone: the moment stays in the zone that it came with, and
    the report names no offset either (PS3.3 C.12.1.1.8).
    """
    zone = _zone(raw.text(header, "TimezoneOffsetFromUTC"))
    return moment if zone is None else moment.astimezone(zone)


def _zone(offset: str) -> tzinfo | None:
    found = OFFSET.fullmatch(offset)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    if minutes > 14 * 60:
        return None
    return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes)) if minutes else UTC
