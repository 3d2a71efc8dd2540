"""Painted volumes of a third device: thin layers, a hard contrast curve, few coarse steps, black shadows, jumps.

Frozen on 2026-11-29 before any network was measured on them, and never trained or decided on since: that is all their
worth. Whoever changes a number here must call them something else. Still the painter's own shapes; no device's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.data.oct_vessels import draw_vessels, mask_of
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.volumes.volume import Layers

STREAM = 139  # of random numbers
FRAMES, DEPTH, COLUMNS, SIDE_MM = 64, 496, 256, 6.0  # 93.8, 4.6 and 23.4 um
FIBRES, GANGLION, OUTER = 0.80, 0.78, 0.88  # thickness of ours
KNEE, STEEP = 0.42, 7.0  # of the contrast curve, an S: where it is steepest, and how steep
DEEPER_UM = 1500.0  # what lies so much deeper is brighter by a factor of e: focused on the choroid
BLUR_PX = (0.5, 1.6)  # rows, columns: averaged along the B-scan
GRAIN = 0.45  # of fine multiplicative speckle
STRIPES, LINES = 0.12, 3  # uneven light by column; bright fixed lines across every B-scan
SHADOW = 0.75  # what a vessel takes of the light below it
JUMPS, JUMP_UM = 7, 55.0  # axial jumps between B-scans, and their deviation
BRIGHT, FLOOR, NOISE = 225.0, 6.0, 5.0  # grey levels


def paint_second_foreign(seed: int, disc_type: str, *, eye: str = "R") -> PaintedVolume:
    """Paint an eye as a third device would show it, with its true layers."""
    drawn = draw_eye(seed, disc_type, eye=eye)
    wall = replace(drawn.wall, ganglion=GANGLION * drawn.wall.ganglion, retina=OUTER * drawn.wall.retina)
    fibres = replace(drawn.fibres, scale=FIBRES * drawn.fibres.scale)
    other = replace(drawn, wall=wall, fibres=fibres)
    painted = paint_volume(other, frames=FRAMES, depth=DEPTH, columns=COLUMNS, side_mm=SIDE_MM, seed=seed)
    rng = np.random.default_rng([STREAM, seed])
    step = painted.volume.spacing.depth_um
    jumps = _jumps(rng, step)
    vessels = mask_of(draw_vessels(other, painted.centre_mm, (SIDE_MM, SIDE_MM)), FRAMES, COLUMNS)
    shade = 1.0 - SHADOW * (vessels if eye == "R" else vessels[:, ::-1])
    stripes = np.exp(STRIPES * ndimage.gaussian_filter1d(rng.standard_normal(COLUMNS), 1.0)).astype(np.float32)
    lines = _lines(rng)
    pixels = painted.volume.pixels
    dark = float(np.percentile(pixels[::4], 25.0))
    at = np.arange(DEPTH, dtype=np.float32)[:, None]
    made = np.empty_like(pixels)
    for frame, out in enumerate(made):
        signal = np.maximum(pixels[frame].astype(np.float32) - dark, 0.0) / (255.0 - dark)
        below = at > painted.layers.ilm[frame] + 40.0 / step
        signal = signal * np.where(below, shade[frame], 1.0) * stripes * np.exp(step * (at - DEPTH / 2) / DEEPER_UM)
        signal = ndimage.gaussian_filter(_curve(signal), BLUR_PX)
        signal = _moved(signal, jumps[frame]) * (1.0 + GRAIN * rng.standard_normal(signal.shape, dtype=np.float32))
        noise = NOISE * np.abs(rng.standard_normal(signal.shape, dtype=np.float32))
        out[...] = np.clip(FLOOR + BRIGHT * signal + lines[:, None] + noise, 0.0, 255.0)
    return replace(painted, volume=replace(painted.volume, pixels=made), layers=_moved_layers(painted.layers, jumps))


def _curve(signal: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Hard contrast: what is dim becomes black, what is bright white."""
    low, high = (1.0 / (1.0 + np.exp(-STEEP * (end - KNEE))) for end in (0.0, 1.0))
    curved = 1.0 / (1.0 + np.exp(-STEEP * (signal - KNEE)))
    return np.asarray(np.maximum(curved - low, 0.0) / (high - low), dtype=np.float32)


def _jumps(rng: np.random.Generator, step_um: float) -> npt.NDArray[np.int64]:
    """Rows by which each B-scan lies deeper: it jumps a few times, and stays there."""
    depth = np.zeros(FRAMES)
    for first in rng.integers(1, FRAMES, JUMPS):
        depth[first:] += rng.normal(0.0, JUMP_UM)
    return np.rint((depth - np.median(depth)) / step_um).astype(np.int64)


def _lines(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Reflections of the optics: the same rows are brighter in every B-scan."""
    lines = np.zeros(DEPTH, dtype=np.float32)
    lines[rng.integers(0, DEPTH, LINES)] = 45.0
    return np.asarray(ndimage.gaussian_filter1d(lines, 0.7), dtype=np.float32)


def _moved(picture: npt.NDArray[np.float32], down: np.int64) -> npt.NDArray[np.float32]:
    """A B-scan so many rows further down; nothing comes in at the top, or at the bottom what was last."""
    return np.asarray(picture[np.clip(np.arange(DEPTH) - down, 0, DEPTH - 1)])


def _moved_layers(layers: Layers, jumps: npt.NDArray[np.int64]) -> Layers:
    """The layers of B-scans that jumped; none outside of the picture."""

    def moved(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        at = rows + jumps[:, None].astype(np.float32)
        return np.where((at >= 0) & (at <= DEPTH - 1), at, np.float32(np.nan))

    return Layers(
        ilm=moved(layers.ilm), rnfl_gcl=moved(layers.rnfl_gcl), ipl_inl=moved(layers.ipl_inl), bm=moved(layers.bm)
    )
