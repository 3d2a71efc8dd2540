"""A case: one job on its way through the worker, and what became of it. A job's trouble stays in its own case."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

from oculard.inference.decoding import Decoding, Here
from oculard.inference.grading import ServedGate
from oculard.inference.prepared import Prepared
from oculard.job import JobEvent
from oculard.report.request import Grader
from oculard.report.source import Grade, Source
from oculard.store.jobs import Job
from oculard_models.contract import Classified, Finding, Measured, Qualifier
from oculard_models.findings import Raw, not_made, of_both_eyes, of_classes, of_measures, to_findings
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
class Found:
    """What was measured of the mask of one image."""

    image: Prepared
    measured: Measured
    magnification: float = 1.0  # of every length in mm
    parameters: tuple[str, ...] = ()  # ASCII, as `name=value`
    notes: tuple[str, ...] = ()  # ASCII, for the report's remark


@dataclass(slots=True, kw_only=True)
class Case:
    """One job, its images, and either raw outputs, what was measured of a mask, classes of views, or a verdict."""

    job: Job
    manifest: Manifest
    started_at: datetime
    decoder: Decoding = field(default_factory=Here)
    gate: ServedGate | None = None  # None: no image is decoded, because nothing could follow from it
    sources: list[Source] = field(default_factory=list)
    beside: list[Source] = field(
        default_factory=list
    )  # what was looked at with them; in the report it comes after them
    images: list[Prepared] = field(default_factory=list)
    raws: defaultdict[str, list[Raw]] = field(default_factory=lambda: defaultdict(list))  # by eye
    found: Found | None = None  # of a bundle that segments
    classified: Classified | None = None  # of a bundle that classifies views
    parameters: list[str] = field(default_factory=list)  # ASCII, as `name=value`: what the image is
    suggestions: list[str] = field(default_factory=list)  # ASCII: which eyes the pictures of unknown eyes look like
    verdict: Verdict | None = None
    notes: list[str] = field(default_factory=list)  # ASCII, for the report's remark
    took: dict[str, float] = field(default_factory=dict)  # seconds by stage

    def close(self, verdict: Verdict) -> None:
        """End the case without an estimate; the first verdict stands."""
        if self.verdict is None:
            self.verdict = verdict

    def note(self, words: str) -> None:
        """Say something in the report, once."""
        if words and words not in self.notes:
            self.notes.append(words)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the report says: one finding for each output, with a value or with the reason why there is none."""
        if self.verdict is not None:
            return not_made(self.manifest, self.verdict.qualifier, ())
        if self.found is not None:
            return of_measures(self.manifest, self.found.image.sop_instance_uid, self.found.measured)
        if self.classified is not None:
            used = [source.sop_instance_uid for source in self.sources if source.used]
            return of_classes(self.manifest, used, self.classified)
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
        """The stable slug of the ending: why nothing was estimated, or why no mask was measured."""
        if self.verdict is not None:
            return self.verdict.reason
        return (self.found.measured.reason or None) if self.found is not None else None

    @property
    def remark(self) -> str:
        """Words for people, in the report."""
        words = [*self.notes] if self.verdict is None else [self.verdict.remark, *self.notes]
        words += self.found.notes if self.found is not None else ()
        return "; ".join(words)[:1024]


class Stopwatch:
    """Adds the seconds of a `with` block to a stage of some cases, less those of the stages within it."""

    def __init__(self, cases: list[Case], stage: str) -> None:
        self._cases, self._stage = cases, stage
        self._began = 0.0
        self._before: list[float] = []

    def __enter__(self) -> None:
        self._began = perf_counter()
        self._before = [sum(case.took.values()) for case in self._cases]

    def __exit__(self, *_: object) -> None:
        share = (perf_counter() - self._began) / max(1, len(self._cases))
        for case, before in zip(self._cases, self._before, strict=True):
            own = max(0.0, share - (sum(case.took.values()) - before))
            case.took[self._stage] = round(case.took.get(self._stage, 0.0) + own, 4)
