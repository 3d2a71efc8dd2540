"""A second opinion for the quality gate: does a network that outlines optic discs find one in this photograph?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oculard_models import structures
from oculard_models.contract import ImageInput, Segmenter
from oculard_models.manifest import BundleRefused, Manifest, Structure
from oculard_models.preprocess import Pixels, seen_box

if TYPE_CHECKING:
    from oculard_models.registry import Bundle
    from oculard_models.runners.onnx import Choice


class DiscFinder:
    """A loaded bundle that outlines optic discs. Raises BundleRefused for any other."""

    def __init__(self, segmenter: Segmenter, manifest: Manifest) -> None:
        if manifest.mask is None or manifest.mask.structure is not Structure.OPTIC_DISC:
            raise BundleRefused(f"bundle `{manifest.name}` outlines no optic discs; hint: see [worker] disc_finder")
        self._segmenter, self._mask, self._input = segmenter, manifest.mask, manifest.input

    def finds(self, pixels: Pixels) -> bool:
        """Say whether there is a disc in a photograph, rows x columns x 3, uint8, RGB. Raises EstimateFailed."""
        image = ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels)  # a mask's bundle mirrors nothing
        (probability,) = self._segmenter.segment(self._segmenter.prepare(image)[None])
        size, box = (pixels.shape[0], pixels.shape[1]), seen_box(pixels, self._input)
        found = structures.measure(probability, mask=self._mask, box=box, image_size=size, spacing_mm=None)
        return found.shape is not None


def load_disc_finder(bundle: Bundle, choice: Choice, threads: int) -> DiscFinder:
    """Load a bundle's weights with onnxruntime and run its self-test. Raises BundleRefused."""
    from oculard_models.runners.onnx import OnnxEstimator

    estimator = OnnxEstimator(bundle, choice, threads)
    estimator.self_test()
    return DiscFinder(estimator, bundle.manifest)
