"""Paints OCT volumes of eyes that do not exist, with their true layers, and straight away the views of such eyes.

`paint_volume` paints what a device sends: B-scans with layered reflectivity, speckle, shadows below vessels, noise.
`paint_views` paints what `volumes.views` would make of such a volume, without painting it: for studies of many eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.data.oct_eye import PaintedEye, draw_eye
from oculard_models.data.oct_field import aim, field
from oculard_models.data.oct_scan import DEPTH_UM, TOP_UM, Column, layers_of, paint_frame, speckle, unevenness
from oculard_models.data.oct_shape import Plane, Shape, shape_of
from oculard_models.data.oct_vessels import draw_vessels, mask_of
from oculard_models.data.oct_views import paint_views
from oculard_models.volumes.volume import Layers, Scan, Spacing, Volume

__all__ = ["PaintedVolume", "draw_eye", "paint_views", "paint_volume"]

STREAM = 111  # of random numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedVolume:
    """A painted volume, as `volume.eye` shows it: a left eye's is mirrored. Centres are (frame, column) or None."""

    eye: PaintedEye
    volume: Volume
    layers: Layers
    disc_centre: tuple[float, float] | None
    fovea_centre: tuple[float, float] | None
    centre_mm: tuple[float, float]  # of the scan, from the disc's centre, as in a right eye


def paint_volume(
    eye: PaintedEye,
    *,
    frames: int = 128,
    depth: int = 885,
    columns: int = 512,
    side_mm: float = 6.0,
    scan: Scan = Scan.DISC,
    seed: int = 0,
) -> PaintedVolume:
    """Paint a volume of `side_mm` from side to side (a wide one is three quarters as high), and its layers.

    `seed` is that of the scan: where it was aimed, how the eye moved, noise.
    """
    rng = np.random.default_rng([STREAM, eye.seed, seed])
    size = (side_mm, side_mm * 0.75 if scan is Scan.WIDE else side_mm)
    centre = aim(eye, scan, seed)
    x, y = field(centre, size, frames, columns)
    moved = _motion(rng, frames, size[0])[:, None]
    vessels = _shifted(mask_of(draw_vessels(eye, centre, size), frames, columns), moved * columns / size[0])
    shape = shape_of(eye, x + moved, y, vessels)
    step = DEPTH_UM / depth
    top = _breath(rng, frames) + TOP_UM - np.float32(np.percentile(shape.ilm, 2.0))
    pixels = _frames(rng, eye, shape, vessels, top, depth)
    layers = layers_of(shape, top[:, None], step, depth)
    if eye.eye == "L":
        pixels, layers = np.ascontiguousarray(pixels[:, :, ::-1]), layers.as_right("L")
    return PaintedVolume(
        eye=eye,
        volume=Volume(
            pixels=pixels,
            spacing=Spacing(frame_um=1000.0 * size[1] / frames, depth_um=step, column_um=1000.0 * size[0] / columns),
            eye=eye.eye,
            scan=scan,
        ),
        layers=layers,
        disc_centre=_place((0.0, 0.0), centre, size, frames, columns, eye.eye),
        centre_mm=centre,
        fovea_centre=_place(eye.wall.fovea_mm, centre, size, frames, columns, eye.eye),
    )


def _frames(
    rng: np.random.Generator, eye: PaintedEye, shape: Shape, vessels: Plane, top: npt.NDArray[np.float32], depth: int
) -> npt.NDArray[np.uint8]:
    """Paint the B-scans, each so much deeper than `top` says."""
    frames, columns = shape.ilm.shape
    pool, uneven = speckle(rng, 2 * depth, 2 * columns), unevenness(rng, frames)
    pixels = np.empty((frames, depth, columns), dtype=np.uint8)
    for frame in range(frames):
        column = Column.of(eye, shape, frame, vessels[frame], lift_um=float(top[frame]))
        row, at = int(rng.integers(depth)), int(rng.integers(columns))
        grain = pool[row : row + depth, at : at + columns]  # two B-scans that share a piece share it at other places
        pixels[frame] = paint_frame(column, DEPTH_UM / depth, eye.clarity, grain, uneven[frame])
    return pixels


def _motion(rng: np.random.Generator, frames: int, width_mm: float) -> npt.NDArray[np.float32]:
    """How far each B-scan is shifted sideways, in mm: a saccade now and then."""
    shift = np.zeros(frames, dtype=np.float32)
    for _ in range(rng.poisson(0.5)):
        shift[int(rng.integers(frames)) :] += np.float32(rng.normal(0.0, 0.006) * width_mm)
    return shift - np.float32(shift[frames // 2])


def _shifted(picture: Plane, columns: Plane) -> Plane:
    """Each row of a picture seen from so many columns further right."""
    at = np.arange(picture.shape[1], dtype=np.float32)
    return np.stack([np.interp(at + by, at, row) for row, by in zip(picture, columns, strict=True)]).astype(np.float32)


def _breath(rng: np.random.Generator, frames: int) -> npt.NDArray[np.float32]:
    """How much deeper each B-scan lies, in um: breath, heart, and what the device did not even out."""
    at = np.linspace(0.0, 1.0, frames, dtype=np.float32)
    slow = rng.uniform(0.0, 16.0) * np.sin(2.0 * np.pi * (rng.uniform(1.0, 3.0) * at + rng.random()))
    return np.asarray(slow + rng.normal(0.0, 2.0, frames), dtype=np.float32)


def _place(
    at: tuple[float, float],
    centre: tuple[float, float],
    size: tuple[float, float],
    frames: int,
    columns: int,
    eye: str,
) -> tuple[float, float] | None:
    """Frame and column of a place in mm; None outside of the field."""
    right, down = (at[0] - centre[0]) / size[0] + 0.5, (at[1] - centre[1]) / size[1] + 0.5
    if not (0.0 <= right < 1.0 and 0.0 <= down < 1.0):
        return None
    column = right * columns - 0.5
    return down * frames - 0.5, column if eye == "R" else columns - 1 - column
