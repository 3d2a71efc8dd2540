"""The outlines in a map of probabilities, sub-pixel: contours of the smoothed map at the mask's threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.preprocess import Box
from oculard_models.structures.geometry import Points

# Standard deviation. Without it the outline of a mask of zeros and ones climbs stairs, 5 % too long; with it 1.5 %, and
# 0.1 % where the mask's edge is soft. More would take more from small structures: 1 % of the area at a radius of 8.
SMOOTHING_CELLS = 0.7


def outlines(probability: npt.NDArray[np.float32], threshold: float, box: Box, smallest: float) -> Iterator[Points]:
    """Give the outer outlines of everything above the threshold, holes filled, the largest first.

    `probability` is height x width and covers `box` of the image; points are in pixels of the image. Left out is what
    has less than `smallest` square pixels. Beyond the map all is 0, so that every outline closes.
    """
    cells, offsets = _contours(_padded(probability), threshold)
    left, top, right, bottom = box
    height, width = probability.shape
    size = np.array([(right - left) / width, (bottom - top) / height])
    points = (cells - 0.5) * size + (left, top)  # cell 1 of the padded map is the first of the map: 0.5 from its edge
    areas = _signed_areas(points, offsets)
    for loop in np.argsort(-areas, kind="stable"):
        if areas[loop] < smallest:
            return
        yield points[offsets[loop] : offsets[loop + 1] - 1]


def _padded(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Smooth the map, as if its edge went on beyond it, and lay a border of zeros around it."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(probability.astype(np.float64), SMOOTHING_CELLS, mode="nearest")
    return np.pad(smooth, 1)


def _contours(padded: npt.NDArray[np.float64], threshold: float) -> tuple[Points, npt.NDArray[np.intp]]:
    """Return all closed contours, one after the other, and where each begins; the last offset is their end."""
    from contourpy import LineType, contour_generator

    generator = contour_generator(z=padded, name="serial", line_type=LineType.ChunkCombinedOffset)
    lines: Any = generator.lines(threshold)  # its type depends on `line_type`: points, offsets; a list of chunks each
    ((points,), (offsets,)) = lines
    if points is None:
        return np.empty((0, 2)), np.zeros(1, dtype=np.intp)
    return np.asarray(points), np.asarray(offsets).astype(np.intp)


def _signed_areas(points: Points, offsets: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return the area of each contour: above 0 around what is high, below 0 around a hole.

    contourpy keeps what is high on the left of a contour's way.
    """
    around = points - points[offsets[:-1]].repeat(np.diff(offsets), axis=0)
    x, y = around[:, 0], around[:, 1]
    cross = x[:-1] * y[1:] - x[1:] * y[:-1]  # from one contour to the next it is 0: both ends are its origin
    return np.asarray(np.add.reduceat(cross, offsets[:-1]) / 2.0)
