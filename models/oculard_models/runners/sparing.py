"""Spares memory: a batch that does not fit is halved, one image that does not fit goes to the processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from oculard_models.contract import EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle
from oculard_models.runners.golden import Loaded, self_test


class Sparing:
    """An `Estimator` whose results come whole and in order however little memory its device has.

    The number of images that did fit is remembered until the process ends: what was too much once is not tried again.
    An image that does not fit alone is estimated by the fallback, and so is the rest of its batch. The next batch tries
    the device again, with one image: on a shared device the memory was a neighbour's and comes back, and a worker that
    stayed on its processor for good would be slow until somebody looked.
    """

    def __init__(self, estimator: Loaded, fallback: Callable[[], Loaded]) -> None:
        self._estimator = estimator
        self._load_fallback = fallback
        self._fallback: Loaded | None = None
        self.images_at_once: int | None = None  # None: no batch was too large so far
        self.spared = 0  # images that the fallback has estimated

    @property
    def bundle(self) -> Bundle:
        """What it was loaded from."""
        return self._estimator.bundle

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it runs when there is memory."""
        return self._estimator.devices

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image."""
        return self._estimator.prepare(image)

    def estimate(self, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
        """Run images x 3 x height x width, in as many pieces as it takes. Raises EstimateFailed."""
        rows: list[Mapping[str, float]] = []
        while len(rows) < len(batch):
            left = batch[len(rows) :]
            piece = left[: self.images_at_once or len(left)]
            done = self._try(piece)
            if done is not None:
                rows += done
            elif len(piece) > 1:
                self.images_at_once = len(piece) // 2
            else:
                rows += self._spare(left)
        return rows

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused."""
        self_test(self.bundle, self)

    def _try(self, piece: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]] | None:
        """Run a piece on the device; None where it does not fit, and by then the error and its memory are gone."""
        try:
            return self._estimator.estimate(piece)
        except OutOfMemory:
            return None

    def _spare(self, left: npt.NDArray[np.float32]) -> list[Mapping[str, float]]:
        """Run what is left of a batch on the fallback, one by one: the processor gains nothing from more at once."""
        if self._fallback is None:
            try:
                self._fallback = self._load_fallback()
            except BundleRefused as why:
                raise EstimateFailed(f"no memory for one image, and there is no fallback: {why}") from why
        self.spared += len(left)
        return [row for image in left for row in self._fallback.estimate(image[None])]
