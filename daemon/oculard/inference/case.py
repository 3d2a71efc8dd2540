"""A case: one job on its way through the worker, and what became of it. A job's trouble stays in its own case."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

import numpy as np
import numpy.typing as npt

from oculard.inference.grading import ServedGate
from oculard.job import JobEvent
from oculard.report.request import Grader
from oculard.report.source import Grade, Source
from oculard.store.jobs import Job
from oculard_models.contract import Finding, Qualifier
from oculard_models.findings import Raw, not_made, of_both_eyes, to_findings
from oculard_models.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why nothing was estimated: the event that ends the job, what every finding says, and words for people."""

    event: JobEvent
    qualifier: Qualifier
    reason: str
    remark: str  # ASCII


def failed(reason: str, remark: str) -> Verdict:
    """Something of ours could not do its work: a person must look, and then requeue the job."""
    return Verdict(event=JobEvent.GIVE_UP, qualifier=Qualifier.FAILURE, reason=reason, remark=f"failed: {remark}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One image that is good enough, as the network will see it."""

    sop_instance_uid: str
    eye: str  # "R" or "L"
    tensor: npt.NDArray[np.float32]


@dataclass(slots=True, kw_only=True)
class Case:
    """One job, its images, and either raw outputs or a verdict."""

    job: Job
    manifest: Manifest
    started_at: datetime
    gate: ServedGate | None = None  # None: no image is decoded, because nothing could follow from it
    sources: list[Source] = field(default_factory=list)
    images: list[Prepared] = field(default_factory=list)
    raws: defaultdict[str, list[Raw]] = field(default_factory=lambda: defaultdict(list))  # by eye
    suggestions: list[str] = field(default_factory=list)  # ASCII: which eyes the pictures of unknown eyes look like
    verdict: Verdict | None = None
    notes: list[str] = field(default_factory=list)  # ASCII, for the report's remark
    took: dict[str, float] = field(default_factory=dict)  # seconds by stage

    def close(self, verdict: Verdict) -> None:
        """End the case without an estimate; the first verdict stands."""
        if self.verdict is None:
            self.verdict = verdict

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the report says: one finding for each output, with a value or with the reason why there is none."""
        if self.verdict is not None:
            return not_made(self.manifest, self.verdict.qualifier, ())
        if len(self.raws) > 1:
            return of_both_eyes(self.manifest, self.raws["R"], self.raws["L"])
        (raws,) = self.raws.values()
        return to_findings(self.manifest, raws)

    @property
    def eye(self) -> str:
        """Which eye the report is on: of a job on both, the only one that had an image good enough, if it is so."""
        eyes = {image.eye for image in self.images}
        return eyes.pop() if len(eyes) == 1 else self.job.eye

    @property
    def grader(self) -> Grader | None:
        """Who graded the images; None when nobody graded any."""
        graded = any(source.grade != Grade.NOT_ASSESSED for source in self.sources)
        return self.gate.grader if self.gate is not None and graded else None

    @property
    def event(self) -> JobEvent:
        """How the job ends."""
        if self.verdict is not None:
            return self.verdict.event
        return JobEvent.DONE

    @property
    def reason(self) -> str | None:
        """The stable slug of the ending."""
        return None if self.verdict is None else self.verdict.reason

    @property
    def remark(self) -> str:
        """Words for people, in the report."""
        words = [*self.notes] if self.verdict is None else [self.verdict.remark, *self.notes]
        return "; ".join(words)[:1024]


class Stopwatch:
    """Adds the seconds of a `with` block to a stage of some cases."""

    def __init__(self, cases: list[Case], stage: str) -> None:
        self._cases, self._stage = cases, stage
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_: object) -> None:
        share = (perf_counter() - self._began) / max(1, len(self._cases))
        for case in self._cases:
            case.took[self._stage] = round(case.took.get(self._stage, 0.0) + share, 4)
