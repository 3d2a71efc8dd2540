"""A volume averaged in places, depth last, for searches that run along depth; bands of it that follow a surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.volume import Map, Volume

Bands = npt.NDArray[np.float32]  # frames x columns x depth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Frames x columns x depth, uint8; one value is the mean of so many frames, columns and rows of the volume.

    `dark` and `bright` are what vitreous and the brightest tissue look like: bands are scaled by them to about 0..1.
    """

    values: npt.NDArray[np.uint8]
    frames: int
    columns: int
    rows: int
    depth_um: float
    side_um: tuple[float, float]  # from frame to frame, from column to column
    dark: float
    bright: float

    def px(self, um: float) -> int:
        """A length in depth, in rows of this grid; one at least."""
        return max(1, round(um / self.depth_um))

    def lit(self, values: npt.NDArray[np.uint8]) -> Bands:
        """Scale values to about 0 (vitreous) .. 1 (the brightest tissue)."""
        return (values.astype(np.float32) - np.float32(self.dark)) / np.float32(self.bright - self.dark)

    def band(self, surface: Map, above: int, below: int) -> tuple[Bands, npt.NDArray[np.int64]]:
        """Return the rows from `above` to `below` a surface, and the row of the volume that each begins with."""
        first = np.rint(surface).astype(np.int64) - above
        count = above + below + 1
        rows = np.empty((*surface.shape, count), dtype=np.uint8)
        steps = np.arange(count)
        for frame, out in enumerate(rows):
            at = np.clip(first[frame][:, None] + steps, 0, self.values.shape[-1] - 1)
            out[...] = np.take_along_axis(self.values[frame], at, axis=-1)
        return self.lit(rows), first


def fine_grid(volume: Volume, side_um: float) -> Grid:
    """Average frames and columns that are closer than `side_um`; rows stay."""
    spacing = volume.spacing
    frames, columns = (max(1, int(side_um / step)) for step in (spacing.frame_um, spacing.column_um))
    count, depth, width = volume.pixels.shape
    frames, columns = min(frames, count), min(columns, width)
    values = np.empty((count // frames, width // columns, depth), dtype=np.uint8)
    for frame, out in enumerate(values):
        block = volume.pixels[frame * frames : (frame + 1) * frames, :, : width // columns * columns]
        sums = np.zeros((depth, width // columns), dtype=np.uint16)
        for column in range(columns):
            sums += block[:, :, column::columns].sum(axis=0, dtype=np.uint16)
        out[...] = (sums // (frames * columns)).T
    dark, bright = _levels(values)
    return Grid(
        values=values,
        frames=frames,
        columns=columns,
        rows=1,
        depth_um=spacing.depth_um,
        side_um=(spacing.frame_um * frames, spacing.column_um * columns),
        dark=dark,
        bright=bright,
    )


def coarser(grid: Grid, depth_um: float, side_um: float) -> Grid:
    """Average a grid again, in depth up to `depth_um`, and sideways up to `side_um`."""
    factors = [max(1, round(side_um / step)) for step in grid.side_um] + [grid.px(depth_um)]
    factors = [min(factor, size) for factor, size in zip(factors, grid.values.shape, strict=True)]
    values = grid.values
    for axis, factor in enumerate(factors):
        values = _averaged(values, axis, factor)
    dark, bright = _levels(values)
    return Grid(
        values=values,
        frames=grid.frames * factors[0],
        columns=grid.columns * factors[1],
        rows=grid.rows * factors[2],
        depth_um=grid.depth_um * factors[2],
        side_um=(grid.side_um[0] * factors[0], grid.side_um[1] * factors[1]),
        dark=dark,
        bright=bright,
    )


def resampled(values: Map, old: Grid, new: tuple[int, int], steps: tuple[int, int]) -> Map:
    """Interpolate a map of a grid for another of `new` frames and columns, whose steps are so many of the volume's."""
    for axis, (was, size, step) in enumerate(zip((old.frames, old.columns), new, steps, strict=True)):
        at = (np.arange(size) * step + (step - 1) / 2.0 - (was - 1) / 2.0) / was
        at = np.clip(at, 0, values.shape[axis] - 1)
        low = np.minimum(at.astype(np.int64), max(0, values.shape[axis] - 2))
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = np.expand_dims((at - low).astype(np.float32), 1 - axis)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return np.asarray(values, dtype=np.float32)


def sampled(values: Map, grid: Grid) -> Map:
    """A map of the volume at the grid's places: the value in the middle of what was averaged there."""
    frames, columns = grid.values.shape[:2]
    rows = np.arange(frames) * grid.frames + grid.frames // 2
    return values[rows][:, np.arange(columns) * grid.columns + grid.columns // 2]


def bridged(surface: Map, known: npt.NDArray[np.bool_]) -> Map:
    """A surface whose unknown places are bridged in a straight line, frame by frame; a frame that knows none stays."""
    whole = surface.copy()
    columns = np.arange(surface.shape[1])
    for row, there in zip(whole, known, strict=True):
        if there.any():
            row[...] = np.interp(columns, columns[there], row[there])
    return whole


def means(bands: Bands, first: int, last: int) -> Bands:
    """Return for every row the mean of the rows from `first` up to before `last` of it; rows end at the band's ends."""
    size = bands.shape[-1]
    sums = np.zeros((*bands.shape[:-1], size + 1), dtype=np.float32)
    np.cumsum(bands, axis=-1, out=sums[..., 1:])
    rows = np.arange(size)
    low, high = np.clip(rows + first, 0, size - 1), np.clip(rows + last, 1, size)
    high = np.maximum(high, low + 1)
    return np.asarray((sums[..., high] - sums[..., low]) / (high - low).astype(np.float32), dtype=np.float32)


def smoothed(bands: Bands, frames: int, columns: int) -> Bands:
    """Average a band sideways."""
    return np.asarray(ndimage.uniform_filter(bands, size=(frames, columns, 1), mode="nearest"), dtype=np.float32)


def _averaged(values: npt.NDArray[np.uint8], axis: int, factor: int) -> npt.NDArray[np.uint8]:
    """Average `factor` neighbours along an axis; what is left over at the end is left out."""
    if factor == 1:
        return values
    whole = values.shape[axis] // factor * factor
    sums: npt.NDArray[np.uint16] | None = None
    for start in range(factor):
        part = values[(slice(None),) * axis + (slice(start, whole, factor),)].astype(np.uint16)
        sums = part if sums is None else sums + part
    assert sums is not None
    return np.asarray(sums // factor, dtype=np.uint8)


def _levels(values: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """How dark nothing is, and how bright the brightest tissue: two percentiles, never the same."""
    counts = np.bincount(values[::2].ravel(), minlength=256).cumsum()
    dark, bright = (float(np.searchsorted(counts, share * counts[-1])) for share in (0.25, 0.995))
    return dark, max(bright, dark + 1.0)
