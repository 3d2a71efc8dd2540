"""The first gate: is this photograph good enough to estimate anything from it, and what does it show?

A gate is a bundle of the family `quality` (the shipped one: `fundus-quality`). Its network measures, its manifest
says from which value on a photograph is limited, and ungradable: the rule is data, and travels with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import exp, isfinite
from typing import TYPE_CHECKING, Protocol

from oculard_models.contract import EstimateFailed, Estimator, ImageInput
from oculard_models.manifest import BundleRefused, Limits, Manifest, Output, OutputKind
from oculard_models.preprocess import Pixels, find_field

if TYPE_CHECKING:
    from oculard_models.registry import Bundle
    from oculard_models.runners.onnx import Choice

GATE_FAMILY = "quality"
SHIPPED_GATE = "fundus-quality"

NO_FIELD = "no-field"  # there is no circle of light: nothing that crops to it can work
NOT_FUNDUS = "not-fundus"  # whatever else a network says of such a picture means nothing
NO_DISC = "no-disc"  # nothing is suggested without one: the disc tells the eyes apart
REASONS = (NO_FIELD, NOT_FUNDUS, "too-dark", "too-bright", "blurred", "hazy", NO_DISC, "field-cut")
DISC_NOT_FOUND, DISC_FOUND = "disc-not-found", "disc-found"  # a second network does not see what the gate does

EYE, CENTRED = "eye", "centred"  # two outputs that are told and never graded
CHOICES = {EYE: ("L", "R"), CENTRED: ("macula", "disc")}
SURE = 90.0  # %: below this nothing is suggested


class Grade(StrEnum):
    """What a photograph is good for."""

    GOOD = "good"
    LIMITED = "limited"  # is estimated; the report says what is wrong with it
    UNGRADABLE = "ungradable"  # is not estimated; the report says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A photograph's grade, the reasons against a better one (stable slugs), what was measured, and what it shows.

    `suggested_eye` ("R" or "L", with its probability) and `centred` are suggestions and never facts: both are None
    where the gate is not sure.
    """

    grade: Grade
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    suggested_eye: str | None = None
    suggested_eye_probability: float | None = None
    centred: str | None = None


class FindsDiscs(Protocol):
    """A second opinion on whether a disc is there: see `discs.py`."""

    def finds(self, pixels: Pixels) -> bool:
        """Say whether there is a disc in a photograph. Raises EstimateFailed."""


class Gate:
    """A loaded bundle of the family `quality` with its manifest's rule. Raises BundleRefused for what is no gate.

    With `discs` a second network says whether it finds the optic disc. Where it contradicts the gate, the reasons say
    so; it turns no photograph away.
    """

    def __init__(self, estimator: Estimator, manifest: Manifest, discs: FindsDiscs | None = None) -> None:
        _check(manifest)
        self._estimator, self._outputs = estimator, manifest.output
        looks = any(output.limits and output.limits.reason == NO_DISC for output in manifest.output)
        self._discs = discs if looks else None  # a gate that never looks for discs cannot be contradicted

    def assess(self, pixels: Pixels) -> Quality:
        """Grade one photograph, rows x columns x 3, uint8, RGB. Raises EstimateFailed."""
        image = ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels)  # a gate mirrors nothing: see _check
        (raw,) = self._estimator.estimate(self._estimator.prepare(image)[None])
        found = judged(self._outputs, raw, shows_field=find_field(pixels) is not None)
        if self._discs is None or found.grade is Grade.UNGRADABLE:
            return found
        return with_second_opinion(found, finds_disc=self._discs.finds(pixels))


def load_gate(bundle: Bundle, choice: Choice, threads: int, discs: FindsDiscs | None = None) -> Gate:
    """Load a gate's weights with onnxruntime and run its self-test. Raises BundleRefused."""
    from oculard_models.runners.onnx import OnnxEstimator

    estimator = OnnxEstimator(bundle, choice, threads)
    estimator.self_test()
    return Gate(estimator, bundle.manifest, discs)


