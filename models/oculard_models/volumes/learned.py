"""Layers of a volume as a network finds them: what it sees of a volume, and its surfaces as those of the volume.

The network itself is no part of this: it is any function of `Network`'s kind. It looks at each B-scan with its two
neighbours, on a grid of fixed steps in micrometres, and gives each column of each boundary one place, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from oculard_models.volumes.grid import Grid, coarser, fine_grid, resampled
from oculard_models.volumes.retina import is_retina, is_upright
from oculard_models.volumes.volume import Layers, Map, Volume

Seen = npt.NDArray[np.float32]  # B-scans x 3 (the one before, itself, the one after) x rows x columns, about 0..1
Network = Callable[[Seen], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
# It returns rows (B-scans x 4 x columns, in rows of what it saw) and presence (B-scans x 2 x columns, 0..1): that there
# is a retina, and that this is not the opening of Bruch's membrane.

BOUNDARIES: Final = ("ilm", "rnfl_gcl", "ipl_inl", "bm")
DEPTH_UM, SIDE_UM = 5.2, 30.0  # of one value of the grid; sideways as near as the volume's own steps allow
STEP = 32  # rows and columns are filled up to a multiple of this
BATCH = 2  # B-scans at a time: more are no quicker, and take 40 MB each
LEAST_UM = 400.0  # a smaller opening is a vessel's shadow


def learned_layers(volume: Volume, network: Network) -> Layers:
    """Find the four boundaries in a volume as it was read, where `segment_layers` finds them by search."""
    grid = network_grid(volume)
    rows, present = _asked(grid, network)
    rows = ndimage.median_filter(rows, size=(1, 3, 3), mode="nearest")
    blank = _without_dots(~_retina(grid, rows, present[0]), grid)
    opening = _without_dots(present[1] < 0.5, grid) & ~blank
    count, _, width = volume.pixels.shape
    surfaces = dict[str, Map]()
    for name, surface in zip(BOUNDARIES, rows, strict=True):
        gap = blank if name == "ilm" else blank | opening
        full = resampled(in_volume(surface, grid, volume), grid, (count, width), (1, 1))
        gone = resampled(gap.astype(np.float32), grid, (count, width), (1, 1)) > 0.5
        surfaces[name] = np.where(gone, np.float32(np.nan), full)
    return Layers(**surfaces)


def _retina(grid: Grid, rows: npt.NDArray[np.float32], present: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Where the network sees a retina, and brightness does not contradict it; nowhere where it is upside down."""
    seen = (present >= 0.5) & is_retina(grid, rows[0])
    return seen if is_upright(grid, rows[0], rows[-1], seen) else np.zeros_like(seen)


def network_grid(volume: Volume) -> Grid:
    """What of a volume the network sees: its own rows, and columns, become as many as DEPTH_UM and SIDE_UM want."""
    grid = coarser(fine_grid(volume, SIDE_UM), volume.spacing.depth_um, SIDE_UM)
    depth = grid.values.shape[2]
    rows = max(1, round(depth * grid.depth_um / DEPTH_UM))
    how = Image.Resampling.BOX if rows < depth else Image.Resampling.BILINEAR
    frames = [np.asarray(Image.fromarray(frame).resize((rows, len(frame)), how)) for frame in grid.values]
    return replace(grid, values=np.stack(frames), depth_um=grid.depth_um * depth / rows)


def in_grid(surface: Map, grid: Grid, volume: Volume) -> Map:
    """Rows of the volume as rows of the grid; both count from the middle of their first row."""
    step = grid.depth_um / volume.spacing.depth_um
    return np.asarray((surface + 0.5) / step - 0.5, dtype=np.float32)


def in_volume(surface: Map, grid: Grid, volume: Volume) -> Map:
    """Rows of the grid as rows of the volume."""
    step = grid.depth_um / volume.spacing.depth_um
    return np.asarray((surface + 0.5) * step - 0.5, dtype=np.float32)


def seen_frames(grid: Grid, frames: npt.NDArray[np.int64]) -> Seen:
    """B-scans with their neighbours, depth down; the first and the last are their own neighbours."""
    beside = np.clip(frames[:, None] + np.array([-1, 0, 1]), 0, len(grid.values) - 1)
    return np.ascontiguousarray(grid.lit(grid.values[beside]).transpose(0, 1, 3, 2))


def _asked(grid: Grid, network: Network) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Ask the network about every B-scan: rows and presence, boundaries first."""
    count, columns, depth = grid.values.shape
    down, right = -depth % STEP, -columns % STEP
    rows, present = [], []
    for first in range(0, count, BATCH):
        seen = seen_frames(grid, np.arange(first, min(count, first + BATCH)))
        answer = network(np.pad(seen, ((0, 0), (0, 0), (0, down), (0, right)), mode="edge"))
        rows.append(answer[0][..., :columns])
        present.append(answer[1][..., :columns])
    found = np.concatenate(rows).transpose(1, 0, 2)
    return np.clip(found, 0.0, depth - 1.0), np.concatenate(present).transpose(1, 0, 2)


def _without_dots(mask: npt.NDArray[np.bool_], grid: Grid) -> npt.NDArray[np.bool_]:
    """A mask without its parts, and without holes, that are smaller than anything real."""
    small = np.pi * (LEAST_UM / 2.0) ** 2 / (grid.side_um[0] * grid.side_um[1])
    for wanted in (True, False):
        labels, count = ndimage.label(mask == wanted)
        if count:
            is_dot = np.bincount(labels.ravel()) < small
            is_dot[0] = False
            mask = np.where(is_dot[labels], not wanted, mask)
    return mask
