"""The content tree of a report (PS3.16 TID 1500)."""

from __future__ import annotations

from highdicom.sr import ContentItem
from pydicom.dataset import Dataset

from oculard.report import items, raw
from oculard.report.codes import Code, family, term
from oculard.report.group import measurement_group
from oculard.report.items import CONTAINS, HAS_CONCEPT_MOD, HAS_OBS_CONTEXT
from oculard.report.library import image_library
from oculard.report.request import Device, Outcome, ReportRequest

SUMMARY = {  # all others: none succeeded
    Outcome.COMPLETE: "summary-all",
    Outcome.PARTIAL: "summary-some",
    Outcome.NOTHING: "summary-nothing",
}


def content_tree(request: ReportRequest) -> Dataset:
    """The root of the tree."""
    return items.container(
        term("report"),
        [
            items.code(term("language"), term("english"), HAS_CONCEPT_MOD),
            *_observer(request.device),
            items.code(term("procedure-reported"), _procedure(request), HAS_CONCEPT_MOD),
            image_library(request.sources),
            items.container(term("imaging-measurements"), [measurement_group(request)]),
            items.container(term("qualitative-evaluations"), [_summary(request.outcome)]),
        ],
        relation=None,
        template="1500",
    )


def _observer(device: Device) -> list[ContentItem]:
    """Who observed: this installation (TID 1002, 1004)."""
    texts = {
        "device-name": device.station_name or device.model,
        "device-manufacturer": device.manufacturer,
        "device-model": device.model,
        "device-serial": device.serial_number,
    }
    return [
        items.code(term("observer-type"), term("device"), HAS_OBS_CONTEXT),
        items.uid(term("device-uid"), device.device_uid, HAS_OBS_CONTEXT),
        *[items.text(term(role), value, HAS_OBS_CONTEXT) for role, value in texts.items()],
    ]


def _procedure(request: ReportRequest) -> Code:
    """What was imaged, never the algorithm (IHE AIR): the source's own code if it is plain, else the family's."""
    for item in raw.items(request.sources[0].header, "ProcedureCodeSequence")[:1]:
        value, scheme = raw.text(item, "CodeValue"), raw.text(item, "CodingSchemeDesignator")
        meaning = raw.text(item, "CodeMeaning")
        try:
            return Code(value=value, scheme=scheme, meaning=meaning, source="the source image")
        except ValueError:  # not plain ASCII or not whole: it stays in the header, where its bytes are copied
            break
    return family(request.origin.family).procedure


def _summary(outcome: Outcome) -> ContentItem:
    return items.code(term("summary"), term(SUMMARY.get(outcome, "summary-none")), CONTAINS)
