"""Finds the layers of a structural OCT volume: a graph search from coarse to fine, every length in micrometres.

The vitreous is dark, so ILM is the first strong rise; Bruch's membrane ends the lowest bright band; between the two, in
a volume flattened on it, IPL/INL and RNFL/GCL are falls of brightness at depths that change slowly across the retina.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.grid import Bands, Grid, bridged, coarser, fine_grid, means, resampled, smoothed
from oculard_models.volumes.opening import Mask, find_opening, has_pigment, outer_lost
from oculard_models.volumes.retina import is_retina, is_upright
from oculard_models.volumes.sequence import unlikeness, usual_sequence
from oculard_models.volumes.sweep import FORBIDDEN, find_surface
from oculard_models.volumes.volume import Layers, Map, Volume

Feature = Callable[[Bands, int], Bands]  # of a band, with so many rows on either side of an edge
FINE_SIDE_UM = 30.0  # columns and frames that are closer are averaged
COARSE_DEPTH_UM, COARSE_SIDE_UM = 10.0, 45.0
LOOK_UM = 40.0  # how far the fine search looks around the coarse surface
WALL_UM = 120.0  # the same for ILM, which is steep at the wall of a cup
EDGE_UM = 13.0  # what is averaged on either side of an edge
RETINA_UM = (90.0, 620.0)  # Bruch's membrane lies this far below ILM
BRIDGE_UM = 20.0  # what ends further from a straight bridge is not Bruch's membrane
BARE_UM = 60.0  # how far Bruch's membrane may be from a straight bridge where it has no pigment
FIBRES_UM = 40.0  # and so much of nerve fibres is above it at least
LINE_UM = 8.0  # IPL/INL is so far above it at least
INNER_UM = 480.0  # the flattened band reaches this far above Bruch's membrane
NEAR_UM, NEAR = 12.0, 0.12  # so far from where a fall should be costs so much; three times as far, nine times that


def segment_layers(volume: Volume) -> Layers:
    """Find the four boundaries in a volume as it was read (a left eye is not mirrored first).

    ILM is sought everywhere; the others end at the opening of Bruch's membrane, and are NaN in it. Where there is no
    retina, everything is NaN.
    """
    fine = fine_grid(volume, FINE_SIDE_UM)
    coarse = coarser(fine, COARSE_DEPTH_UM, COARSE_SIDE_UM)
    top = _coarse_ilm(coarse)
    ilm = _refined(fine, _finer(top, coarse, fine), _first_rise, (1, 3), WALL_UM)
    seen = is_retina(fine, ilm)
    floor = _refined(fine, _finer(_coarse_bm(coarse, top), coarse, fine), _end_of_band, (3, 7), LOOK_UM)
    if not is_upright(fine, ilm, floor, seen):
        seen = np.zeros_like(seen)
    lost = outer_lost(fine, floor, seen)
    near = np.abs(floor - bridged(floor, seen & ~lost)) * fine.depth_um < BRIDGE_UM
    firm = seen & ndimage.binary_propagation(~lost, mask=~lost | (near & has_pigment(fine, floor, seen)))
    bm = bridged(floor, firm)
    opening = find_opening(fine, bm, seen)
    bm = _without_pigment(fine, ilm, bm, firm | opening)
    rnfl_gcl, ipl_inl = _inner(fine, ilm, bm, seen & ~opening, lost)
    rows = (ilm, rnfl_gcl, ipl_inl, bm)
    gaps = (~seen, *(3 * (~seen | opening,)))
    return _ordered(*(_full(row, gap, fine, volume) for row, gap in zip(rows, gaps, strict=True)))


def _coarse_ilm(grid: Grid) -> Map:
    """The first strong rise from above: what was bright above it counts against it."""
    lit = smoothed(grid.lit(grid.values), 1, 3)
    reach = grid.px(30.0)
    rise = means(lit, 0, reach) - means(lit, -reach, 0)
    return find_surface(_above(lit, 0.5) - rise, frame_step=0.03, column_step=0.03)


def _coarse_bm(grid: Grid, top: Map) -> Map:
    """The end of the lowest bright band below ILM; without evidence (in the disc, in shadows) a smooth surface."""
    lit = smoothed(grid.lit(grid.values), 1, 3)
    px = grid.px
    ridge = means(lit, -px(30.0), 0) - 0.5 * means(lit, -px(100.0), -px(50.0)) - 0.5 * means(lit, 0, px(40.0))
    depth = np.arange(lit.shape[-1]) - top[..., None]
    there = (depth > px(RETINA_UM[0])) & (depth < px(RETINA_UM[1]))
    costs = -np.maximum(ridge, 0.0) * there
    return find_surface(np.asarray(costs, dtype=np.float32), frame_step=0.03, column_step=0.06)


def _finer(surface: Map, coarse: Grid, fine: Grid) -> Map:
    """A surface of the coarse grid, in the fine grid's places and rows."""
    there = resampled(surface, coarse, fine.values.shape[:2], (fine.frames, fine.columns))
    return np.asarray(there * coarse.rows, dtype=np.float32)


