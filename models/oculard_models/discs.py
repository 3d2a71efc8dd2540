"""Optic discs in photographs, as a network outlines them: a second opinion for the quality gate, and a place to cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oculard_models import structures
from oculard_models.contract import ImageInput, Measured, Segmenter
from oculard_models.manifest import BundleRefused, Manifest, Structure
from oculard_models.preprocess import Pixels, seen_box

if TYPE_CHECKING:
    from oculard_models.registry import Bundle
    from oculard_models.runners.onnx import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscPlace:
    """Where a disc is in a photograph: the middle of its outline (x, y), and its sides (width, height), in pixels."""

    centre: tuple[float, float]
    sides: tuple[float, float]


class DiscFinder:
    """A loaded bundle that outlines optic discs. Raises BundleRefused for any other."""

    def __init__(self, segmenter: Segmenter, manifest: Manifest) -> None:
        if manifest.mask is None or manifest.mask.structure is not Structure.OPTIC_DISC:
            raise BundleRefused(f"bundle `{manifest.name}` outlines no optic discs; hint: see [worker] disc_finder")
        self._segmenter, self._mask, self._input = segmenter, manifest.mask, manifest.input

    def finds(self, pixels: Pixels) -> bool:
        """Say whether there is a disc in a photograph, rows x columns x 3, uint8, RGB. Raises EstimateFailed."""
        return self._measured(pixels).shape is not None

    def locate(self, pixels: Pixels) -> DiscPlace | None:
        """Say where the disc is; None where there is none, or one that is cut by the edge. Raises EstimateFailed."""
        found = self._measured(pixels)
        if found.shape is None or found.reason:
            return None
        low, high = found.shape.outline.min(axis=0), found.shape.outline.max(axis=0)
        (left, top), (right, bottom) = (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))
        return DiscPlace(centre=((left + right) / 2, (top + bottom) / 2), sides=(right - left, bottom - top))

    def _measured(self, pixels: Pixels) -> Measured:
        image = ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels)  # a mask's bundle mirrors nothing
        (probability,) = self._segmenter.segment(self._segmenter.prepare(image)[None])
        size, box = (pixels.shape[0], pixels.shape[1]), seen_box(pixels, self._input)
        return structures.measure(probability, mask=self._mask, box=box, image_size=size, spacing_mm=None)


def load_disc_finder(bundle: Bundle, choice: Choice, threads: int) -> DiscFinder:
    """Load a bundle's weights with onnxruntime and run its self-test. Raises BundleRefused."""
    from oculard_models.runners.onnx import OnnxEstimator

    estimator = OnnxEstimator(bundle, choice, threads)
    estimator.self_test()
    return DiscFinder(estimator, bundle.manifest)
