"""Exact geometry of one closed polygon: area, perimeter, moments and Feret diameters, in the unit of its points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # points x 2 (x, y); the first point is not repeated at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """What was measured of one simple polygon.

    `axial_ratio` is major / minor axis (1 or above) of the ellipse that has the same second moments of area.
    """

    area: float
    perimeter: float
    centroid: tuple[float, float]
    axial_ratio: float
    feret_max: float
    feret_min: float

    @property
    def circularity(self) -> float:
        """4 pi area / perimeter ** 2: 1 for a circle, less for every other shape."""
        return float(4.0 * np.pi * self.area / self.perimeter**2)


def measure_polygon(points: Points) -> Polygon:
    """Measure a simple polygon of at least three points that are not on one line, whichever way round it runs."""
    middle = points.mean(axis=0)  # moments around a far origin lose their digits
    area, centroid, moments = _moments(points - middle)
    large, small = _eigenvalues(moments)
    feret_max, feret_min = ferets(points)
    return Polygon(
        area=area,
        perimeter=float(np.hypot(*(_next(points) - points).T).sum()),
        centroid=(float(centroid[0] + middle[0]), float(centroid[1] + middle[1])),
        axial_ratio=float(np.sqrt(large / small)),
        feret_max=feret_max,
        feret_min=feret_min,
    )


def ferets(points: Points) -> tuple[float, float]:
    """Return the largest and the smallest distance of two parallel lines that touch the polygon from outside.

    Rotating calipers on the convex hull: against every edge stands the corner where the hull turns by half a circle.
    """
    from scipy.spatial import ConvexHull

    hull = points[ConvexHull(points).vertices]  # counter-clockwise
    edges = _next(hull) - hull
    lengths = np.hypot(*edges.T)
    angles = np.unwrap(np.arctan2(edges[:, 1], edges[:, 0]))
    twice = np.concatenate([angles, angles + 2.0 * np.pi])
    opposite = np.searchsorted(twice, angles + np.pi) % len(hull)
    across = hull[opposite] - hull
    widths = np.abs(edges[:, 0] * across[:, 1] - edges[:, 1] * across[:, 0]) / lengths
    longest = max(np.hypot(*across.T).max(), np.hypot(*(hull[opposite] - _next(hull)).T).max())
    return float(longest), float(widths.min())


def contains(points: Points, x: float, y: float) -> bool:
    """Tell whether a point lies within the polygon (even-odd rule)."""
    there = _next(points)
    crosses = (points[:, 1] <= y) != (there[:, 1] <= y)
    one, two = points[crosses], there[crosses]
    at = one[:, 0] + (y - one[:, 1]) * (two[:, 0] - one[:, 0]) / (two[:, 1] - one[:, 1])
    return bool(np.count_nonzero(at > x) % 2)


def _moments(points: Points) -> tuple[float, Points, Points]:
    """Return area, centroid and the 2 x 2 central second moments per area, by Green's theorem."""
    there = _next(points)
    cross = points[:, 0] * there[:, 1] - there[:, 0] * points[:, 1]
    area = cross.sum() / 2.0
    centroid = (cross[:, None] * (points + there)).sum(axis=0) / (6.0 * area)
    both = points + there
    squares = np.einsum("n,ni,nj->ij", cross, points, points) + np.einsum("n,ni,nj->ij", cross, there, there)
    second = (squares + np.einsum("n,ni,nj->ij", cross, both, both)) / (24.0 * area)
    return abs(float(area)), centroid, second - np.outer(centroid, centroid)


def _eigenvalues(matrix: Points) -> tuple[float, float]:
    """Return the larger and the smaller eigenvalue of a symmetric matrix."""
    small, large = np.linalg.eigvalsh(matrix)
    return float(large), float(small)


def _next(points: Points) -> Points:
    """Return every point's successor."""
    return np.roll(points, -1, axis=0)