def with_second_opinion(found: Quality, *, finds_disc: bool) -> Quality:
    """Say where another network contradicts the gate on the disc; such a photograph is limited, and no worse."""
    assert found.grade is not Grade.UNGRADABLE, "what is turned away stays so"
    if finds_disc is (NO_DISC not in found.reasons):
        return found
    reason = DISC_FOUND if finds_disc else DISC_NOT_FOUND
    return replace(found, grade=Grade.LIMITED, reasons=(*found.reasons, reason))


def judged(outputs: Sequence[Output], raw: Mapping[str, float], *, shows_field: bool) -> Quality:
    """Apply a manifest's rule to a network's raw outputs. Raises EstimateFailed where one is not a number."""
    measures = {output.name: _measure(output, raw[output.name]) for output in outputs}
    grades = {o.limits.reason: grade(measures[o.name], o.limits) for o in outputs if o.limits is not None}
    if not shows_field:
        grades = {NO_FIELD: Grade.UNGRADABLE, **_only(grades, NOT_FUNDUS)}
    elif grades.get(NOT_FUNDUS) is Grade.UNGRADABLE:
        grades = _only(grades, NOT_FUNDUS)
    worst = max(grades.values(), key=list(Grade).index)
    reasons = tuple(reason for reason, found in grades.items() if found is not Grade.GOOD)
    if worst is Grade.UNGRADABLE or NO_DISC in reasons:
        return Quality(grade=worst, reasons=reasons, measures=measures)
    return _with_suggestions(worst, reasons, measures)


def grade(value: float, limits: Limits) -> Grade:
    """Grade one measure; whether high or low is bad follows from the order of the two limits."""
    sign = 1.0 if limits.ungradable > limits.limited else -1.0
    if sign * value > sign * limits.ungradable:
        return Grade.UNGRADABLE
    return Grade.LIMITED if sign * value > sign * limits.limited else Grade.GOOD


def _with_suggestions(grade: Grade, reasons: tuple[str, ...], measures: Mapping[str, float]) -> Quality:
    """Add what a usable photograph shows, as far as the gate is sure of it."""
    centred, _ = _choice(CENTRED, measures)
    eye, probability = (None, None) if centred == "disc" else _choice(EYE, measures)
    return Quality(
        grade=grade,
        reasons=reasons,
        measures=measures,
        suggested_eye=eye,
        suggested_eye_probability=probability,
        centred=centred,
    )


def _choice(name: str, measures: Mapping[str, float]) -> tuple[str | None, float | None]:
    """Return the more probable choice of an output with its probability (0..1), or None twice below SURE."""
    second = measures.get(name)
    if second is None:
        return None, None
    choice, percent = (CHOICES[name][1], second) if second >= 50.0 else (CHOICES[name][0], 100.0 - second)
    return (choice, round(percent / 100.0, 4)) if percent >= SURE else (None, None)


def _measure(output: Output, raw: float) -> float:
    """Turn a raw output into its unit; a logit into the probability of the second choice in percent."""
    if not isfinite(raw):
        raise EstimateFailed(f"the quality gate's output `{output.name}` is not finite: {raw}")
    if output.kind is OutputKind.VALUE:
        return round(raw * output.scale + output.offset, 4)
    small = exp(-abs(raw))
    return round(100.0 * (1.0 if raw >= 0.0 else small) / (1.0 + small), 2)


def _only(grades: Mapping[str, Grade], reason: str) -> dict[str, Grade]:
    """Keep one reason's grade, where there is one."""
    return {reason: grades[reason]} if reason in grades else {}


def _check(manifest: Manifest) -> None:
    """Refuse a bundle that cannot be a gate, saying why."""
    name = f"bundle `{manifest.name}`"
    if manifest.family != GATE_FAMILY:
        raise BundleRefused(f"{name} is of the family `{manifest.family}`, a gate is of `{GATE_FAMILY}`")
    if manifest.input.mirror_left:
        raise BundleRefused(f"{name} mirrors left eyes; hint: a gate sees eyes before anyone knows which they are")
    if not any(output.limits for output in manifest.output):
        raise BundleRefused(f"{name} has no output with `limits`; hint: without them nothing is ever graded")
    for output in manifest.output:
        wanted = CHOICES.get(output.name, output.choices)
        if output.choices != wanted:
            raise BundleRefused(f"{name}: `{output.name}` has the choices {output.choices}, a gate's are {wanted}")
