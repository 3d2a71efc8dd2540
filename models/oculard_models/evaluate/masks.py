"""How well a mask agrees with the one that a person drew: overlap, distance of the borders, and the areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]  # rows x columns
LIMITS = 1.96  # standard deviations: Bland and Altman's limits of agreement (Lancet 1986; 327:307-310)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One picture. Distances in pixels of the picture; `area_truth` and `area` are shares of the whole picture.

    A mask that was not found at all has Dice 0, and no distance.
    """

    name: str
    stratum: str
    dice: float
    hausdorff95_px: float | None
    area_truth: float
    area: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Many pictures. Areas are shares of the picture; the limits of agreement are `bias` -+ 1.96 deviations."""

    pictures: int
    dice_mean: float
    dice_sd: float
    dice_least: float
    hausdorff95_px: float | None  # mean over the pictures that have one
    not_found: int
    area_bias: float
    area_low: float
    area_high: float
    pearson_r: float | None


def agreement(name: str, stratum: str, truth: Mask, found: Mask | None) -> Agreement:
    """Compare one mask with the truth; None where nothing was found."""
    mask = np.zeros_like(truth) if found is None else found
    return Agreement(
        name=name,
        stratum=stratum,
        dice=dice(truth, mask),
        hausdorff95_px=hausdorff95(truth, mask) if mask.any() else None,
        area_truth=float(truth.mean()),
        area=float(mask.mean()),
    )


def dice(truth: Mask, mask: Mask) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(truth.sum()) + int(mask.sum())
    return 1.0 if total == 0 else 2.0 * int((truth & mask).sum()) / total


def hausdorff95(truth: Mask, mask: Mask) -> float:
    """Return the 95th percentile of all distances from one border to the other, both ways, in pixels."""
    borders = [_border(truth), _border(mask)]
    away = [ndimage.distance_transform_edt(~border) for border in borders]
    distances = np.concatenate([away[1][borders[0]], away[0][borders[1]]])
    return float(np.percentile(distances, 95.0))


def summary(found: Sequence[Agreement]) -> Summary:
    """Summarise pictures, at least one."""
    dices = np.array([one.dice for one in found])
    areas, truths = np.array([one.area for one in found]), np.array([one.area_truth for one in found])
    distances = [one.hausdorff95_px for one in found if one.hausdorff95_px is not None]
    moved = areas - truths
    spread = float(moved.std(ddof=1)) if len(found) > 1 else 0.0
    varies = len(found) > 2 and areas.std() > 0 and truths.std() > 0
    return Summary(
        pictures=len(found),
        dice_mean=float(dices.mean()),
        dice_sd=float(dices.std(ddof=1)) if len(found) > 1 else 0.0,
        dice_least=float(dices.min()),
        hausdorff95_px=float(np.mean(distances)) if distances else None,
        not_found=sum(one.area == 0.0 for one in found),
        area_bias=float(moved.mean()),
        area_low=float(moved.mean()) - LIMITS * spread,
        area_high=float(moved.mean()) + LIMITS * spread,
        pearson_r=float(np.corrcoef(areas, truths)[0, 1]) if varies else None,
    )


def _border(mask: Mask) -> Mask:
    """Return the pixels of a mask that have a neighbour outside of it."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))
