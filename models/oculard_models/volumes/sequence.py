"""The usual sequence of a volume's own layers above Bruch's membrane, and where IPL/INL is in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.grid import Bands, Grid

Profile = npt.NDArray[np.floating]
BLUR_UM = 6.0
DARK_UM = (40.0, 140.0)  # the outer nuclear layer is darkest so far above Bruch's membrane
HIGHEST_UM = 290.0  # IPL/INL is not higher than this
LEAST = 0.012  # of the volume's contrast: a layer is so much brighter or darker than its neighbours
STEEP = 0.4  # share of the steepest rise that counts as one
ABOVE_UM, BELOW_UM = 16.0, 75.0  # what is compared around IPL/INL


def usual_sequence(grid: Grid, profile: Profile) -> tuple[int, Profile]:
    """Return the usual row of IPL/INL in a profile that ends at Bruch's membrane, and what lies around it.

    From Bruch's membrane upwards: bright bands, the dark outer nuclear layer, the bright outer plexiform layer, the
    dark inner nuclear layer, and then IPL. Without such a sequence the first rise above the outer nuclear layer counts.
    """
    from scipy import signal  # half a second: only a volume needs it

    upwards = ndimage.gaussian_filter1d(profile[::-1].astype(np.float64), BLUR_UM / grid.depth_um)
    low, high, highest = (grid.px(um) for um in (*DARK_UM, HIGHEST_UM))
    upwards = upwards[: max(highest, high + 2)]
    dark = low + int(upwards[low:high].argmin())
    troughs = [dark + int(at) for at in signal.find_peaks(-upwards[dark:], prominence=LEAST)[0]]
    first = troughs[0] if troughs else dark
    rise = np.diff(upwards[first:])
    steep = signal.find_peaks(rise, height=STEEP * float(rise.max()))[0] if rise.size else np.zeros(0)
    up = first + (int(steep[0]) if steep.size else 0)
    row = len(profile) - 1 - up  # the first dark row below IPL
    start, stop = row - grid.px(ABOVE_UM), row + grid.px(BELOW_UM)
    if start < 0 or stop > len(profile):
        return row, np.zeros(0)
    window = profile[start:stop].astype(np.float64)
    return row, window - window.mean()


def unlikeness(grid: Grid, bands: Bands, sequence: Profile) -> Bands:
    """How unlike the sequence is what lies around each row, if that row were IPL/INL: 0 alike, 1 or more not at all."""
    size = len(sequence)
    origin = grid.px(ABOVE_UM) - size // 2  # of scipy's windows: that the result stands at IPL/INL
    common = ndimage.correlate1d(bands, sequence.astype(np.float32), axis=-1, mode="nearest", origin=origin)
    mean, square = (
        ndimage.uniform_filter1d(part, size, axis=-1, mode="nearest", origin=origin) for part in (bands, bands**2)
    )
    own = max(float((sequence**2).sum()), 1e-9)
    return np.asarray(1.0 + (size * (square - mean**2) - 2.0 * common) / own, dtype=np.float32)
