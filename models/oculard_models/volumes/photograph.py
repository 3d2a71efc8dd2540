"""The disc's photograph as a view wants it: a grey square around the disc, as large as the other views."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.volumes.views import SIDE_UM

DISC_UM: Final = 1800.0  # of a disc's width and height where nothing says what a pixel measures (ours)
DISC_LEAST_UM, DISC_MOST_UM = 800.0, 3200.0  # what is outlined is a disc's size, or the spacing is wrong

Grey = npt.NDArray[np.uint8]


def disc_square(
    pixels: npt.NDArray[np.uint8],
    *,
    centre: tuple[float, float],
    sides: tuple[float, float],
    spacing_mm: tuple[float, float] | None,
) -> Grey | None:
    """Cut SIDE_UM around a disc out of a photograph, rows x columns x 3; beyond the photograph it is black.

    `centre` is (x, y) and `sides` (width, height) of the disc in pixels, `spacing_mm` is (row, column). Without a
    spacing the disc itself, taken for DISC_UM, says how large a pixel is. None where that is no disc's size.
    """
    mean_px = float(np.sqrt(sides[0] * sides[1]))
    if spacing_mm is None:
        pixel_um = (DISC_UM / mean_px, DISC_UM / mean_px) if mean_px > 0 else (0.0, 0.0)
    else:
        pixel_um = (1000.0 * spacing_mm[1], 1000.0 * spacing_mm[0])
    width, height = (side * step for side, step in zip(sides, pixel_um, strict=True))
    if not (DISC_LEAST_UM <= width <= DISC_MOST_UM and DISC_LEAST_UM <= height <= DISC_MOST_UM):
        return None
    left, top, right, bottom = (
        round(at + side * SIDE_UM / step / 2.0)
        for side in (-1.0, 1.0)
        for at, step in zip(centre, pixel_um, strict=True)
    )
    square = Image.fromarray(pixels).convert("L").crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    return np.asarray(square, dtype=np.uint8)
