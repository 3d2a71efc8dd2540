"""From raw outputs of a network to findings of one eye, or of both eyes of one person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, isfinite, nan

from oculard_models.contract import Classified, Finding, Measured, Qualifier
from oculard_models.manifest import Manifest, Output, OutputKind

Raw = tuple[str, Mapping[str, float]]  # SOP Instance UID of an image, its raw output by output name
DECIMALS = 2  # of every estimated value: finer than any interval that a manifest states
MEASURED_DECIMALS = 4  # of what is measured in mm or mm2


def to_findings(manifest: Manifest, raws: Sequence[Raw]) -> tuple[Finding, ...]:
    """Combine the gradable images of ONE eye: (SOP Instance UID, raw output by output name) each, at least one.

    Values and probabilities are averaged over the images. A value outside the manifest's `valid` is out of range and
    an output that is not finite for any image has failed: both are said and neither is ever clipped or left out.
    Raises ValueError without images: `not_made` says why nothing was estimated.
    """
    return tuple(_finding(output, output.uncertainty, _eyes(manifest, raws)) for output in manifest.output)


def of_both_eyes(manifest: Manifest, right: Sequence[Raw], left: Sequence[Raw]) -> tuple[Finding, ...]:
    """Combine the gradable images of both eyes of ONE person, at least one of each: each eye counts as one half.

    First the images of an eye are averaged, then the two eyes, so that an eye that was photographed more often counts
    no more. An output that states no uncertainty for both eyes keeps that of one eye, which is wider.
    """
    eyes = _eyes(manifest, right, left)
    return tuple(_finding(output, output.uncertainty_both or output.uncertainty, eyes) for output in manifest.output)


def of_measures(manifest: Manifest, sop_instance_uid: str, measured: Measured) -> tuple[Finding, ...]:
    """Say what was measured on ONE image of a bundle with a mask, and what its logistic outputs make of it.

    A measure that is neither valued nor missing has failed. A logistic output whose measures are not all there was not
    attempted.
    """
    sources = (sop_instance_uid,)
    return tuple(_of_measures(output, measured, sources) for output in manifest.output)


def of_classes(manifest: Manifest, sources: Sequence[str], classified: Classified) -> tuple[Finding, ...]:
    """Say of ONE eye which class was found, and how probable each is, of a bundle with views."""
    raws = raw_of_classes(manifest, classified)
    return tuple(_of_classes(output, raws[output.name], classified, tuple(sources)) for output in manifest.output)


def raw_of_classes(manifest: Manifest, classified: Classified) -> dict[str, float]:
    """Give the raw output by output name, 0 to 1: of the class output the largest, of a probability its own."""
    numbers = classified.probability.tolist()
    return {
        output.name: float(numbers[classified.winner if output.index is None else output.index])
        for output in manifest.output
    }


def not_made(manifest: Manifest, qualifier: Qualifier, sources: Sequence[str]) -> tuple[Finding, ...]:
    """Say for every output why it has no value: the images are ungradable, the eye is unknown, the run has failed."""
    return tuple(_without_value(output, qualifier, tuple(sources)) for output in manifest.output)


def _of_measures(output: Output, measured: Measured, sources: tuple[str, ...]) -> Finding:
    """Make the finding of one measured or logistic output."""
    if output.logistic is not None:
        terms = output.logistic.coefficients
        if not all(isfinite(measured.values.get(name, nan)) for name in terms):
            return _without_value(output, Qualifier.NOT_ATTEMPTED, sources)
        logit = output.logistic.intercept + sum(b * measured.values[name] for name, b in terms.items())
        return _choice(output, output.uncertainty, [[logit]], sources)
    value = measured.values.get(output.name)
    if value is None or not isfinite(value):
        return _without_value(output, measured.missing.get(output.name, Qualifier.FAILURE), sources)
    return _value(output, value, output.uncertainty, sources)


def _of_classes(output: Output, raw: float, classified: Classified, sources: tuple[str, ...]) -> Finding:
    """Make the finding of a class or of one class's probability."""
    if not classified.is_sound:
        return _without_value(output, Qualifier.FAILURE, sources)
    choice = output.choices[classified.winner] if output.kind is OutputKind.CLASS else None
    value = round(100.0 * min(raw, 1.0), DECIMALS)
    return Finding(name=output.name, unit=output.unit, value=value, choice=choice, sources=sources)


def _eyes(manifest: Manifest, *eyes: Sequence[Raw]) -> tuple[Sequence[Raw], ...]:
    """Refuse an eye without images."""
    if not all(eyes):
        raise ValueError(f"no images for `{manifest.name}`: use not_made")
    return eyes


def _finding(output: Output, uncertainty: float | None, eyes: Sequence[Sequence[Raw]]) -> Finding:
    """Make one finding out of one output's raw values, one an image, eye by eye."""
    sources = tuple(uid for eye in eyes for uid, _ in eye)
    raws = [[raw[output.name] for _, raw in eye] for eye in eyes]
    if not all(isfinite(raw) for eye in raws for raw in eye):
        return _without_value(output, Qualifier.FAILURE, sources)
    if output.kind is OutputKind.BINARY:
        return _choice(output, uncertainty, raws, sources)
    value = _mean([_mean(eye) for eye in raws]) * output.scale + output.offset
    if not isfinite(value):
        return _without_value(output, Qualifier.FAILURE, sources)
    return _value(output, value, uncertainty, sources)


def _value(output: Output, value: float, uncertainty: float | None, sources: tuple[str, ...]) -> Finding:
    """Tell a value in the output's unit, or that it is out of range."""
    if output.valid is not None and not output.valid[0] <= value <= output.valid[1]:
        return _without_value(output, Qualifier.OUT_OF_RANGE, sources)
    return Finding(
        name=output.name,
        unit=output.unit,
        value=round(value, MEASURED_DECIMALS if output.kind is OutputKind.MEASURED else DECIMALS),
        uncertainty=uncertainty,
        sources=sources,
    )


def _choice(
    output: Output, uncertainty: float | None, raws: Sequence[Sequence[float]], sources: tuple[str, ...]
) -> Finding:
    """Name the more probable of two classes with its probability in percent."""
    second = _mean([_mean([_probability(raw) for raw in eye]) for eye in raws])
    choice, probability = (output.choices[1], second) if second >= 0.5 else (output.choices[0], 1.0 - second)
    return Finding(
        name=output.name,
        unit=output.unit,
        value=round(100.0 * probability, DECIMALS),
        choice=choice,
        uncertainty=uncertainty,
        sources=sources,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _without_value(output: Output, qualifier: Qualifier, sources: tuple[str, ...]) -> Finding:
    """Name an output and the reason why it has no value."""
    return Finding(name=output.name, unit=output.unit, qualifier=qualifier, sources=sources)


def _probability(logit: float) -> float:
    """Return the logistic function, without overflow at either end."""
    small = exp(-abs(logit))
    return 1.0 / (1.0 + small) if logit >= 0 else small / (1.0 + small)
