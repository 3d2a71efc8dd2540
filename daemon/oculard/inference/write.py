"""From a case to its report: built, written durably, and described for the transaction that settles the job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from oculard import log
from oculard.errors import Permanent
from oculard.inference.case import Case
from oculard.report.build import build_report
from oculard.report.companions import build_companions
from oculard.report.part10 import Report
from oculard.report.request import Device, Origin, Predecessor, ReportRequest
from oculard.report.shape import FoundShape
from oculard.report.views import SeenView, SeenViews
from oculard.settings import Report as Settings
from oculard.store.jobs import Companion, KeptReport, NewReport
from oculard.store.vault import Vault

REMARK_MAX = 900  # so that there is room to say what could not be made
NO_COMPANIONS = "mask and picture could not be written and are missing"
UNWRITABLE = (ValueError, LookupError, TypeError, AttributeError)  # what a header that no report can carry ends in
logger = log.get("worker")


class ReportImpossible(Permanent):
    """Not even a report of the failure can be made of this image."""

    reason = "report-impossible"
    hint = "the image's header is damaged in a way that no report can carry: look at the image in the PACS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Who writes reports here, and what they consist of."""

    device: Device
    settings: Settings


def write_report(case: Case, history: Sequence[KeptReport], vault: Vault, writing: Writing, now: datetime) -> NewReport:
    """Build the case's report with its companions and put their files into the vault.

    `history`: earlier reports on this eye, newest first. `now`: aware, in the site's time zone, which the report uses
    where its images do not name an offset of their own.
    """
    amended = history[0] if history else None
    try:
        request, companions = _companions(case, _request(case, history, writing, now))
        report = build_report(request)
    except UNWRITABLE as why:
        raise ReportImpossible(f"no report can be made: {type(why).__name__}") from why
    path, sha256 = vault.write_report(report.data)
    return NewReport(
        sop_class_uid=report.sop_class_uid,
        sop_instance_uid=report.sop_instance_uid,
        series_instance_uid=report.series_instance_uid,
        path=path,
        sha256=sha256,
        size_bytes=len(report.data),
        outcome=request.outcome,
        remark=request.remark,
        weights_sha256=case.manifest.weights.sha256,
        demonstration=case.manifest.demonstration,
        predecessor_id=None if amended is None else amended.id,
        findings=case.findings,
        took=case.took,
        companions=tuple(_kept(companion, vault) for companion in companions),
    )


def _companions(case: Case, request: ReportRequest) -> tuple[ReportRequest, tuple[Report, ...]]:
    """The companions, and the request that its Structured Report is made of: it refers to no object that is not there.

    A companion that cannot be made never costs the values: the report says that it is missing.
    """
    try:
        return request, build_companions(request)
    except (*UNWRITABLE, OSError) as why:  # Pillow's word for a picture that it cannot write
        logger.error("report without companions", job=case.job.ticket.id, reason="companion-impossible", exc_info=why)
    remark = "; ".join(filter(None, (request.remark[:REMARK_MAX], NO_COMPANIONS)))
    return replace(request, shape=None, with_pictures=False, with_pdf=False, remark=remark), ()


def _kept(companion: Report, vault: Vault) -> Companion:
    path, sha256 = vault.write_report(companion.data)
    return Companion(
        role=companion.role,
        sop_class_uid=companion.sop_class_uid,
        sop_instance_uid=companion.sop_instance_uid,
        series_instance_uid=companion.series_instance_uid,
        path=path,
        sha256=sha256,
        size_bytes=len(companion.data),
    )


def _request(case: Case, history: Sequence[KeptReport], writing: Writing, now: datetime) -> ReportRequest:
    return ReportRequest(
        origin=Origin.from_manifest(case.manifest),
        outputs=case.manifest.output,
        eye=case.eye,
        findings=case.findings,
        sources=tuple(case.sources),
        grader=case.grader,
        remark=case.remark,
        shape=_shape(case),
        seen=_seen(case),
        parameters=(*case.parameters, *(case.found.parameters if case.found is not None else ())),
        with_pictures=writing.settings.pictures,
        with_pdf=writing.settings.pdf,
        started_at=min(case.started_at, now),  # the clock may have been set back meanwhile
        created_at=now,
        device=writing.device,
        generation=len(history) + 1,
        predecessor=_predecessor(history[0]) if history else None,
    )


def _shape(case: Case) -> FoundShape | None:
    """What was outlined, on its image; None where nothing was."""
    found, mask = case.found, case.manifest.mask
    if found is None or found.measured.shape is None:
        return None
    assert mask is not None, "only a mask has a shape"
    assert found.image.scene is not None, "a shape lies in an image"
    spacing_mm = found.image.scene.scale.spacing_mm
    return FoundShape(
        sop_instance_uid=found.image.sop_instance_uid,
        structure=mask.structure,
        shape=found.measured.shape,
        pixels=found.image.scene.pixels,
        spacing_mm=spacing_mm and (spacing_mm[0] * found.magnification, spacing_mm[1] * found.magnification),
    )


def _seen(case: Case) -> SeenViews | None:
    """The views that were classified; None where none were, or what was said of them is nothing."""
    said, spec = case.classified, case.manifest.input
    if said is None or case.verdict is not None:
        return None
    output, (image,) = case.manifest.class_output, case.images
    shown = image.tensor if image.shown is None else image.shown
    views = (
        SeenView(
            name=name,
            pixels=shown[at],
            activation=said.activation[at],
            probabilities=tuple(100.0 * float(probability) for probability in said.by_view[at]),
        )
        for at, name in enumerate(spec.views)
    )
    return SeenViews(
        classes=output.concept,
        choices=output.choices,
        views=tuple(views),
        found=output.choices[said.winner],
        certainty=100.0 * said.certainty,
        mirrored=image.eye == "L",
    )


def _predecessor(report: KeptReport) -> Predecessor:
    return Predecessor(
        sop_class_uid=report.sop_class_uid,
        sop_instance_uid=report.sop_instance_uid,
        series_instance_uid=report.series_instance_uid,
        study_instance_uid=report.study_instance_uid,
    )
