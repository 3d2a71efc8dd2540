"""What a standard deviation is among the people who train: targets as a network learns them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
import numpy.typing as npt

from oculard_models.data.table import Photograph

UNSCALED = "sex"  # stays 0 (F) or 1 (M)


class ScalingWrong(ValueError):
    """Targets cannot be scaled so. The message names the target."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Mean and standard deviation of every target, in its unit; 0 and 1 for sex."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.mean) == len(self.std) == len(set(self.names)):
            raise ScalingWrong(f"expected one mean and one deviation a target, got {self}")
        for name, mean, std in zip(self.names, self.mean, self.std, strict=True):
            if not (isfinite(mean) and isfinite(std) and std > 0.0):
                raise ScalingWrong(f"`{name}` cannot be scaled by mean {mean} and deviation {std}")

    def standardised(self, values: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """Return one person's targets as the network learns them, NaN where one is not known."""
        rows = zip(self.names, self.mean, self.std, strict=True)
        return np.array([(values.get(name, nan) - mean) / std for name, mean, std in rows], dtype=np.float32)

    def in_units(self, targets: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return targets (... x names) in their units again."""
        return np.asarray(np.asarray(targets, dtype=np.float64) * np.array(self.std) + np.array(self.mean))


def scaling_of(photographs: Sequence[Photograph], names: Sequence[str]) -> Scaling:
    """Measure what the photographs of the training part know: nothing of the others may leak into it.

    Raises ScalingWrong for a target that is unknown or always the same.
    """
    centre = [_centre(photographs, name) for name in names]
    return Scaling(tuple(names), tuple(mean for mean, _ in centre), tuple(std for _, std in centre))


def _centre(photographs: Sequence[Photograph], name: str) -> tuple[float, float]:
    """Return the mean and the standard deviation of one target."""
    known = np.array([photograph.values[name] for photograph in photographs if name in photograph.values])
    if not len(known) or known.min() == known.max():
        said = f"always {known[0]:g}" if len(known) else "not known of anybody"
        raise ScalingWrong(f"`{name}` is {said} in the training part; hint: leave it out, or add people")
    return (0.0, 1.0) if name == UNSCALED else (float(known.mean()), float(known.std()))
