"""Maps of a volume seen from above: how thick its layers are, and its en face projection."""

from __future__ import annotations

from typing import Final

import numpy as np

from oculard_models.volumes.grid import bridged
from oculard_models.volumes.volume import Layers, Map, Spacing, Volume

BETWEEN: Final = {  # what is measured from which boundary to which
    "rnfl": ("ilm", "rnfl_gcl"),
    "gcl": ("rnfl_gcl", "ipl_inl"),  # GCL+: ganglion cells and inner plexiform layer
    "gcc": ("ilm", "ipl_inl"),  # GCL++: the two together
    "retina": ("ilm", "bm"),
}
IN_DISC_UM = 150.0  # en face, where the floor of the disc is below Bruch's membrane: so much of it is projected


def thickness_um(layers: Layers, what: str, spacing: Spacing) -> Map:
    """How thick `rnfl`, `gcl`, `gcc` or `retina` is, in micrometres; NaN where one of its boundaries is."""
    upper, lower = BETWEEN[what]
    rows = getattr(layers, lower) - getattr(layers, upper)
    return np.asarray(np.maximum(rows, 0.0) * spacing.depth_um, dtype=np.float32)


def en_face(volume: Volume, layers: Layers) -> Map:
    """The mean brightness between ILM and Bruch's membrane, 0..255; NaN where ILM is.

    In the opening of Bruch's membrane, the membrane is taken to go on in a straight line.
    """
    depth = volume.pixels.shape[1]
    least = IN_DISC_UM / volume.spacing.depth_um
    floor = bridged(layers.bm, np.isfinite(layers.bm))
    known = np.isfinite(layers.ilm) & np.isfinite(floor)
    first = np.clip(np.where(known, layers.ilm, 0.0), 0, depth - 1).astype(np.int64)
    last = np.where(known, np.maximum(floor, layers.ilm + least), 1.0)
    last = np.clip(last.astype(np.int64), first + 1, depth)
    projected = np.empty(first.shape, dtype=np.float32)
    for frame, out in enumerate(projected):  # frame by frame: a volume of float32 would be four times the file
        sums = np.zeros((depth + 1, out.size), dtype=np.float32)  # exact: whole numbers below 2 ** 24
        np.cumsum(volume.pixels[frame], axis=0, dtype=np.float32, out=sums[1:])
        rows = np.take_along_axis(sums, np.stack((first[frame], last[frame])), axis=0)
        out[...] = (rows[1] - rows[0]) / (last[frame] - first[frame])
    return np.where(known, projected, np.float32(np.nan))
