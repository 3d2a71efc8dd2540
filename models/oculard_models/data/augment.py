"""Variations of a prepared photograph that leave its person the same, drawn by chance. They know eyes.

A right eye flipped from side to side shows a left eye. A network that sees right eyes only (`mirror_left`) must not
see that; one that sees both must be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from oculard_models.preprocess import LIT_FLOOR

Flip = Literal["none", "vertical", "both"]  # upside down; and from side to side, which swaps the eye
FLIPS: tuple[Flip, ...] = ("none", "vertical", "both")
LIT = LIT_FLOOR / 255.0  # what is darker is background, and stays black


class VariationWrong(ValueError):
    """Photographs must not be varied so. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """How far photographs are varied; each number is the largest change to either side.

    `rotate_deg` in degrees, `scale` and `shift` as shares of the picture's size, `brightness` and `contrast` as shares
    of the light, `gamma` as a share of the exponent. What comes into the picture from outside is black.
    """

    flip: Flip = "vertical"
    rotate_deg: float = 10.0
    scale: float = 0.1
    shift: float = 0.03
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise VariationWrong(f"expected `flip` to be one of {', '.join(FLIPS)}, got `{self.flip}`")
        if not 0.0 <= self.rotate_deg <= 180.0:
            raise VariationWrong(f"expected `rotate_deg` from 0 to 180, got {self.rotate_deg}")
        for name in ("scale", "shift", "brightness", "contrast", "gamma"):
            if not 0.0 <= getattr(self, name) <= 0.9:
                raise VariationWrong(f"expected `{name}` from 0 to 0.9, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One variation, drawn."""

    turn_deg: float
    size: float
    across: float
    down: float
    upside_down: bool
    swaps_eye: bool
    brightness: float
    contrast: float
    gamma: float


def draw(variation: Variation, rng: np.random.Generator) -> Draw:
    """Draw one variation. Always takes the same count of random numbers, whatever is switched off."""
    turn, size, across, down, brightness, contrast, gamma = rng.uniform(-1.0, 1.0, 7).tolist()
    upside_down, swaps_eye = (rng.random(2) < 0.5).tolist()
    return Draw(
        turn_deg=turn * variation.rotate_deg,
        size=1.0 + size * variation.scale,
        across=across * variation.shift,
        down=down * variation.shift,
        upside_down=upside_down and variation.flip != "none",
        swaps_eye=swaps_eye and variation.flip == "both",
        brightness=1.0 + brightness * variation.brightness,
        contrast=1.0 + contrast * variation.contrast,
        gamma=1.0 + gamma * variation.gamma,
    )


def vary(picture: Tensor, drawn: Draw) -> Tensor:
    """Vary one picture, 3 x height x width of float32 from 0 to 1; the field's outside stays black."""
    return _lit(_moved(picture, drawn), drawn)


def _moved(picture: Tensor, drawn: Draw) -> Tensor:
    """Turn, scale, shift and flip in one step of interpolation; angles hold in pictures that are not square, too."""
    height, width = picture.shape[1:]
    turn, ratio = radians(drawn.turn_deg), height / width
    left_right, up_down = (-1.0 if flag else 1.0 for flag in (drawn.swaps_eye, drawn.upside_down))
    # From a place in the result (x, y from -1 to 1) to the place in the picture that is shown there.
    theta = torch.tensor(
        [
            [left_right * cos(turn) / drawn.size, -left_right * sin(turn) * ratio / drawn.size, drawn.across * 2.0],
            [up_down * sin(turn) / ratio / drawn.size, up_down * cos(turn) / drawn.size, drawn.down * 2.0],
        ],
        dtype=torch.float32,
    )
    grid = nn.functional.affine_grid(theta[None], [1, *picture.shape], align_corners=False)
    moved = nn.functional.grid_sample(picture[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved[0]


def _lit(picture: Tensor, drawn: Draw) -> Tensor:
    """Change gamma, brightness and contrast of what is lit; the background stays as it is."""
    lit = picture.amax(dim=0) > LIT
    if not bool(lit.any()):
        return picture
    bright = picture.clamp(0.0, 1.0).pow(drawn.gamma) * drawn.brightness
    middle = bright[:, lit].mean()
    return torch.where(lit, (bright - middle) * drawn.contrast + middle, picture).clamp(0.0, 1.0)
