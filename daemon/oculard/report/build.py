"""Reports: one request in, one DICOM file out."""

from __future__ import annotations

from oculard.report.content import content_tree
from oculard.report.document import document_header
from oculard.report.envelope import envelope
from oculard.report.part10 import Report, finished
from oculard.report.planned import planned_report
from oculard.report.request import ReportRequest


def build_report(request: ReportRequest) -> Report:
    """Write the report that a request asks for, as Comprehensive 3D SR."""
    ds = document_header(request)
    ds.update(content_tree(request))
    return finished(planned_report(request), ds, envelope(request.sources[0].header))
