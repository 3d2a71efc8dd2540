"""From a case to its report: built, written durably, and described for the transaction that settles the job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from oculard.errors import Permanent
from oculard.inference.case import Case
from oculard.report.build import build_report
from oculard.report.request import Device, Origin, Predecessor, ReportRequest
from oculard.store.jobs import KeptReport, NewReport
from oculard.store.vault import Vault


class ReportImpossible(Permanent):
    """Not even a report of the failure can be made of this image."""

    reason = "report-impossible"
    hint = "the image's header is damaged in a way that no report can carry: look at the image in the PACS"


def write_report(case: Case, history: Sequence[KeptReport], vault: Vault, device: Device, now: datetime) -> NewReport:
    """Build the case's report and put its file into the vault.

    `history`: earlier reports on this eye, newest first. `now`: aware, in the site's time zone, which the report uses
    where its images do not name an offset of their own.
    """
    amended = history[0] if history else None
    try:
        request = _request(case, history, device, now)
        report = build_report(request)
    except (ValueError, LookupError, TypeError, AttributeError) as why:  # a header that no report can carry
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
    )


def _request(case: Case, history: Sequence[KeptReport], device: Device, now: datetime) -> ReportRequest:
    return ReportRequest(
        origin=Origin.from_manifest(case.manifest),
        outputs=case.manifest.output,
        eye=case.eye,
        findings=case.findings,
        sources=tuple(case.sources),
        grader=case.grader,
        remark=case.remark,
        started_at=min(case.started_at, now),  # the clock may have been set back meanwhile
        created_at=now,
        device=device,
        generation=len(history) + 1,
        predecessor=_predecessor(history[0]) if history else None,
    )


def _predecessor(report: KeptReport) -> Predecessor:
    return Predecessor(
        sop_class_uid=report.sop_class_uid,
        sop_instance_uid=report.sop_instance_uid,
        series_instance_uid=report.series_instance_uid,
        study_instance_uid=report.study_instance_uid,
    )
