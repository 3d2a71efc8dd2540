"""Requests: all that a report says, whole and consistent before a byte of it is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from oculard.report import uids
from oculard.report.codes import concept, family
from oculard.report.envelope import patient_key
from oculard.report.shape import FoundShape
from oculard.report.source import Grade, Source, require_plain
from oculard.report.views import SeenViews
from oculard_models.contract import Finding, Qualifier
from oculard_models.manifest import Manifest, Output

SUITE_PARAMETERS = ("name", "interval", "weights-sha256", "demonstration")  # what the report itself says of the model
EYES = {"R": "R", "L": "L", "B": "R+L", "U": "eye unknown"}  # as titles say them


# What a measure says of an image that was looked at, where the structure is not there, or cut by the border.
NOTHING_THERE = frozenset({Qualifier.NOT_ATTEMPTED, Qualifier.INDETERMINATE})


class Outcome(StrEnum):
    """How a job ended, as its report says it."""

    COMPLETE = "complete"
    PARTIAL = "partial"  # some findings have no value
    NOTHING = "nothing"  # a good image, a model that worked, and nothing in it that could be measured
    UNGRADABLE = "ungradable"  # no image was good enough, nothing was attempted
    EYE_UNKNOWN = "eye-unknown"  # nothing was attempted, because a value without an eye helps nobody
    FAILED = "failed"  # attempted, and no finding has a value


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The estimator that the findings come from."""

    family: str
    name: str
    version: str
    title: str
    manufacturer: str
    weights_sha256: str
    demonstration: bool
    interval: float  # what the uncertainties cover, 0 to 1

    def __post_init__(self) -> None:
        family(self.family)
        for text in (self.name, self.version, self.title, self.manufacturer, self.weights_sha256):
            require_plain(text, 64)
        if not 0 < self.interval < 1:
            raise ValueError(f"interval must lie between 0 and 1: {self.interval}")

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """The identity of a bundle."""
        return cls(
            family=manifest.family,
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            manufacturer=manifest.manufacturer,
            weights_sha256=manifest.weights.sha256,
            demonstration=manifest.demonstration,
            interval=manifest.interval,
        )

    @property
    def device_uid(self) -> str:
        """The Device UID of this trained model."""
        return uids.device_uid(self.name, self.version, self.weights_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """The quality gate that graded the images: a model of its own, with weights of its own."""

    name: str
    version: str
    weights_sha256: str

    def __post_init__(self) -> None:
        for text in (self.name, self.version, self.weights_sha256):
            require_plain(text, 64)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """The identity of a gate's bundle."""
        return cls(name=manifest.name, version=manifest.version, weights_sha256=manifest.weights.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The installation that writes the report."""

    manufacturer: str
    software_version: str
    serial_number: str
    device_uid: str
    station_name: str = ""
    model: str = "oculard"

    def __post_init__(self) -> None:
        for text in (self.manufacturer, self.model, self.software_version, self.serial_number, self.device_uid):
            require_plain(text, 64)
        if self.station_name:
            require_plain(self.station_name, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """The report that this one amends."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """What one report has to say. The first source decides the study and the patient.

    Each output has exactly one finding, in the order of the outputs; a finding that has no value says why
    (`unvalued` makes such findings). So the outcome follows from the findings, and cannot contradict them.
    """

    origin: Origin
    outputs: tuple[Output, ...]
    eye: str  # "R", "L", "B" when the values are of both eyes together, or "U" when the header does not say
    findings: tuple[Finding, ...]
    sources: tuple[Source, ...]
    grader: Grader | None = None  # None when no image was graded
    remark: str = ""  # ASCII, for people: why ungradable, why the eye is unknown, why it failed
    started_at: datetime
    created_at: datetime
    device: Device
    generation: int = 1  # 1 for the first report, one more for each amendment
    predecessor: Predecessor | None = None
    shape: FoundShape | None = None  # None where no structure was found, or none was looked for
    seen: SeenViews | None = None  # what a model that classifies views saw; None where it saw none
    parameters: tuple[str, ...] = ()  # ASCII, `name=value`: what the values depend on, such as the spacing
    with_pictures: bool = False  # of the shape or the views, as Secondary Capture
    with_pdf: bool = False  # of the same and its values, as Encapsulated PDF

    def __post_init__(self) -> None:
        if self.eye not in EYES:
            raise ValueError(f"expected eye {', '.join(EYES)}, got `{self.eye}`")
        if self.remark:
            require_plain(self.remark, 1024)
        if self.generation < 1 or (self.predecessor is not None and self.generation == 1):
            raise ValueError(f"generation {self.generation} does not fit: the first report is 1 and amends nothing")
        if self.started_at.utcoffset() is None or self.created_at.utcoffset() is None:
            raise ValueError("`started_at` and `created_at` must be aware of their time zone")
        if self.created_at < self.started_at:
            raise ValueError("a report cannot be created before its analysis has started")
        for parameter in self.parameters:
            require_plain(parameter, 256)
            name, equals, _ = parameter.partition("=")
            if not equals or name in SUITE_PARAMETERS:
                raise ValueError(f"expected a parameter as `name=value`, not named {SUITE_PARAMETERS}: `{parameter}`")
        self._check_sources()
        self._check_findings()
        if self.shape is not None:
            self._check_shape(self.shape)
        if self.seen is not None:
            self._check_seen(self.seen)

    def _check_sources(self) -> None:
        names = [source.sop_instance_uid for source in self.sources]
        if not names or len(set(names)) != len(names):
            raise ValueError("a report needs at least one source, and each only once")
        if self.outcome in (Outcome.EYE_UNKNOWN, Outcome.UNGRADABLE) and any(source.used for source in self.sources):
            raise ValueError(f"nothing was attempted ({self.outcome}), yet a source is said to be used")

    def _check_findings(self) -> None:
        if [finding.name for finding in self.findings] != [output.name for output in self.outputs]:
            raise ValueError("expected one finding for each output, in the order of the outputs")
        if not self.findings:
            raise ValueError("a report needs at least one output")
        used = {source.sop_instance_uid for source in self.sources if source.used}
        for finding, output in zip(self.findings, self.outputs, strict=True):
            _check_finding(finding, output)
            if self.eye == "U" and finding.qualifier is not Qualifier.NOT_ATTEMPTED:
                raise ValueError(f"finding `{finding.name}`: the eye is unknown, so nothing may be attempted")
            if finding.value is not None and not finding.sources:
                raise ValueError(f"finding `{finding.name}` has a value but no source")
            if not used.issuperset(finding.sources):
                raise ValueError(f"finding `{finding.name}` names a source that was not used")

    def _check_shape(self, shape: FoundShape) -> None:
        if self.eye not in ("R", "L"):
            raise ValueError(f"a shape lies in one eye, got eye `{self.eye}`")
        if all(output.kind.is_raw for output in self.outputs):
            raise ValueError("a shape without an output that is measured of it")
        if shape.sop_instance_uid not in {source.sop_instance_uid for source in self.sources if source.used}:
            raise ValueError("the shape lies in a source that was not used")

    def _check_seen(self, seen: SeenViews) -> None:
        if self.shape is not None or self.eye not in ("R", "L"):
            raise ValueError(f"views are of one eye and without a shape, got eye `{self.eye}`")
        if (seen.classes, seen.choices) not in {(output.concept, output.choices) for output in self.outputs}:
            raise ValueError("views without an output that names one of their classes")
        if not any(source.used for source in self.sources):
            raise ValueError("the views were made of no source that was used")

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        if self.eye == "U":
            return Outcome.EYE_UNKNOWN
        if all(finding.value is not None for finding in self.findings):
            return Outcome.COMPLETE
        if any(finding.value is not None for finding in self.findings):
            return Outcome.PARTIAL
        if any(s.used for s in self.sources) and {finding.qualifier for finding in self.findings} <= NOTHING_THERE:
            return Outcome.NOTHING
        attempted = any(finding.qualifier is not Qualifier.NOT_ATTEMPTED for finding in self.findings)
        ungradable = any(source.grade is Grade.UNGRADABLE for source in self.sources)
        return Outcome.UNGRADABLE if ungradable and not attempted else Outcome.FAILED

    @property
    def sop_instance_uid(self) -> str:
        """The UID of the report: asking twice for the same gives the same."""
        return uids.report_uid(*self._made_of)

    @property
    def series_instance_uid(self) -> str:
        """The UID of the report's series."""
        return uids.series_uid(*self._made_of)

    @property
    def tracking_uid(self) -> str:
        """What makes the values of this patient, eye and family comparable over time."""
        return uids.tracking_uid(patient_key(self.sources[0].header), self.eye, self.origin.family)

    @property
    def tracking_identifier(self) -> str:
        """The same for people."""
        return f"AI estimates {self.origin.family} {EYES[self.eye]}"

    @property
    def shape_source(self) -> Source | None:
        """The image that the shape lies in; None without a shape."""
        if self.shape is None:
            return None
        return {source.sop_instance_uid: source for source in self.sources}[self.shape.sop_instance_uid]

    @property
    def has_picture(self) -> bool:
        """Whether there is anything that a picture could show."""
        return self.shape is not None or self.seen is not None

    @property
    def picture_source(self) -> Source | None:
        """The image that the picture was made of; None without a picture."""
        used = next((source for source in self.sources if source.used), None)
        return used if self.seen is not None else self.shape_source

    @property
    def headline(self) -> tuple[str, str]:
        """What picture and page are about: Japanese, English."""
        if self.shape is not None:
            return self.shape.japanese, self.shape.name
        assert self.seen is not None, "only what has a picture has a headline"
        return self.seen.concept.japanese, self.seen.concept.code.meaning

    @property
    def has_segmentation(self) -> bool:
        """Whether the shape can be sent as a segmentation."""
        return self.shape is not None and self.shape_source is not None and self.shape.lies_on(self.shape_source)

    @property
    def _made_of(self) -> tuple[list[str], str, str, str, int, str]:
        """What another report with other values would differ in: images, model, generation and grader."""
        origin, names = self.origin, [source.sop_instance_uid for source in self.sources]
        grader = "" if self.grader is None else self.grader.weights_sha256
        return names, origin.name, origin.version, origin.weights_sha256, self.generation, grader

    @property
    def title(self) -> str:
        """The Series Description: what a viewer's list shows, so it says what people must know first."""
        return self.titled("RESULTS")

    def titled(self, what: str) -> str:
        """The Series Description of the report or of one of its companions."""
        status = "DEMONSTRATION" if self.origin.demonstration else "research"
        return f"AI {what} ({status}) {family(self.origin.family).words} {EYES[self.eye]}"


def unvalued(outputs: tuple[Output, ...], qualifier: Qualifier) -> tuple[Finding, ...]:
    """A finding for each output that says why there is no value."""
    return tuple(Finding(name=output.name, unit=output.unit, qualifier=qualifier) for output in outputs)


def _check_finding(finding: Finding, output: Output) -> None:
    """Refuse a finding that the output's manifest or the table of codes cannot express."""
    known = concept(output.concept)
    if finding.unit != output.unit or output.unit != known.unit.value:
        raise ValueError(f"finding `{finding.name}`: unit `{finding.unit}`, but `{known.unit.value}` in the table")
    if finding.uncertainty is not None and finding.uncertainty <= 0:
        raise ValueError(f"finding `{finding.name}`: an uncertainty is above 0")
    if bool(output.choices) != bool(known.choices) or not set(output.choices) <= set(known.choices):
        raise ValueError(f"finding `{finding.name}`: the choices of the output are not those of `{output.concept}`")
    if finding.value is not None and known.choices and finding.choice not in output.choices:
        raise ValueError(f"finding `{finding.name}`: `{finding.choice}` is not a choice of `{output.concept}`")
    if finding.choice is not None and not known.choices:
        raise ValueError(f"finding `{finding.name}` is a value and has no choice")
