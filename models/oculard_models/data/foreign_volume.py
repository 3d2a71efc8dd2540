"""Painted volumes of another device: thicker layers, other steps, other greys, coarser grain, light that fades.

Nothing learns from these: they tell what a network that knows the painter is worth on what it does not know. They are
still painted, with the painter's own shapes; no device sends such volumes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.volumes.volume import Layers

STREAM = 137  # of random numbers
FRAMES, DEPTH, COLUMNS = 96, 640, 320  # 62.5, 3.6 and 18.75 um
THICKER = 1.2
LAYERS = (0.85, 1.05, 0.90, 1.10)  # grey of RNFL, GCL and IPL, the outer retina, and below Bruch's membrane
GAMMA = 0.8
FADES_UM = 2200.0  # what is so much deeper is dimmer by a factor of e
GRAIN, GRAIN_PX = 0.30, (1.0, 0.6)  # a share of the signal; its size in rows and columns
BRIGHT, FLOOR, NOISE = 180.0, 22.0, 9.0  # grey levels


def paint_foreign(seed: int, disc_type: str, *, eye: str = "R") -> PaintedVolume:
    """Paint an eye as another device would show it, with its true layers."""
    drawn = draw_eye(seed, disc_type, eye=eye)
    wall = replace(drawn.wall, ganglion=THICKER * drawn.wall.ganglion, retina=THICKER * drawn.wall.retina)
    fibres = replace(drawn.fibres, scale=THICKER * drawn.fibres.scale)
    other = replace(drawn, wall=wall, fibres=fibres)
    painted = paint_volume(other, frames=FRAMES, depth=DEPTH, columns=COLUMNS, seed=seed)
    rng = np.random.default_rng([STREAM, seed])
    pixels = painted.volume.pixels
    dark = float(np.percentile(pixels[::8], 25.0))
    step = painted.volume.spacing.depth_um
    light = _light(painted.layers, DEPTH) * np.exp(-step * np.arange(DEPTH, dtype=np.float32) / FADES_UM)[:, None]
    made = np.empty_like(pixels)
    for frame, out in enumerate(made):
        signal = np.maximum(pixels[frame].astype(np.float32) - dark, 0.0) * light[frame] / BRIGHT
        grey = BRIGHT * signal**GAMMA * (1.0 + GRAIN * _grain(rng, signal.shape))
        noise = NOISE * rng.standard_normal(signal.shape, dtype=np.float32)
        out[...] = np.clip(FLOOR + grey + noise, 0.0, 255.0)
    return replace(painted, volume=replace(painted.volume, pixels=made))


def _light(layers: Layers, depth: int) -> npt.NDArray[np.float32]:
    """How much brighter each place is than the painter made it: frames x depth x columns."""
    rows = np.arange(depth, dtype=np.float32)[:, None]
    light = np.ones((len(layers.ilm), depth, layers.ilm.shape[1]), dtype=np.float32)
    for surface, factor in zip((layers.ilm, layers.rnfl_gcl, layers.ipl_inl, layers.bm), LAYERS, strict=True):
        for row, out in zip(surface, light, strict=True):
            out[rows >= row] = factor  # nothing lies below a boundary that is not there
    return light


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Coarse speckle with a deviation of 1."""
    grain = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), GRAIN_PX)
    return np.asarray(grain / grain.std(), dtype=np.float32)
