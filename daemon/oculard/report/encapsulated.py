"""Encapsulated PDF: the printed report as a DICOM object (PS3.3 A.45.1)."""

from __future__ import annotations

from oculard.report.codes import term
from oculard.report.document import coded, instance, object_header
from oculard.report.envelope import envelope
from oculard.report.geometry import geometry
from oculard.report.part10 import Report, finished
from oculard.report.pdf import print_page
from oculard.report.planned import Planned
from oculard.report.request import ReportRequest


def build_pdf(planned: Planned, request: ReportRequest) -> Report:
    """Write picture and values of a request as a printed page."""
    data = print_page(request, planned.title)
    ds, source = object_header(planned, request), request.picture_source
    ds.ConversionType = "WSD"  # made by a workstation
    # Of ours none names a patient; of the source's pixels on the page only its header can say, and "NO" must be sure.
    ds.BurnedInAnnotation = "YES" if source is None else geometry(source).burned_in or "YES"
    ds.AcquisitionDateTime = ""
    ds.DocumentTitle = planned.title
    ds.ConceptNameCodeSequence = [coded(term("report"))]
    ds.SourceInstanceSequence = [
        instance(source.sop_class_uid, source.sop_instance_uid) for source in request.sources if source.used
    ]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.add_new("EncapsulatedDocument", "OB", data)
    ds.EncapsulatedDocumentLength = len(data)
    return finished(planned, ds, envelope(request.sources[0].header))
