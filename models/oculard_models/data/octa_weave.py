"""Noise for painted angiographies: smooth clouds, and lines that follow a given direction."""

from __future__ import annotations

from math import pi

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft

Plane = npt.NDArray[np.float32]  # rows x columns

DIRECTIONS = 6  # of the oriented filters between which `weave` blends


def clouds(rng: np.random.Generator, size_px: int, bumps: int) -> Plane:
    """Return smooth noise of about unit deviation with `bumps` x `bumps` bumps, `size_px` x `size_px`."""
    grid = Image.fromarray(rng.standard_normal((bumps, bumps), dtype=np.float32))
    return np.asarray(grid.resize((size_px, size_px), Image.Resampling.BICUBIC))


def weave(rng: np.random.Generator, along: Plane, apart_px: float, *, long: float) -> Plane:
    """Return noise of unit deviation whose ridges run `along` (radians, rows x columns), about `apart_px` apart.

    `long` is how many times longer than apart the ridges are. White noise goes through DIRECTIONS oriented band-pass
    filters; every pixel takes those that agree with its direction.
    """
    rows, columns = along.shape
    noise = fft.rfft2(rng.standard_normal((rows, columns), dtype=np.float32))
    fy, fx = fft.fftfreq(rows).astype(np.float32)[:, None], fft.rfftfreq(columns).astype(np.float32)[None, :]
    twice_cos, twice_sin = np.cos(2.0 * along), np.sin(2.0 * along)
    middle, width = np.float32(1.0 / apart_px), np.float32(0.5 / apart_px)
    thin = np.float32(1.0 / (long * apart_px) / 2.0)
    woven = np.zeros((rows, columns), dtype=np.float32)
    for k in range(DIRECTIONS):
        angle = pi * k / DIRECTIONS
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        across, down = fy * c - fx * s, fx * c + fy * s  # frequency across the ridges and along them
        band = np.exp(-0.5 * ((np.abs(across) - middle) / width) ** 2 - 0.5 * (down / thin) ** 2)
        agrees = 0.5 + 0.5 * (twice_cos * np.float32(np.cos(2 * angle)) + twice_sin * np.float32(np.sin(2 * angle)))
        woven += agrees**3 * fft.irfft2(noise * band, s=(rows, columns))
    return np.asarray(woven / woven.std(), dtype=np.float32)
