"""Companions: what travels with a report, for whoever cannot read it: segmentation, picture and printed page."""

from __future__ import annotations

from oculard.report.capture import build_capture
from oculard.report.encapsulated import build_pdf
from oculard.report.part10 import Report
from oculard.report.picture import draw
from oculard.report.planned import Planned, Role, planned_companions
from oculard.report.request import ReportRequest
from oculard.report.segmentation import build_segmentation


def build_companions(request: ReportRequest) -> tuple[Report, ...]:
    """Write all that travels with the report of this request, in the order in which to send it; the report comes last.

    Without a shape and without views there is nothing, and where the image's header does not fit its pixels, no
    segmentation: the report says so. Whatever else the header lacks is left out; it never costs the report.
    """
    return tuple(_build(planned, request) for planned in planned_companions(request))


def _build(planned: Planned, request: ReportRequest) -> Report:
    if planned.role is Role.SEG:
        return build_segmentation(planned, request)
    if planned.role is Role.SC:
        return build_capture(planned, request, draw(request))
    return build_pdf(planned, request)
