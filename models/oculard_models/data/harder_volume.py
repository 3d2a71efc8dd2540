"""Makes a painted volume harder to read, and its true layers with it: noise, shadows, tilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from oculard_models.volumes.volume import Layers, Volume

BOUNDARIES = ("ilm", "rnfl_gcl", "ipl_inl", "bm")
WEAK, NOISE = 0.6, 16.0  # share of the signal that is left, and grey levels of noise
FLOATERS, FLOATER_UM, SHADE = 8, (150.0, 450.0), 0.3  # opacities, their radius, and what light comes through
BLINKS, BLINK_FRAMES = 2, 0.025  # dark stretches of frames, and their share of the volume
TILT_UM = (450.0, 250.0)  # from the left to the right edge, from the first to the last frame

Harder = Callable[[Volume, Layers, int], tuple[Volume, Layers]]


def as_painted(volume: Volume, layers: Layers, seed: int) -> tuple[Volume, Layers]:
    """The volume as it is."""
    del seed
    return volume, layers


def noisy(volume: Volume, layers: Layers, seed: int) -> tuple[Volume, Layers]:
    """Less signal and more noise, as through a cataract."""
    rng = np.random.default_rng([1, seed])
    floor = float(np.percentile(volume.pixels[::8], 25.0))
    pixels = np.empty_like(volume.pixels)
    for frame, out in zip(volume.pixels, pixels, strict=True):
        signal = floor + WEAK * (frame.astype(np.float32) - floor)
        out[...] = np.clip(signal + NOISE * rng.standard_normal(frame.shape, dtype=np.float32), 0.0, 255.0)
    return replace(volume, pixels=pixels), layers


def shadowed(volume: Volume, layers: Layers, seed: int) -> tuple[Volume, Layers]:
    """Round shadows of opacities in the vitreous, and frames that were taken in a blink."""
    rng = np.random.default_rng([2, seed])
    frames, _, columns = volume.pixels.shape
    y, x = np.arange(frames)[:, None] * volume.spacing.frame_um, np.arange(columns) * volume.spacing.column_um
    light = np.ones((frames, columns), dtype=np.float32)
    for _ in range(FLOATERS):
        radius = rng.uniform(*FLOATER_UM)
        away = np.hypot(y - rng.uniform(0.0, y[-1, 0]), x - rng.uniform(0.0, x[-1]))
        light *= 1.0 - (1.0 - SHADE) * np.exp(-((away / radius) ** 4)).astype(np.float32)
    for _ in range(BLINKS):
        first = int(rng.integers(frames))
        light[first : first + max(1, round(BLINK_FRAMES * frames))] *= SHADE
    floor = float(np.percentile(volume.pixels[::8], 25.0))
    pixels = np.empty_like(volume.pixels)
    for frame, shade, out in zip(volume.pixels, light, pixels, strict=True):
        signal = frame.astype(np.float32) - floor
        out[...] = np.clip(floor + np.where(signal > 0, signal * shade, signal), 0.0, 255.0)
    return replace(volume, pixels=pixels), layers


def tilted(volume: Volume, layers: Layers, seed: int) -> tuple[Volume, Layers]:
    """The retina lies aslant in the scan; what leaves the volume at the bottom is gone."""
    side = 1.0 if seed % 2 else -1.0
    frames, depth, columns = volume.pixels.shape
    across = np.linspace(0.0, TILT_UM[0], columns)[:: int(side)]
    shift = (np.linspace(0.0, TILT_UM[1], frames)[:, None] + across) / volume.spacing.depth_um
    rows = np.rint(shift).astype(np.int64)
    pixels = np.empty_like(volume.pixels)
    for frame, down, out in zip(volume.pixels, rows, pixels, strict=True):
        out[...] = np.take_along_axis(frame, (np.arange(depth)[:, None] - down) % depth, axis=0)
    moved = {name: getattr(layers, name) + rows.astype(np.float32) for name in BOUNDARIES}
    inside = {name: np.where(at <= depth - 1, at, np.float32(np.nan)) for name, at in moved.items()}
    return replace(volume, pixels=pixels), replace(layers, **inside)


CONDITIONS: Mapping[str, Harder] = MappingProxyType(
    {"as painted": as_painted, "noise": noisy, "shadows": shadowed, "tilt": tilted}
)
