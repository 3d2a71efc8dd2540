"""From a trained network's heads to the outputs of a manifest."""

from __future__ import annotations

from collections.abc import Mapping

from oculard_models.data.scaling import Scaling
from oculard_models.data.table import CONCEPTS, UNITS
from oculard_models.manifest import Output, OutputKind
from oculard_models.train.intervals import Width


def outputs_of(
    scaling: Scaling, widths: Mapping[str, Width], valid: Mapping[str, tuple[float, float]]
) -> tuple[Output, ...]:
    """Describe every head: sex as two classes, the values as standard deviations from the mean."""
    return tuple(
        _sex() if name == "sex" else _value(name, mean, std, widths[name], valid.get(name))
        for name, mean, std in zip(scaling.names, scaling.mean, scaling.std, strict=True)
    )


def _sex() -> Output:
    """Describe the one classification."""
    return Output(name="sex", concept=CONCEPTS["sex"], tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))


def _value(name: str, mean: float, std: float, width: Width, valid: tuple[float, float] | None) -> Output:
    """Describe one value."""
    return Output(
        name=name,
        concept=CONCEPTS[name],
        tensor=name,
        kind=OutputKind.VALUE,
        unit=UNITS[name],
        scale=std,
        offset=mean,
        uncertainty=_rounded(width.one),
        uncertainty_both=_rounded(width.both),
        valid=valid,
    )


def _rounded(width: float | None) -> float | None:
    """Round up to two decimals, so that an interval never covers less for its looks."""
    return None if width is None else round(width + 0.005, 2)
