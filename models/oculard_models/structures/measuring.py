"""Measures one structure in one image: finds it in the map of probabilities, cleans it, and says how large it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Measured, Qualifier, Shape
from oculard_models.manifest import Mask, Structure
from oculard_models.preprocess import Box
from oculard_models.structures.geometry import Points, contains, measure_polygon
from oculard_models.structures.outlines import outlines
from oculard_models.structures.raster import paint_polygon

NO_NUMBERS = "no-numbers"  # the network gave what is no probability
NO_STRUCTURE = "no-structure"  # nothing above the threshold that is large enough and in its place
TOUCHES_BORDER = "touches-border"  # cut by the image's edge: any figure would be too small

_UNITS = MappingProxyType(
    {
        "area": "mm2",
        "area-px": "{pixels}",
        "perimeter": "mm",
        "perimeter-px": "{pixels}",
        "circularity": "1",
        "feret-max": "mm",
        "feret-min": "mm",
        "axial-ratio": "1",
        "centroid-offset": "mm",
    }
)
MEASURES: Mapping[Structure, Mapping[str, str]] = MappingProxyType(dict.fromkeys(Structure, _UNITS))
"""What is measured of each structure, in order: name and unit (UCUM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Which component counts: at least so large, and, where `near_mm` is given, so near to the image's centre.

    Shares are for images without a spacing: of the image's area, and of its width.
    """

    smallest_mm2: float
    smallest_share: float
    near_mm: float | None
    near_share: float


_RULES = MappingProxyType(
    {
        # A scan is aimed at the fovea. The smallest zones on record are about 0.03 mm2; a gap between vessels is less.
        Structure.FAZ: _Rule(smallest_mm2=0.02, smallest_share=0.002, near_mm=0.5, near_share=1 / 6),
        # Discs have about 2 mm2 and lie anywhere in a photograph.
        Structure.OPTIC_DISC: _Rule(smallest_mm2=0.2, smallest_share=0.002, near_mm=None, near_share=0.0),
    }
)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Lengths in an image: x and y of one pixel in mm, or in pixels (1, 1) where no spacing is known."""

    pixel: tuple[float, float]
    in_mm: bool


def measure(
    probability: npt.NDArray[np.float32],
    *,
    mask: Mask,
    box: Box,
    image_size: tuple[int, int],
    spacing_mm: tuple[float, float] | None,
    magnification: float = 1.0,
) -> Measured:
    """Find the structure in one image's probabilities (height x width, 0..1) and measure it.

    `box` is what part of the image the map covers (`preprocess.seen_box`), `image_size` is (rows, columns),
    `spacing_mm` is between (rows, columns) or None: then there are no values in mm, and shapes take the pixels for
    square. `magnification` multiplies lengths (see `magnification.py`). Whatever the network gave ends in a reason or
    in values; raises ValueError only where the caller is wrong.
    """
    _must_fit(probability, box, image_size)
    scale = _scale(spacing_mm, magnification)
    notes = _notes(spacing_mm, magnification)
    if not ((probability >= 0.0) & (probability <= 1.0)).all():  # NaN is neither
        return _unmeasured(mask.structure, Qualifier.FAILURE, NO_NUMBERS, None, notes)
    outline = _structure(probability, mask, box, image_size, scale)
    shape = None if outline is None else _shape(outline, image_size)
    if outline is None or shape is None:
        return _unmeasured(mask.structure, Qualifier.NOT_ATTEMPTED, NO_STRUCTURE, None, notes)
    if _is_cut(outline, probability.shape, box, image_size):
        return _unmeasured(mask.structure, Qualifier.INDETERMINATE, TOUCHES_BORDER, shape, notes)
    values = _values(outline, image_size, scale)
    missing = {name: Qualifier.NOT_ATTEMPTED for name in MEASURES[mask.structure] if name not in values}
    return Measured(values=values, missing=missing, shape=shape, notes=notes)


def _must_fit(probability: npt.NDArray[np.float32], box: Box, image_size: tuple[int, int]) -> None:
    """See that there is a map, an image, and a part of the image that the map covers."""
    if probability.ndim != 2 or not probability.size or min(image_size) < 1:
        raise ValueError(f"expected height x width for an image, got {probability.shape} for {image_size}")
    left, top, right, bottom = box
    if not (isfinite(sum(box)) and left < right and top < bottom):
        raise ValueError(f"expected left, top, right, bottom, got {box}")


def _scale(spacing_mm: tuple[float, float] | None, magnification: float) -> _Scale:
    """Return the lengths of a pixel."""
    if not all(isfinite(number) and number > 0 for number in (*(spacing_mm or ()), magnification)):
        raise ValueError(f"expected lengths above 0, got {spacing_mm} mm, magnification {magnification}")
    if spacing_mm is None:
        return _Scale((1.0, 1.0), in_mm=False)
    return _Scale((spacing_mm[1] * magnification, spacing_mm[0] * magnification), in_mm=True)


def _structure(
    probability: npt.NDArray[np.float32], mask: Mask, box: Box, image_size: tuple[int, int], scale: _Scale
) -> Points | None:
    """Return the outline of the largest component that counts as the structure, in pixels of the image."""
    rule = _RULES[mask.structure]
    rows, columns = image_size
    pixel_area = scale.pixel[0] * scale.pixel[1]
    smallest = rule.smallest_mm2 / pixel_area if scale.in_mm else rule.smallest_share * rows * columns
    found: Iterator[Points] = outlines(probability, mask.threshold, box, smallest)
    if rule.near_mm is None:
        return next(found, None)
    near = rule.near_mm if scale.in_mm else rule.near_share * columns
    centre = np.array([columns / 2, rows / 2])
    return next((points for points in found if _is_near((points - centre) * scale.pixel, near)), None)


def _shape(outline: Points, image_size: tuple[int, int]) -> Shape | None:
    """Paint an outline on the image's pixels; None where it has none of them: what lies beyond the image is nothing."""
    rows, columns = image_size
    painted = paint_polygon(outline, rows, columns)
    inside = np.clip(outline, 0.0, (columns, rows))  # what is drawn must lie in the image
    return Shape(mask=painted, outline=inside) if painted.any() else None


def _is_near(points: Points, near: float) -> bool:
    """Tell whether a polygon contains the origin, or has a corner so near to it."""
    return contains(points, 0.0, 0.0) or bool(np.hypot(*points.T).min() <= near)


def _is_cut(outline: Points, cells: tuple[int, ...], box: Box, image_size: tuple[int, int]) -> bool:
    """Tell whether the outline reaches the edge of the image, or of the part that the network saw.

    It does where it passes beyond the middle of the outermost cells of the map.
    """
    rows, columns = image_size
    left, top, right, bottom = box
    half = np.array([(right - left) / cells[1], (bottom - top) / cells[0]]) / 2
    low = np.maximum((left, top), 0.0) + half
    high = np.minimum((right, bottom), (columns, rows)) - half
    return bool((outline < low).any() or (outline > high).any())


def _values(outline: Points, image_size: tuple[int, int], scale: _Scale) -> dict[str, float]:
    """Measure an outline, in pixels of the image, in every unit that the scale allows; in the table's order."""
    pixels = measure_polygon(outline)
    real = measure_polygon(outline * scale.pixel)
    values = {
        "area-px": pixels.area,
        "perimeter-px": pixels.perimeter,
        "circularity": real.circularity,
        "axial-ratio": real.axial_ratio,
    }
    if scale.in_mm:
        middle = (image_size[1] / 2 * scale.pixel[0], image_size[0] / 2 * scale.pixel[1])
        offset = float(np.hypot(real.centroid[0] - middle[0], real.centroid[1] - middle[1]))
        values |= {"area": real.area, "perimeter": real.perimeter, "centroid-offset": offset}
        values |= {"feret-max": real.feret_max, "feret-min": real.feret_min}
    return {name: values[name] for name in _UNITS if name in values}


def _unmeasured(
    structure: Structure, why: Qualifier, reason: str, shape: Shape | None, notes: tuple[str, ...]
) -> Measured:
    """Say of every measure why it has no value."""
    return Measured(missing=dict.fromkeys(MEASURES[structure], why), shape=shape, reason=reason, notes=notes)


def _notes(spacing_mm: tuple[float, float] | None, magnification: float) -> tuple[str, ...]:
    """Say what the reader of the values must know, in ASCII."""
    if spacing_mm is None:
        return ("No pixel spacing: nothing in mm; pixels taken as square.",)
    notes = [f"Pixel spacing {spacing_mm[0]:.6g} x {spacing_mm[1]:.6g} mm."]
    if magnification != 1.0:
        notes.append(f"Lengths multiplied by {magnification:.4f} for the eye's magnification.")
    return tuple(notes)
