"""A polygon painted on the pixels of an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oculard_models.structures.geometry import Points


def paint_polygon(points: Points, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return which pixels have their centre within the polygon (even-odd rule), rows x columns.

    The pixel of row r and column c covers [c, c + 1] x [r, r + 1]. Only the rows and columns around the polygon are
    worked on, and every edge only in the rows that it crosses, so that a large image costs little.
    """
    painted = np.zeros((rows, columns), dtype=np.bool_)
    row, x = _crossings(points, rows)
    if not len(row):
        return painted
    column = np.clip(np.ceil(x - 0.5), 0, columns).astype(np.intp)  # the first pixel whose centre is right of it
    top, left = row.min(), column.min()
    toggles = np.zeros((row.max() + 1 - top, column.max() + 1 - left), dtype=np.uint8)
    np.bitwise_xor.at(toggles, (row - top, column - left), 1)
    inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :-1]  # every row is crossed an even number of times
    painted[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return painted


def _crossings(points: Points, rows: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return where the edges cross the middle lines of the image's rows: row and x of each crossing."""
    there = np.roll(points, -1, axis=0)
    upper = np.where((points[:, 1] <= there[:, 1])[:, None], points, there)
    lower = np.where((points[:, 1] <= there[:, 1])[:, None], there, points)
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, rows).astype(np.intp)  # half open: a corner counts once
    past = np.clip(np.ceil(lower[:, 1] - 0.5), 0, rows).astype(np.intp)
    counts = past - first
    edge = np.repeat(np.arange(len(points)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (lower[edge, 0] - upper[edge, 0]) / (lower[edge, 1] - upper[edge, 1])
    return row, upper[edge, 0] + (row + 0.5 - upper[edge, 1]) * slope
