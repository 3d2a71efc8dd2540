"""Drift: how far a runner's numbers are from those of onnxruntime in float, which the card was measured with.

It is measured on the self-test's picture, the same mirrored, and the same paler: when a bundle is loaded, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
import numpy.typing as npt

from oculard_models.manifest import Output, OutputKind
from oculard_models.runners.golden import Loaded, golden_input

PALER = 0.9
NOT_FINITE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The largest differences of any output on any picture; 0 where a bundle has nothing of the kind."""

    interval: float = 0.0  # of a value: as a share of its interval's half width; without an interval, of its scale
    probability: float = 0.0  # of a class: of 1
    mask: float = 0.0  # pixels that changed sides: as a share of the outlined ones

    @property
    def is_small(self) -> bool:
        """Whether a reader of the report need not mind: the differences are below what is rounded or uncertain."""
        return self.interval <= 0.05 and self.probability <= 0.02 and self.mask <= 0.02

    @property
    def words(self) -> str:
        """It in words, ASCII, for log, doctor and report."""
        parts = {"of an interval": self.interval, "of a probability": self.probability, "of a mask": self.mask}
        return ", ".join(f"{share:.2g} {what}" for what, share in parts.items() if share > 0.0) or "none"


def measure_drift(loaded: Loaded, reference: Loaded) -> Drift:
    """Run both on the same pictures and compare. Raises EstimateFailed, BundleRefused."""
    golden = golden_input(reference.bundle, reference)
    pictures = np.stack([golden, np.ascontiguousarray(golden[..., ::-1]), golden * np.float32(PALER)])
    manifest = reference.bundle.manifest
    if manifest.mask is not None:
        ours, theirs = (one.segment(pictures) for one in (loaded, reference))
        pairs = [(a > manifest.mask.threshold, b > manifest.mask.threshold) for a, b in zip(ours, theirs, strict=True)]
        return Drift(mask=max(float((a != b).sum()) / max(1, int(b.sum())) for a, b in pairs))
    if manifest.input.views:
        said = zip(loaded.classify(pictures), reference.classify(pictures), strict=True)
        return Drift(probability=max(_apart(a.probability, b.probability) for a, b in said))
    rows = list(zip(loaded.estimate(pictures), reference.estimate(pictures), strict=True))
    return Drift(
        interval=max(
            (_of_value(o, a[o.name], b[o.name]) for o in _values(manifest.output) for a, b in rows), default=0
        ),
        probability=max(
            (abs(_sigmoid(a[o.name]) - _sigmoid(b[o.name])) for o in _choices(manifest.output) for a, b in rows),
            default=0.0,
        ),
    )


def _values(outputs: Sequence[Output]) -> list[Output]:
    return [output for output in outputs if output.kind is OutputKind.VALUE]


def _choices(outputs: Sequence[Output]) -> list[Output]:
    return [output for output in outputs if output.kind is OutputKind.BINARY]


def _of_value(output: Output, ours: float, theirs: float) -> float:
    """A value's difference as a share of its interval, or of its scale where it has none."""
    if not (np.isfinite(ours) and np.isfinite(theirs)):
        return 0.0 if str(ours) == str(theirs) else NOT_FINITE
    share = abs(ours - theirs)
    return share if output.uncertainty is None else share * abs(output.scale) / output.uncertainty


def _apart(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> float:
    """The largest difference; one that is not a number is infinite."""
    apart = float(np.abs(ours.astype(np.float64) - theirs).max())
    return apart if np.isfinite(apart) else NOT_FINITE


def _sigmoid(logit: float) -> float:
    """A logit as a probability; one that is not a number stays so far off that no drift hides it."""
    if not np.isfinite(logit):
        return NOT_FINITE if logit != logit else float(logit > 0)
    return 1.0 / (1.0 + exp(-logit)) if logit >= 0 else exp(logit) / (1.0 + exp(logit))
