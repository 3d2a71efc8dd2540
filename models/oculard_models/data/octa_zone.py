"""Draws the outline of a foveal avascular zone with a known area, perimeter and circularity."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]  # rows x columns

STEPS = 1440  # directions in which the outline is known: a quarter of a degree
IRREGULARITY_MAX = 12.0  # beyond what any zone needs
CIRCULARITY_MIN = 0.3  # less is no zone: a star of slits
WAVES = 4  # of the slow part of the outline: ellipse, triangle, square, pentagon


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zone:
    """An avascular zone: a star-shaped outline around a point, in pixels; whole numbers are the middles of pixels."""

    centre_px: tuple[float, float]  # x, y
    radii_px: npt.NDArray[np.float64]  # STEPS of them, from 0 degrees on

    @property
    def outline_px(self) -> npt.NDArray[np.float64]:
        """The outline as a polygon, STEPS x (x, y)."""
        angle = _angles()
        outline = np.stack((np.cos(angle), np.sin(angle)), axis=1) * self.radii_px[:, None] + np.array(self.centre_px)
        return np.asarray(outline, dtype=np.float64)

    @property
    def area_px(self) -> float:
        """The polygon's area in square pixels (shoelace formula)."""
        (x, y), (x2, y2) = self.outline_px.T, np.roll(self.outline_px, -1, axis=0).T
        return float(0.5 * abs(np.sum(x * y2 - x2 * y)))

    @property
    def perimeter_px(self) -> float:
        """The polygon's perimeter in pixels."""
        sides = np.roll(self.outline_px, -1, axis=0) - self.outline_px
        return float(np.hypot(sides[:, 0], sides[:, 1]).sum())

    @property
    def circularity(self) -> float:
        """4 pi area / perimeter squared: 1 for a circle."""
        return 4.0 * pi * self.area_px / self.perimeter_px**2

    def away(self, size_px: int) -> tuple[Plane, Plane]:
        """Return, for every pixel, its distance from the centre in local radii (below 1: inside) and its direction."""
        place = np.arange(size_px, dtype=np.float32)
        dx = (place - np.float32(self.centre_px[0]))[None, :]
        dy = (place - np.float32(self.centre_px[1]))[:, None]
        direction = np.arctan2(dy, dx)
        step = (direction * np.float32(STEPS / (2.0 * pi))).astype(np.int32)  # cut off, but below a pixel's width
        return np.hypot(dx, dy) / self.radii_px.astype(np.float32)[step], direction


def draw_zone(
    rng: np.random.Generator,
    *,
    centre_px: tuple[float, float],
    area_px: float,
    irregularity: float,
    circularity: float | None = None,
) -> Zone:
    """Draw an outline of exactly `area_px`; `irregularity` goes from 0, a circle, to 1 and more, long and ragged.

    The slow part is a few harmonics (an ellipse above all). The ragged part is what capillaries do to the edge: one or
    two dozen corners, joined by straight pieces. The same random numbers give the same shape, more or less marked.
    With `circularity` the shape is as marked as that needs. Raises ValueError where no shape has it.
    """
    angle = _angles()
    phases = rng.uniform(0.0, 2.0 * pi, WAVES)
    heights = rng.uniform(0.4, 1.0, WAVES) * np.array((0.20, 0.10, 0.06, 0.05))
    slow = sum(h * np.cos((k + 2) * angle + p) for k, (h, p) in enumerate(zip(heights, phases, strict=True)))
    corners = int(rng.integers(11, 26))
    at = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * 2.0 * pi / corners
    ragged = np.interp(angle, at, rng.normal(0.0, 0.11, corners).clip(-0.25, 0.25), period=2.0 * pi)
    bumps = np.asarray(slow + ragged, dtype=np.float64)
    marked = irregularity if circularity is None else _marked(bumps, circularity)
    radii = np.exp(marked * bumps)
    unit = Zone(centre_px=(0.0, 0.0), radii_px=radii)
    return Zone(centre_px=centre_px, radii_px=radii * np.sqrt(area_px / unit.area_px))


def _marked(bumps: npt.NDArray[np.float64], circularity: float) -> float:
    """Return how marked the bumps must be for a circularity, by bisection: the more marked, the less circular."""
    if not CIRCULARITY_MIN <= circularity < 1.0:
        raise ValueError(f"expected a circularity from {CIRCULARITY_MIN} to below 1, got {circularity}")
    low, high = 0.0, IRREGULARITY_MAX
    for _ in range(40):
        middle = (low + high) / 2.0
        rounder = Zone(centre_px=(0.0, 0.0), radii_px=np.exp(middle * bumps)).circularity > circularity
        low, high = (middle, high) if rounder else (low, middle)
    return low


def _angles() -> npt.NDArray[np.float64]:
    """The directions of the outline in radians."""
    return np.asarray(np.arange(STEPS) * (2.0 * pi / STEPS), dtype=np.float64)
