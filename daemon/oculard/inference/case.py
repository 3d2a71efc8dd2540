"""A case: one job on its way through the worker, and what became of it. A job's trouble stays in its own case."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

import numpy as np
import numpy.typing as npt

from oculard.job import JobEvent
from oculard.report.source import Source
from oculard.store.jobs import Job
from oculard_models.contract import Finding, Qualifier
from oculard_models.findings import not_made, to_findings
from oculard_models.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why nothing was estimated: the event that ends the job, what every finding says, and words for people."""

    event: JobEvent
    qualifier: Qualifier
    reason: str
    remark: str  # ASCII


@dataclass(slots=True, kw_only=True)
class Case:
    """One job, its images, and either raw outputs or a verdict."""

    job: Job
    manifest: Manifest
    started_at: datetime
    sources: list[Source] = field(default_factory=list)
    tensors: list[tuple[str, npt.NDArray[np.float32]]] = field(default_factory=list)  # SOP instance UID, network input
    raws: list[tuple[str, dict[str, float]]] = field(default_factory=list)  # SOP instance UID, output name -> raw
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
        return to_findings(self.manifest, self.raws)

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
