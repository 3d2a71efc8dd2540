"""Spares memory: a batch that does not fit is halved, one image that does not fit goes to the processor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Classified, EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle
from oculard_models.runners.golden import Loaded, self_test

Result = TypeVar("Result")  # of one image: its raw outputs, or its mask
Run = Callable[[Loaded, npt.NDArray[np.float32]], Iterable[Result]]


class Sparing:
    """An `Estimator` or `Segmenter` whose results come whole and in order however little memory its device has.

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
        return self._whole(batch, lambda loaded, piece: loaded.estimate(piece))

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run images x 3 x height x width, in as many pieces as it takes; masks. Raises EstimateFailed."""
        masks = self._whole(batch, lambda loaded, piece: loaded.segment(piece))
        return np.stack(masks) if masks else self._estimator.segment(batch)

    def classify(self, batch: npt.NDArray[np.float32]) -> Sequence[Classified]:
        """Run eyes x views x height x width, in as many pieces as it takes. Raises EstimateFailed."""
        return self._whole(batch, lambda loaded, piece: loaded.classify(piece))

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused."""
        self_test(self.bundle, self)

    def _whole(self, batch: npt.NDArray[np.float32], run: Run[Result]) -> list[Result]:
        """Run a batch in pieces; one result an image, in order."""
        results: list[Result] = []
        while len(results) < len(batch):
            left = batch[len(results) :]
            piece = left[: self.images_at_once or len(left)]
            done = self._try(piece, run)
            if done is not None:
                results += done
            elif len(piece) > 1:
                self.images_at_once = len(piece) // 2
            else:
                results += self._spare(left, run)
        return results

    def _try(self, piece: npt.NDArray[np.float32], run: Run[Result]) -> list[Result] | None:
        """Run a piece on the device; None where it does not fit, and by then the error and its memory are gone."""
        try:
            return list(run(self._estimator, piece))
        except OutOfMemory:
            return None

    def _spare(self, left: npt.NDArray[np.float32], run: Run[Result]) -> list[Result]:
        """Run what is left of a batch on the fallback, one by one: the processor gains nothing from more at once."""
        if self._fallback is None:
            try:
                self._fallback = self._load_fallback()
            except BundleRefused as why:
                raise EstimateFailed(f"no memory for one image, and there is no fallback: {why}") from why
        self.spared += len(left)
        return [result for image in left for result in run(self._fallback, image[None])]
