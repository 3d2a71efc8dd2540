"""The self-test of a bundle: its golden picture must give what the manifest promises, whatever runs it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.contract import Classifier, EstimateFailed, Estimator, ImageInput, Segmenter
from oculard_models.findings import raw_of_classes
from oculard_models.manifest import MASK_MEAN, MASK_SHARE, BundleRefused
from oculard_models.registry import Bundle

GOLDEN_MAX_PX = 4096


class Loaded(Estimator, Segmenter, Classifier, Protocol):
    """What knows its bundle, where it runs, and how to test itself.

    It estimates; or segments where the bundle has a mask; or classifies where it has views. To ask for another is a
    bug, and raises ValueError.
    """

    @property
    def bundle(self) -> Bundle:
        """What it was loaded from."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it really runs, best first: `cpu`, `cuda`, ... ; only what is in use."""

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused."""


def self_test(bundle: Bundle, loaded: Loaded) -> None:
    """Run the golden image, two of it in one batch. Raises BundleRefused where an output is not as expected."""
    golden, name = bundle.manifest.golden, bundle.folder.name
    one = golden_input(bundle, loaded)
    try:
        results = _results(bundle, loaded, np.stack([one, one]))
    except EstimateFailed as why:
        raise BundleRefused(f"bundle `{name}`: self-test failed: {why}") from why
    for result in results:
        for output, expected in golden.expected.items():
            got = result[output]
            if not isfinite(got) or abs(got - expected) > golden.tolerance:
                raise BundleRefused(
                    f"bundle `{name}`: self-test failed: `{output}` of {golden.image} is {got:.4f},"
                    f" expected {expected:.4f} +- {golden.tolerance:g}"
                )


def mask_figures(probability: npt.NDArray[np.float32], threshold: float) -> dict[str, float]:
    """Say of one mask (height x width) what a golden expects: mean of the probabilities, share above the threshold."""
    return {
        MASK_MEAN: float(probability.mean(dtype=np.float64)),
        MASK_SHARE: float((probability > threshold).mean(dtype=np.float64)),
    }


def _results(bundle: Bundle, loaded: Loaded, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
    """Estimate, or segment and say what the masks are like. Raises EstimateFailed, BundleRefused."""
    mask = bundle.manifest.mask
    if bundle.manifest.input.views:
        return _classes(bundle, loaded, batch)
    if mask is None:
        return loaded.estimate(batch)
    probabilities = loaded.segment(batch)
    if not ((probabilities >= 0.0) & (probabilities <= 1.0)).all():  # NaN is neither
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: self-test failed: `{mask.tensor}` of {bundle.manifest.golden.image} has"
            " what is no probability; hint: is a sigmoid missing at its end?"
        )
    return [mask_figures(probability, mask.threshold) for probability in probabilities]


def _classes(bundle: Bundle, loaded: Loaded, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
    """Classify, and see that what came are probabilities and maps."""
    classified = loaded.classify(batch)
    if not all(one.is_sound for one in classified):
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: self-test failed: what it gives for {bundle.manifest.golden.image} are no"
            " probabilities that sum to 1, or no maps from 0 to 1"
        )
    return [raw_of_classes(bundle.manifest, one) for one in classified]


def golden_input(bundle: Bundle, loaded: Loaded) -> npt.NDArray[np.float32]:
    """Make the network's input of the golden image: prepared as a right eye's image, or its views as they are."""
    pixels, spec = golden_pixels(bundle), bundle.manifest.input
    if not spec.views:
        return loaded.prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels))
    (side, _), views = spec.size_px, len(spec.views)
    if pixels.shape[:2] != (side, views * side):
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: {bundle.manifest.golden.image} has {pixels.shape[1]} x {pixels.shape[0]}"
            f" pixels, {views} views side by side have {views * side} x {side}"
        )
    grey = pixels[..., 0].astype(np.float32) / np.float32(255.0)
    return np.ascontiguousarray(grey.reshape(side, views, side).transpose(1, 0, 2))


def golden_pixels(bundle: Bundle) -> npt.NDArray[np.uint8]:
    """Decode the golden image; rows x columns x 3, uint8, RGB. Raises BundleRefused."""
    name = f"bundle `{bundle.folder.name}`: {bundle.manifest.golden.image}"
    try:
        with Image.open(io.BytesIO(bundle.golden_image()), formats=["PNG"]) as picture:
            if max(picture.size) > GOLDEN_MAX_PX:
                raise BundleRefused(f"{name} has {picture.size} pixels, {GOLDEN_MAX_PX} a side are allowed")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as why:  # what Pillow raises on bad files
        raise BundleRefused(f"{name} cannot be decoded: {why}") from why
