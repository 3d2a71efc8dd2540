"""Reports: one request in, one DICOM file out."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import Comprehensive3DSRStorage

from oculard.report.content import content_tree
from oculard.report.document import document_header
from oculard.report.envelope import envelope, local
from oculard.report.part10 import Report, check, part10
from oculard.report.request import ReportRequest


def build_report(request: ReportRequest) -> Report:
    """Write the report that a request asks for, as Comprehensive 3D SR."""
    header = request.sources[0].header
    now, started = local(request.created_at, header), local(request.started_at, header)
    elements = own_elements(document_header(request, started=started, now=now))
    elements |= own_elements(content_tree(request))
    elements |= envelope(header)
    report = Report(
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid=request.sop_instance_uid,
        series_instance_uid=request.series_instance_uid,
        title=request.title,
        data=part10(Comprehensive3DSRStorage, request.sop_instance_uid, elements),
    )
    check(report, elements)
    return report


def own_elements(ds: Dataset) -> dict[int, bytes]:
    """The elements of a dataset that we made ourselves, by tag, in Explicit VR Little Endian. All text is ASCII."""
    elements = {}
    for element in ds:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, ["ascii"])
        elements[int(element.tag)] = buffer.getvalue()
    return elements
