"""Is there a retina at all? What every finder of layers is asked, by the volume's brightness alone.

A network gives every column its rows, also where there is nothing: what it was never taught it does not miss.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oculard_models.volumes.grid import Grid, smoothed
from oculard_models.volumes.volume import Map

CHOROID_UM = (25.0, 120.0)  # what is looked at below Bruch's membrane, and above ILM
NOTHING = 0.08  # less contrast at ILM, as a share of the volume's, is no retina

Mask = npt.NDArray[np.bool_]


def is_retina(grid: Grid, ilm: Map) -> Mask:
    """Where what was found as ILM has tissue below it and none above."""
    above, below = grid.px(50.0), grid.px(100.0)
    band, first = grid.band(ilm, above, below)
    rise = band[..., above + 1 :].mean(axis=-1) - band[..., :above].mean(axis=-1)
    inside = (first >= 0) & (first + above + below < grid.values.shape[-1])
    return np.asarray((smoothed(rise[..., None], 3, 9)[..., 0] > NOTHING) & inside)


def is_upright(grid: Grid, ilm: Map, bm: Map, seen: Mask) -> bool:
    """Is it brighter below Bruch's membrane, in the choroid, than above ILM, in the vitreous?"""
    if not seen.any():
        return False
    deep, _ = grid.band(bm, 0, grid.px(CHOROID_UM[1]))
    high, _ = grid.band(ilm, grid.px(CHOROID_UM[1]), 0)
    near = grid.px(CHOROID_UM[0])
    return float(np.median((deep[..., near:].mean(axis=-1) - high[..., :-near].mean(axis=-1))[seen])) > NOTHING / 2.0
