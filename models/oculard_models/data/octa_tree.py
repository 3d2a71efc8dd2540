"""Grows the arterioles and venules of painted angiographies: from the picture's edge towards the avascular zone."""

from __future__ import annotations

from math import cos, pi, sin, tau

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from oculard_models.data.octa_zone import STEPS, Plane, Zone

REFERENCE_PX = 512  # widths below are in pixels of a picture of this size
STEP_PX = 8.0  # how far a vessel grows before it may turn
FINE = 2  # vessels are drawn this many times larger, then reduced


def grow_trees(rng: np.random.Generator, zone: Zone, size_px: int, *, thin: float = 1.0) -> Plane:
    """Return how much of every pixel is vessel, 0..1: trees from the edge, and the ring of the zone in pieces.

    `thin` is the share of the trees that are there (the deep slab sees fewer).
    """
    scale = size_px * FINE / REFERENCE_PX
    canvas = Image.new("L", (size_px * FINE, size_px * FINE))
    grower = _Grower(rng, zone, ImageDraw.Draw(canvas), scale)
    count = max(1, round(thin * int(rng.integers(9, 18))))
    turn = rng.uniform(0.0, tau)
    for index in range(count):
        at = turn + tau * (index + rng.uniform(-0.3, 0.3)) / count
        grower.tree(at, float(rng.choice((2.6, 3.6, 5.0, 7.0), p=(0.35, 0.35, 0.2, 0.1))))
    for _ in range(int(rng.integers(0, 3))):
        grower.arcade(rng.uniform(3.5, 8.0))
    if thin == 1.0:
        grower.ring()
    return np.asarray(canvas.reduce(FINE), dtype=np.float32) / np.float32(255.0)


class _Grower:
    """Draws vessels on a canvas; places are in pixels of the reference, x and y, until they are drawn."""

    def __init__(self, rng: np.random.Generator, zone: Zone, pen: ImageDraw.ImageDraw, scale: float) -> None:
        self.rng, self.pen, self.scale = rng, pen, scale
        shrink = FINE / scale  # picture's pixels to the reference's
        self.centre = np.array(zone.centre_px) * shrink
        self.radii = zone.radii_px * shrink
        self.outline = zone.outline_px * shrink

    def tree(self, at: float, width: float) -> None:
        """Grow one vessel with its branches from beyond the edge at direction `at` of the middle."""
        start = np.array((REFERENCE_PX / 2, REFERENCE_PX / 2)) + 0.62 * REFERENCE_PX * np.array((cos(at), sin(at)))
        self._grow(start, at + pi + self.rng.normal(0.0, 0.25), width, depth=0)

    def arcade(self, width: float) -> None:
        """Draw one wide vessel across the top or the bottom, bent around the macula."""
        x = np.linspace(-20.0, REFERENCE_PX + 20.0, 40)
        height, sag = self.rng.uniform(0.02, 0.16) * REFERENCE_PX, self.rng.normal(0.0, 0.06) * REFERENCE_PX
        y = height + sag * ((x / REFERENCE_PX - self.rng.uniform(0.2, 0.8)) * 2.0) ** 2
        y += np.cumsum(self.rng.normal(0.0, 1.6, x.size))
        y = y if self.rng.random() < 0.5 else REFERENCE_PX - y
        points = np.stack((x, y) if self.rng.random() < 0.75 else (y, x), axis=1)
        self._line(points, np.full(len(points), width), 255)

    def ring(self) -> None:
        """Draw the innermost capillaries: pieces of the zone's outline, some bright, some absent."""
        pieces = int(self.rng.integers(10, 24))
        bright = self.rng.uniform(40.0, 150.0)
        for index in range(pieces):
            if self.rng.random() < 0.35:
                continue
            steps = np.arange(index * STEPS // pieces, (index + 1) * STEPS // pieces + 1, 6) % STEPS
            grown = self.centre + (self.outline[steps] - self.centre) * 1.02
            shade = int(np.clip(self.rng.normal(bright, 30.0), 15, 230))
            self._line(grown, np.full(len(steps), self.rng.uniform(1.0, 2.2)), shade)

    def _grow(self, start: npt.NDArray[np.float64], heading: float, width: float, *, depth: int) -> None:
        """Grow until the zone, the end of its length, or the edge; leave branches on the way."""
        reach = self.rng.uniform(1.05, 1.5 if width > 1.6 or self.rng.random() < 0.5 else 2.2)
        length = int(self.rng.uniform(22, 46) if depth == 0 else self.rng.uniform(4, 13))
        curl, points, widths = 0.0, [start], [width]
        side = self.rng.choice((-1.0, 1.0))
        for step in range(length):
            at = points[-1]
            aim = self.centre - at
            far = float(np.hypot(*aim))
            if far < reach * self._radius(-aim):
                break
            curl = 0.35 * curl + self.rng.normal(0.0, 0.12)
            home = (np.arctan2(aim[1], aim[0]) - heading + pi) % tau - pi
            heading += curl + (0.10 if depth == 0 else 0.07) * home
            points.append(at + STEP_PX * np.array((cos(heading), sin(heading))))
            widths.append(max(1.0, width * (1.0 - 0.55 * step / length)))
            if depth < 3 and step > 1 and self.rng.random() < (0.17, 0.13, 0.06)[depth]:
                side = -side
                self._grow(at, heading + side * self.rng.uniform(0.4, 0.9), 0.65 * widths[-1], depth=depth + 1)
        shade = 255 if depth == 0 else int(self.rng.uniform(110, 255))
        self._line(np.array(points), np.array(widths), shade)

    def _radius(self, towards: npt.NDArray[np.float64]) -> float:
        """Return the zone's radius in a direction."""
        return float(self.radii[int(np.arctan2(towards[1], towards[0]) / tau * STEPS) % STEPS])

    def _line(self, points: npt.NDArray[np.float64], widths: npt.NDArray[np.float64], shade: int) -> None:
        """Draw a line whose width changes, with round joints."""
        placed = points * self.scale
        for (x, y), (x2, y2), width in zip(placed[:-1].tolist(), placed[1:].tolist(), widths.tolist(), strict=False):
            self.pen.line((x, y, x2, y2), fill=shade, width=max(1, round(width * self.scale)))
            half = width * self.scale / 2.0 - 0.5
            if half > 1.0:
                self.pen.ellipse((x2 - half, y2 - half, x2 + half, y2 + half), fill=shade)
