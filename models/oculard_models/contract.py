"""What an estimator takes and gives: the one vocabulary shared by daemon and laboratory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Protocol

import numpy as np
import numpy.typing as npt

SOUND = 1e-3  # by so much probabilities may miss a sum of 1


class Qualifier(StrEnum):
    """Why a finding has no value, or one that must not be trusted (DICOM CID 42)."""

    FAILURE = "failure"
    NOT_ATTEMPTED = "not-attempted"
    OUT_OF_RANGE = "out-of-range"
    INDETERMINATE = "indeterminate"


class EstimateFailed(Exception):
    """A loaded estimator could not run on a batch: out of memory, a driver, a network that breaks its own shape."""


class OutOfMemory(EstimateFailed):
    """The batch did not fit into the memory of the device; a smaller one may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One named value of one eye, or the reason why there is none.

    `name` is the output's name in the manifest. `value` is in `unit` (UCUM); for a classification `choice` is the
    class and `value` its probability in percent. `uncertainty` is the half width of the manifest's interval, in `unit`.
    `sources` are the SOP Instance UIDs of the images that the value was inferred from.
    """

    name: str
    unit: str
    value: float | None = None
    choice: str | None = None
    uncertainty: float | None = None
    qualifier: Qualifier | None = None
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number in (self.value, self.uncertainty):
            if number is not None and not isfinite(number):
                raise ValueError(f"finding `{self.name}` is not finite: {number}")
        if (self.value is None) == (self.qualifier is None):
            raise ValueError(f"finding `{self.name}` needs either a value or a qualifier that says why there is none")
        if self.value is None and (self.choice is not None or self.uncertainty is not None):
            raise ValueError(f"finding `{self.name}` has no value but a choice or an uncertainty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """One decoded image on its way into an estimator.

    `pixels` is rows x columns x 3, uint8, RGB. `eye` is "R" or "L": an estimator never sees an image of an unknown eye.
    """

    sop_instance_uid: str
    eye: str
    pixels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"expected rows x columns x 3 of uint8, got {self.pixels.shape} of {self.pixels.dtype}")
        if self.eye not in ("R", "L"):
            raise ValueError(f"expected eye `R` or `L`, got `{self.eye}`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A structure found in one image. Lengths in pixels of the image, x to the right, y downwards.

    `mask` is rows x columns of the image. `outline` is points x 2 (x, y), closed (the last point is not repeated),
    sub-pixel: the pixel of row r and column c covers [c, c + 1] x [r, r + 1].
    """

    mask: npt.NDArray[np.bool_]
    outline: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one image's structure: a value, or the reason why there is none, by the measure's name.

    `reason` is a stable slug ("" when all is well): why there is no shape, or why it was not measured. `notes` are
    ASCII, for the report: what the reader of the values must know, such as the spacing that was used.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, Qualifier] = field(default_factory=dict)
    shape: Shape | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classified:
    """What a bundle that classifies views says of one eye, as the network gives it.

    `probability` has a number for each class; `by_view` is views x classes, what each view says alone; `activation` is
    views x height x width, from 0 to 1: what in each view speaks for the class that was found.
    """

    probability: npt.NDArray[np.float32]
    by_view: npt.NDArray[np.float32]
    activation: npt.NDArray[np.float32]

    @property
    def winner(self) -> int:
        """The most probable class."""
        return int(self.probability.argmax())

    @property
    def is_sound(self) -> bool:
        """Whether these are probabilities and maps at all."""
        sums = (*self.by_view.sum(axis=1), self.probability.sum())
        parts = (self.probability, self.by_view, self.activation)
        inside = all(bool(((part >= 0.0) & (part <= 1.0 + SOUND)).all()) for part in parts)  # NaN is neither
        return inside and all(abs(float(total) - 1.0) <= SOUND for total in sums)

    @property
    def certainty(self) -> float:
        """Ours: the probability of the class that was found, times the share of the views that alone say the same."""
        agree = [said_alone(view) == self.winner for view in self.by_view]
        return float(self.probability[self.winner]) * float(np.mean(agree))


def said_alone(probabilities: Sequence[float] | npt.NDArray[np.float32]) -> int:
    """The class that one view says by itself: normal, which is the first, or one of the others; and then which of them.

    A view's network asks whether the eye is normal before it asks for the type. Four types share what is left, so the
    largest number alone would be "normal" for many eyes that are probably not.
    """
    normal, *others = (float(probability) for probability in probabilities)
    return 0 if normal >= sum(others) else 1 + int(np.argmax(others))


class Classifier(Protocol):
    """A loaded bundle that classifies views: the views of eyes in, probabilities of classes out."""

    def classify(self, batch: npt.NDArray[np.float32]) -> Sequence[Classified]:
        """Run the network on eyes x views x height x width, 0 to 1, as right eyes. Raises EstimateFailed."""


class Segmenter(Protocol):
    """A loaded bundle that segments: images in, masks out."""

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to the network's input (channels x height x width, float32)."""

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run the network on images x channels x height x width; probabilities, images x height x width.

        Raises EstimateFailed.
        """


class Estimator(Protocol):
    """A loaded bundle: images in, findings out."""

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to the network's input (channels x height x width, float32)."""

    def estimate(self, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
        """Run the network on images x channels x height x width; raw outputs by output name, one mapping per image.

        Raises EstimateFailed.
        """
