"""What a segmentation of the foveal avascular zone must beat: the same mask for everybody, and a blurred threshold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from oculard_models.data.masked import Kept
from oculard_models.evaluate.masks import Agreement, Mask, agreement, dice

LEVELS = np.linspace(0.05, 0.95, 19)  # thresholds that are tried on the training part
BLURS = (0.02, 0.03, 0.04, 0.05)  # deviations that are tried, in shares of the picture's width
Light = npt.NDArray[np.float32]  # rows x columns
CENTRE = 0.5  # share of the width and height within which the zone is searched


def constant_mask(training: Sequence[Kept], test: Sequence[Kept]) -> list[Agreement]:
    """Give everybody the mean of the training masks, at the threshold that is best there."""
    mean = np.mean([one.target for one in training], axis=0)
    level = max(LEVELS, key=lambda level: float(np.mean([dice(_at(one), mean > level) for one in training])))
    return [_compared(one, mean > level) for one in test]


def blurred_threshold(training: Sequence[Kept], test: Sequence[Kept]) -> list[Agreement]:
    """Blur, take what is darker than a share of the way from the darkest to the median, keep the piece in the middle.

    Blur and share are those that are best on the training part.
    """
    soft = {blur: [_softened(one, blur) for one in training] for blur in BLURS}

    def mean_dice(blur: float, level: float) -> float:
        pairs = zip(training, soft[blur], strict=True)
        return float(np.mean([dice(_at(one), _dark(light, level)) for one, light in pairs]))

    best_blur, best_level = max(product(BLURS, LEVELS), key=lambda pair: mean_dice(*pair))
    return [_compared(one, _dark(_softened(one, best_blur), best_level)) for one in test]


def _softened(one: Kept, blur: float) -> Light:
    """Blur what the network would see; the deviation is a share of its width."""
    light = one.plane.mean(axis=0, dtype=np.float32)
    return np.asarray(ndimage.gaussian_filter(light, blur * light.shape[1]))


def _dark(soft: Light, level: float) -> Mask:
    """Return the darkest piece near the middle, holes filled, as the network would see it."""
    rows, columns = (round(size * (1.0 - CENTRE) / 2.0) for size in soft.shape)
    middle = soft[rows:-rows, columns:-columns]
    low = float(middle.min())
    pieces, count = ndimage.label(soft <= low + level * (float(np.median(soft)) - low))
    at = np.unravel_index(int(middle.argmin()), middle.shape)
    number = pieces[at[0] + rows, at[1] + columns]
    if not count or not number:
        return np.zeros(soft.shape, dtype=bool)
    return np.asarray(ndimage.binary_fill_holes(pieces == number))


def _at(one: Kept) -> Mask:
    """Return the truth at the size that the network sees."""
    return np.asarray(one.target >= 0.5)


def _compared(one: Kept, mask: Mask) -> Agreement:
    """Compare at the picture's own size."""
    rows, columns = one.truth.shape
    soft: npt.NDArray[np.float32] = mask.astype(np.float32)
    large = np.asarray(Image.fromarray(soft).resize((columns, rows), Image.Resampling.BILINEAR)) >= 0.5
    return agreement(one.about.name, one.about.stratum, one.truth, large if large.any() else None)
