"""Where the optic disc and the fovea are in a volume: measured, or not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import ndimage

from oculard_models.volumes.grid import Grid, bridged, fine_grid, sampled
from oculard_models.volumes.maps import thickness_um
from oculard_models.volumes.opening import Mask, find_opening
from oculard_models.volumes.volume import Layers, Map, Volume

SIDE_UM = 30.0
SMOOTH_UM, AROUND_UM = 150.0, 700.0
FROM_EDGE_UM = 500.0  # no fovea is looked for nearer to the volume's edge
ACROSS_UM, UP_DOWN_UM = (
    (3000.0, 6500.0),
    2000.0,
)  # it lies so far from the disc's centre: to the temporal side, up or down
RING_UM = (800.0, 1300.0)
PIT_UM, PIT_SHARE = 30.0, 0.65  # the pit is so much thinner than the ring around it
DEEPEST = 0.85  # the middle of what dips by so much of the most is the fovea
RING_SEEN = 0.6  # share of the ring that must be in the volume

Place = tuple[float, float]  # frame and column, between pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Centres:
    """The centres of disc and fovea, as frame and column of the volume; None is not found."""

    disc: Place | None = None
    fovea: Place | None = None

    def as_right(self, eye: str, columns: int) -> Self:
        """The centres in the volume as a right eye's."""
        if eye == "R":
            return self
        mirrored = [place and (place[0], columns - 1 - place[1]) for place in (self.disc, self.fovea)]
        return type(self)(disc=mirrored[0], fovea=mirrored[1])


def find_centres(volume: Volume, layers: Layers) -> Centres:
    """Find disc and fovea in a volume as it was read, whoever found its layers."""
    grid = fine_grid(volume, SIDE_UM)
    floor = sampled(layers.bm, grid)
    seen = np.isfinite(sampled(layers.ilm, grid)) & np.isfinite(bridged(floor, np.isfinite(floor)))
    if not seen.any():
        return Centres()
    opening = find_opening(grid, np.where(seen, bridged(floor, np.isfinite(floor)), 0.0), seen)
    gcc = sampled(thickness_um(layers, "gcc", volume.spacing), grid)
    return Centres(disc=_middle(opening, grid), fovea=_pit(gcc, opening, grid, temporal=-1 if volume.eye == "R" else 1))


def _middle(mask: Mask, grid: Grid) -> Place | None:
    """The centre of a mask, in the volume's frames and columns."""
    if not mask.any():
        return None
    frame, column = (float(at.mean()) for at in np.nonzero(mask))
    return _place(frame, column, grid)


def _pit(thickness: Map, opening: Mask, grid: Grid, *, temporal: int) -> Place | None:
    """The thinnest place with a thick ring around it; on the temporal side (-1 left, 1 right) of a disc."""
    known = np.isfinite(thickness) & ~opening
    smooth, wide = _blurred(thickness, known, SMOOTH_UM, grid), _blurred(thickness, known, AROUND_UM, grid)
    allowed = np.isfinite(smooth) & np.isfinite(wide) & _inside(known.shape, grid)
    if opening.any():
        down, right = (at.mean() for at in np.nonzero(opening))
        across = (np.arange(allowed.shape[1]) - right) * grid.side_um[1] * temporal
        allowed &= (across > ACROSS_UM[0]) & (across < ACROSS_UM[1])
        allowed &= (np.abs(np.arange(len(allowed)) - down) * grid.side_um[0] < UP_DOWN_UM)[:, None]
    if not allowed.any():
        return None
    dip = np.where(allowed, wide - smooth, -np.inf)
    frame, column = np.unravel_index(dip.argmax(), smooth.shape)
    frames, columns = np.indices(smooth.shape)
    away = np.hypot((frames - frame) * grid.side_um[0], (columns - column) * grid.side_um[1])
    ring = (away > RING_UM[0]) & (away < RING_UM[1])
    whole = np.pi * (RING_UM[1] ** 2 - RING_UM[0] ** 2) / (grid.side_um[0] * grid.side_um[1])
    ring &= np.isfinite(smooth) & known
    if ring.sum() < RING_SEEN * whole:
        return None
    usual, least = float(smooth[ring].mean()), float(smooth[frame, column])
    if usual - least < PIT_UM or least > PIT_SHARE * usual:
        return None
    deepest = (dip > DEEPEST * dip.max()) & (away < RING_UM[0])
    return _middle(np.asarray(deepest), grid)


def _blurred(values: Map, known: Mask, um: float, grid: Grid) -> Map:
    """A blurred map; NaN where too little around is known."""
    blur = [um / side for side in grid.side_um]
    share = ndimage.gaussian_filter(known.astype(np.float32), blur)
    sums = ndimage.gaussian_filter(np.where(known, values, np.float32(0.0)), blur)
    return np.where(share > 0.5, sums / np.maximum(share, 1e-3), np.float32(np.nan)).astype(np.float32)


def _inside(shape: tuple[int, ...], grid: Grid) -> Mask:
    """Where it is far enough from the edges."""
    inside = np.zeros(shape, dtype=np.bool_)
    frames, columns = (max(1, round(FROM_EDGE_UM / side)) for side in grid.side_um)
    inside[frames:-frames, columns:-columns] = True
    return inside


def _place(frame: float, column: float, grid: Grid) -> Place:
    """A place of the grid in the volume's frames and columns."""
    return (
        frame * grid.frames + (grid.frames - 1) / 2.0,
        column * grid.columns + (grid.columns - 1) / 2.0,
    )
