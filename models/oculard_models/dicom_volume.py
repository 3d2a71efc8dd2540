"""OCT volumes: every frame of an instance, in the order that its geometry says.

In memory are the volume itself, one byte a voxel, and one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.dicom_frames import Frame, Frames, Layout, frames_of, open_pixels, read_layout
from oculard_models.dicom_geometry import Geometry
from oculard_models.dicom_pixels import Undecodable, read_header

SAMPLED = 16  # frames from which the used range of 16 bit values is taken
USED_PERCENT = (0.1, 99.9)  # single hot pixels do not count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Voxels:
    """A volume's pixels, frames x rows x columns. `scaled`: the range of 16 bit values that became 0 to 255, if any."""

    pixels: npt.NDArray[np.uint8]
    scaled: tuple[float, float] | None


def read_voxels(path: Path, geometry: Geometry, *, voxels_max: int) -> Voxels:
    """Read the frames of an instance in the order of its geometry, superior first, columns from left to right.

    Raises Undecodable; OSError when the file cannot be read.
    """
    layout = read_layout(read_header(path), voxels_max)
    if (layout.frames, layout.rows, layout.columns) != (len(geometry.order), geometry.rows, geometry.columns):
        raise Undecodable("pixels-inconsistent", "the geometry is of another volume")
    with open_pixels(path, layout) as file:
        frames = frames_of(file, layout)
        scaled = _used_range(frames, layout) if layout.bits == 16 else None
        pixels = np.empty((layout.frames, layout.rows, layout.columns), dtype=np.uint8)
        for place, number in enumerate(geometry.order):
            frame = _eight_bit(frames.frame(number), scaled)
            frame = 255 - frame if layout.inverted else frame
            pixels[place] = frame[:, ::-1] if geometry.mirrored else frame
    return Voxels(pixels=pixels, scaled=scaled)


def _used_range(frames: Frames, layout: Layout) -> tuple[float, float] | None:
    """The range of 16 bit values that the volume uses, from some of its frames; None where they fit into 8 bits."""
    numbers: Sequence[int] = np.unique(np.linspace(0, layout.frames - 1, SAMPLED).astype(int)).tolist()
    seen = np.stack([frames.frame(number) for number in numbers])
    if seen.min() >= 0 and seen.max() <= 255:
        return None
    low, high = (float(level) for level in np.percentile(seen, USED_PERCENT))
    return low, max(high, low + 1.0)


def _eight_bit(frame: Frame, scaled: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
    if frame.dtype == np.uint8:
        return frame
    values: npt.NDArray[Any] = frame
    if scaled is not None:
        low, high = scaled
        values = (frame.astype(np.float32) - low) * (255.0 / (high - low)) + 0.5
    eight: npt.NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return eight
