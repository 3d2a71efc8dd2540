"""Variations of a picture together with its mask, drawn by chance: a bent, turned and scaled patch in another light."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, radians, sin

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

CORNERS = 5  # rows and columns of the grid whose random shifts bend the picture


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskVariation:
    """How far pictures are varied, to either side. OCT angiography has no up or down that a zone would know of.

    `patch_px`: side of the patch that is cut, at the size that the network sees. `scale`, `stretch`: in shares, of
    the exponent. `bend`: deviation of a corner's shift, in shares of the patch. `light`, `gamma`: in shares, of the
    exponent. `speckle`: deviation of the noise, 0..1. `bands`: chance of darker rows (blinks, motion). `blur`: chance.
    """

    patch_px: int = 128
    rotate_deg: float = 180.0
    scale: float = 0.25
    stretch: float = 0.10
    shift: float = 0.35  # of the room that the patch has in the picture
    bend: float = 0.02
    light: float = 0.30
    gamma: float = 0.30
    speckle: float = 0.06
    bands: float = 0.2
    blur: float = 0.2


def varied(picture: Tensor, target: Tensor, how: MaskVariation, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a patch of a picture (3 x height x width, 0..1) and of its mask (1 x height x width, 0..1)."""
    grid = _grid(picture.shape[1], picture.shape[2], how, rng)
    both = torch.cat([picture, target])[None]
    moved = functional.grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    return _lit(moved[:3], how, rng), moved[3:].clamp(0.0, 1.0)


def _grid(height: int, width: int, how: MaskVariation, rng: np.random.Generator) -> Tensor:
    """Say for every pixel of the patch where in the picture it comes from: 1 x patch x patch x 2, from -1 to 1."""
    turn = radians(float(rng.uniform(-how.rotate_deg, how.rotate_deg)))
    size, stretch = exp(float(rng.uniform(-how.scale, how.scale))), exp(float(rng.uniform(-how.stretch, how.stretch)))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    share = how.patch_px / np.array([width, height]) / size
    room = np.maximum(0.0, 1.0 - share)
    middle = rng.uniform(-1.0, 1.0, 2) * np.minimum(room, how.shift)
    theta = torch.tensor(
        [
            [flip * cos(turn) * share[0] * stretch, -sin(turn) * share[0] / stretch, middle[0]],
            [flip * sin(turn) * share[1] * stretch, cos(turn) * share[1] / stretch, middle[1]],
        ],
        dtype=torch.float32,
    )
    grid = functional.affine_grid(theta[None], [1, 1, how.patch_px, how.patch_px], align_corners=False)
    corners = torch.from_numpy(rng.normal(0.0, how.bend, (1, 2, CORNERS, CORNERS)).astype(np.float32))
    bent = functional.interpolate(corners, (how.patch_px, how.patch_px), mode="bicubic", align_corners=True)
    return grid + bent.permute(0, 2, 3, 1) * torch.from_numpy(share.astype(np.float32))


def _lit(picture: Tensor, how: MaskVariation, rng: np.random.Generator) -> Tensor:
    """Change light, gamma and sharpness; add speckle and dark bands. Always takes the same count of random numbers."""
    gamma, light, dark = rng.uniform(-1.0, 1.0, 3).tolist()
    banded, blurred = (rng.random(2) < (how.bands, how.blur)).tolist()
    first, share = rng.uniform(0.0, 1.0, 2).tolist()
    noise = torch.from_numpy(rng.standard_normal(picture.shape[1:], dtype=np.float32))
    speckle = float(rng.uniform(0.0, how.speckle))
    picture = picture.clamp(0.0, 1.0).pow(exp(how.gamma * gamma)) * exp(how.light * light)
    if blurred:
        picture = functional.avg_pool2d(picture[None], 3, stride=1, padding=1, count_include_pad=False)[0]
    if banded:
        rows = picture.shape[1]
        start, stop = int(first * rows), int(first * rows) + max(1, int(0.3 * share * rows))
        picture = picture.clone()
        picture[:, start:stop] *= 0.55 + 0.35 * dark
    return (picture + noise * speckle * (0.3 + picture.sqrt())).clamp(0.0, 1.0)
