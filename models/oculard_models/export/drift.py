"""How far a smaller variant moves away from its source: in the outputs' units, or in the probabilities of its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.contract import EstimateFailed
from oculard_models.manifest import Mask, Output, OutputKind
from oculard_models.registry import Bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

LARGEST_SHARE = 0.5  # of an output's interval that a variant may drift by before it is refused
LARGEST_POINTS = 10.0  # the same for the probability of a classification, in percent: it has no interval
SMALLEST_DICE = 0.98  # mean, of the masks of source and variant: the edge of a disc moved by a fiftieth of its radius


class NotMeasured(Exception):
    """A drift that cannot be measured: a network that fails, or gives what is no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDrift:
    """How far one output moves, in its unit (a classification: points of its probability in percent)."""

    name: str
    unit: str
    mean: float
    largest: float
    share: float | None  # largest / half width of the interval, where there is one

    @property
    def too_much(self) -> bool:
        """Whether it moves more than a reader of the value would forgive."""
        if self.share is None:
            return self.unit == "%" and self.largest > LARGEST_POINTS
        return self.share > LARGEST_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDrift:
    """How far the masks move: the probabilities over all pixels, and the Dice of what is above the threshold.

    Two masks with nothing above it agree: their Dice is 1.
    """

    mean: float
    largest: float
    dice_mean: float
    dice_smallest: float

    @property
    def too_much(self) -> bool:
        """Whether the outlines are others."""
        return self.dice_mean < SMALLEST_DICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What was measured on a variant, over how many held-out images, and the bytes of both files of weights.

    `outputs` are those that a network gives; of a bundle that segments there are none, but a `mask`.
    """

    images: int
    outputs: tuple[OutputDrift, ...]
    mask: MaskDrift | None
    source_bytes: int
    variant_bytes: int


def measure_drift(source: Bundle, variant: Bundle, held_out: npt.NDArray[np.float32]) -> Drift:
    """Run both on the held-out images, one by one as the daemon does on a processor. Raises NotMeasured."""
    mask = source.manifest.mask
    pair = [OnnxEstimator(b, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1) for b in (source, variant)]
    try:
        if mask is None:
            outputs, masks = _outputs(source.manifest.output, pair, held_out), None
        else:
            outputs, masks = (), _masks(mask, pair, held_out)
    except EstimateFailed as why:
        raise NotMeasured(f"the drift cannot be measured: {why}") from why
    sizes = [(bundle.folder / bundle.manifest.weights.file).stat().st_size for bundle in (source, variant)]
    return Drift(
        images=len(held_out), outputs=outputs, mask=masks, source_bytes=sizes[0], variant_bytes=sizes[1]
    )  # fmt: skip


def _outputs(
    outputs: Sequence[Output], pair: Sequence[OnnxEstimator], images: npt.NDArray[np.float32]
) -> tuple[OutputDrift, ...]:
    """Measure every output."""
    rows = [[row for image in images for row in one.estimate(image[None])] for one in pair]
    return tuple(_output(o, *(np.array([row[o.name] for row in side]) for side in rows)) for o in outputs)


def _output(output: Output, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> OutputDrift:
    """Measure one output in its unit."""
    moved = np.abs(_in_unit(output, after) - _in_unit(output, before))
    _must_be_finite(output.name, moved)
    largest = float(moved.max())
    share = None if output.uncertainty is None else round(largest / output.uncertainty, 4)
    return OutputDrift(
        name=output.name, unit=output.unit, mean=round(float(moved.mean()), 4), largest=round(largest, 4), share=share
    )


def _in_unit(output: Output, raw: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn raw outputs into what is reported: the value, or the probability of the second class in percent."""
    if output.kind is OutputKind.BINARY:
        return np.asarray(100.0 / (1.0 + np.exp(-np.clip(raw, -60.0, 60.0))))
    return np.asarray(raw * output.scale + output.offset)


def _masks(mask: Mask, pair: Sequence[OnnxEstimator], images: npt.NDArray[np.float32]) -> MaskDrift:
    """Measure the masks, image by image: all of them at once may be large."""
    means, largest, dices = [], [], []
    for image in images:
        before, after = (one.segment(image[None])[0] for one in pair)
        moved = np.abs(after - before)
        _must_be_finite(mask.tensor, moved)
        means.append(float(moved.mean(dtype=np.float64)))
        largest.append(float(moved.max()))
        dices.append(_dice(before > mask.threshold, after > mask.threshold))
    return MaskDrift(
        mean=round(float(np.mean(means)), 6),
        largest=round(max(largest), 4),
        dice_mean=round(float(np.mean(dices)), 4),
        dice_smallest=round(min(dices), 4),
    )


def _dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Return how much two masks have in common, of their mean size; 1 where both are empty."""
    size = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / size if size else 1.0


def _must_be_finite(name: str, moved: npt.NDArray[np.float64] | npt.NDArray[np.float32]) -> None:
    """Refuse what is no number."""
    if not np.isfinite(moved).all():
        raise NotMeasured(f"`{name}` is not finite for a held-out image; hint: does the network overflow in fp16?")