def _rise(band: Bands, px: int) -> Bands:
    """Dark above, bright below."""
    return means(band, 0, px) - means(band, -px, 0)


def _first_rise(band: Bands, px: int) -> Bands:
    """Dark above, bright below; what is bright further above counts against it."""
    return _rise(band, px) - _above(band, 0.02)


def _above(band: Bands, share: float) -> Bands:
    """How much is bright above each row, up to 1; `share` is what a row of the brightest tissue adds."""
    bright = share * np.maximum(band - 0.2, 0.0)
    return np.asarray(np.minimum(np.cumsum(bright, axis=-1) - bright, 1.0), dtype=np.float32)


def _end_of_band(band: Bands, px: int) -> Bands:
    """Bright above, dark below."""
    return means(band, -px, 0) - means(band, 0, px)


def _refined(grid: Grid, surface: Map, feature: Feature, smooth: tuple[int, int], look_um: float) -> Map:
    """The strongest edge near a surface, between pixels; `smooth` frames and columns are averaged first."""
    look, edge = grid.px(look_um), grid.px(EDGE_UM)
    margin = 2 * edge
    band, first = grid.band(surface, look + margin, look + margin)
    costs = -feature(smoothed(band, *smooth), edge)[..., margin:-margin]
    found = find_surface(np.ascontiguousarray(costs), frame_step=0.005, column_step=0.01)
    return np.asarray(first + margin + found - 0.5, dtype=np.float32)  # the edge is above the row that it begins with


def _without_pigment(grid: Grid, ilm: Map, bm: Map, firm: Mask) -> Map:
    """Bruch's membrane where nothing shines on it: the end of the dark line near the surface that bridges the gap."""
    bm = np.maximum(bm, ilm + grid.px(FIBRES_UM))
    look, edge = grid.px(BARE_UM), grid.px(EDGE_UM)
    band, first = grid.band(bm, look + edge, look + edge)
    rows = np.arange(2 * look + 1)
    pinned = np.minimum(0.02 * np.abs(rows - look), 0.5)
    free = -_rise(smoothed(band, 3, 3), edge)[..., edge:-edge]
    free[first[..., None] + edge + rows < ilm[..., None] + grid.px(FIBRES_UM)] = FORBIDDEN
    costs = np.where(firm[..., None], pinned, free)
    found = find_surface(np.asarray(costs, dtype=np.float32), frame_step=0.01, column_step=0.02)
    return np.where(firm, bm, (first + edge + found - 0.5).astype(np.float32))


def _inner(grid: Grid, ilm: Map, bm: Map, known: Mask, lost: Mask) -> tuple[Map, Map]:
    """RNFL/GCL and IPL/INL, in a volume that is flattened on Bruch's membrane; `lost` is where its layers thin out."""
    above = grid.px(INNER_UM)
    band, first = grid.band(bm, above, 0)
    start = np.clip(np.rint(ilm).astype(np.int64) - first, 0, above - 8)  # the vitreous takes the first tissue's colour
    tissue = np.take_along_axis(band, start[..., None] + np.arange(2, 6), -1).mean(axis=-1, keepdims=True)
    rows = np.arange(above + 1)
    band = smoothed(np.where(rows <= start[..., None] + 1, tissue, band), 3, 5)
    light = np.where(lost, np.float32(1.0), _unshadowed(grid, band, known & ~lost))
    inside = rows > start[..., None]
    there = _by_sequence(grid, band, light * ~lost, inside, known & ~lost)
    there = _falls(grid, band, light * ~lost, inside, near=there)
    ipl_inl = _thinning(grid, band, lost & known, inside & (rows <= above - grid.px(LINE_UM)), there)
    inside &= rows <= ipl_inl[..., None] - np.where(lost, 0, grid.px(12.0))[..., None]
    rnfl_gcl = _falls(grid, band, light, inside, near=np.where(lost, ipl_inl, -1.0))
    return (
        np.asarray(first + rnfl_gcl - 0.5, dtype=np.float32),
        np.asarray(first + ipl_inl - 0.5, dtype=np.float32),
    )


