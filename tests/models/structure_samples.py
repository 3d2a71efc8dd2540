"""Maps of probabilities with structures of known measures, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models import structures
from oculard_models.contract import Measured
from oculard_models.manifest import Mask, Structure

Map = npt.NDArray[np.float32]

FAZ = Mask(structure=Structure.FAZ, tensor="mask")
DISC = Mask(structure=Structure.OPTIC_DISC, tensor="mask")
PX = 128


def ellipse(
    axes: tuple[float, float],
    *,
    centre: tuple[float, float] = (PX / 2, PX / 2),
    turned: float = 0.0,
    edge: float = 1.0,
    size: tuple[int, int] = (PX, PX),
) -> Map:
    """Render an ellipse of two half axes in cells, turned by radians; its edge is so many cells soft, or hard at 0."""
    rows, columns = size
    y, x = np.mgrid[:rows, :columns] + 0.5
    x, y = x - centre[0], y - centre[1]
    along, across = x * np.cos(turned) + y * np.sin(turned), y * np.cos(turned) - x * np.sin(turned)
    depth = (1.0 - np.hypot(along / axes[0], across / axes[1])) * min(axes)
    if edge == 0:
        return (depth > 0).astype(np.float32)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(depth / edge, -50.0, 50.0))), dtype=np.float32)


def disc(radius: float, **more: Any) -> Map:
    """Render a disc."""
    return ellipse((radius, radius), **more)


def measured(probability: Map, **changes: Any) -> Measured:
    """Measure a foveal avascular zone on a map that covers an image of the same size, 0.01 mm a pixel."""
    rows, columns = probability.shape
    whole: dict[str, Any] = {
        "mask": FAZ,
        "box": (0.0, 0.0, float(columns), float(rows)),
        "image_size": (rows, columns),
        "spacing_mm": (0.01, 0.01),
    }
    return structures.measure(probability, **(whole | changes))