def _thinning(grid: Grid, band: Bands, lost: Mask, inside: Mask, there: Map) -> Map:
    """IPL/INL where the outer layers thin out: the strongest fall, on from where it was found beside."""
    edge = grid.px(EDGE_UM)
    rows = np.arange(band.shape[-1])
    fall = means(band, -edge, 0) - means(band, 0, edge)
    pinned = np.minimum(0.05 * np.abs(rows - there[..., None]), 1.0)
    costs = np.where(inside, np.where(lost[..., None], -fall, pinned), FORBIDDEN)
    found = find_surface(np.asarray(costs, dtype=np.float32), frame_step=0.01, column_step=0.01)
    return np.where(lost, found, there)


def _by_sequence(grid: Grid, band: Bands, light: Map, inside: Mask, known: Mask) -> Map:
    """Roughly where IPL/INL is: where the sequence of layers around it is like the volume's own usual one."""
    usual, sequence = usual_sequence(grid, band[known].mean(axis=0)) if known.any() else (0, np.zeros(0))
    rows = np.arange(band.shape[-1])
    far = np.abs(rows - usual) * grid.depth_um / 40.0
    costs = np.where(inside, 0.05 * np.minimum(far, 5.0) ** 2, FORBIDDEN)
    if sequence.size:
        wide = smoothed(band, 3, 13)
        costs = costs + light[..., None] * np.minimum(unlikeness(grid, wide, sequence), 2.0)
    return find_surface(np.asarray(costs, dtype=np.float32), frame_step=0.05, column_step=0.05)


def _falls(grid: Grid, band: Bands, light: Map, inside: Mask, *, near: Map | None) -> Map:
    """Where brightness falls: first in a much smoothed band, then near there in the band as it is.

    Where `near` has a row (0 or above), it is not left by much.
    """
    edge = grid.px(EDGE_UM)
    rows = np.arange(band.shape[-1])
    costs = np.where(inside, np.float32(0.0), FORBIDDEN)
    found = near
    for frames, columns in ((5, 13), (1, 3)):
        wide = smoothed(band, frames, columns)
        fall = (means(wide, -edge, 0) - means(wide, 0, edge)) * light[..., None]
        away: npt.NDArray[np.floating] | float = 0.0
        if found is not None:
            away = NEAR * np.minimum(np.abs(rows - found[..., None]) * (grid.depth_um / NEAR_UM), 3.0) ** 2
            away *= found[..., None] >= 0
        found = find_surface(np.asarray(costs + away - fall, dtype=np.float32), frame_step=0.02, column_step=0.02)
    assert found is not None
    return found


def _unshadowed(grid: Grid, band: Bands, known: Mask) -> Map:
    """How much of each column's light arrives, 0..1, by its outer bands: an edge in a shadow is no layer's."""
    light = band[..., -grid.px(35.0) :].mean(axis=-1)
    usual = ndimage.percentile_filter(np.where(known, light, 0.0), 70, size=(1, 41))
    return np.asarray(np.clip(1.5 * light / np.maximum(usual, 0.05) - 0.5, 0.0, 1.0) ** 2 * known, dtype=np.float32)


def _full(surface: Map, gap: Mask, grid: Grid, volume: Volume) -> Map:
    """A surface of the grid for every column of the volume; NaN in the gaps."""
    count, _, width = volume.pixels.shape
    full = resampled(surface, grid, (count, width), (1, 1))
    gaps = resampled(gap.astype(np.float32), grid, (count, width), (1, 1)) > 0.5
    return np.where(gaps, np.float32(np.nan), full)


def _ordered(ilm: Map, rnfl_gcl: Map, ipl_inl: Map, bm: Map) -> Layers:
    """Layers whose boundaries never cross."""
    rnfl_gcl = np.maximum(rnfl_gcl, ilm)
    ipl_inl = np.maximum(ipl_inl, rnfl_gcl)
    return Layers(ilm=ilm, rnfl_gcl=rnfl_gcl, ipl_inl=ipl_inl, bm=np.maximum(bm, ipl_inl))
