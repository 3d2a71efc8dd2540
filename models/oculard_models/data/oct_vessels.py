"""The large vessels around the disc of a painted eye, seen from above: what throws shadows on an OCT volume."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from oculard_models.data.oct_eye import PaintedEye

STREAM = 110  # of random numbers
STEPS = 48  # points of one vessel
REACH_MM = 8.0  # vessels are drawn so far
# Angle from temporal (degrees, superior positive) at which main vessels leave, and how much they bend to the macula.
COURSES = ((78.0, 0.34), (-76.0, 0.34), (128.0, -0.10), (-126.0, -0.10), (100.0, 0.10), (-100.0, 0.05))
AVASCULAR_MM = 0.5  # around the fovea no vessel is large enough to be drawn
PER_MM = 24.0  # resolution of the drawing: about 40 um
Points = npt.NDArray[np.float64]


def grow_vessels(eye: PaintedEye) -> list[tuple[Points, float]]:
    """Return the vessels of an eye: points in mm from the disc's centre (right eye) and the width in mm."""
    rng = np.random.default_rng([STREAM, eye.seed])
    vessels: list[tuple[Points, float]] = []
    for degrees, bend in COURSES:
        for calibre in (0.135, 0.10):  # vein, artery
            angle = np.radians(degrees + rng.normal(0.0, 7.0))
            size = calibre * rng.uniform(0.75, 1.1) * (1.0 if abs(degrees) < 90.0 else 0.7)
            main = _course(rng, np.array([0.16, 0.0]) + rng.normal(0.0, 0.05, 2), angle, bend, REACH_MM)
            vessels.append((main, size))
            for _ in range(3):
                at = int(rng.integers(8, STEPS - 6))
                ahead = main[at + 1] - main[at]
                side = rng.choice((-1.0, 1.0))
                heading = float(np.arctan2(-ahead[1], -ahead[0])) + side * rng.uniform(0.5, 1.0)
                vessels.append((_course(rng, main[at], heading, side * 0.2, rng.uniform(1.0, 3.0)), 0.55 * size))
    return vessels


def _course(rng: np.random.Generator, start: Points, angle: float, bend: float, length: float) -> Points:
    """One winding line that leaves `start` at `angle` (as in COURSES, in radians) and bends towards the macula."""
    far = np.linspace(0.0, length, STEPS)
    side = np.sign(np.sin(angle)) or 1.0
    heading = (
        angle - side * bend * np.minimum(far, 4.0) + 0.16 * np.sin(far * rng.uniform(1.5, 3.0) + rng.uniform(0.0, 6.3))
    )
    step = length / STEPS
    line = np.column_stack([-np.cos(heading) * step, -np.sin(heading) * step])
    line[0] = start
    return np.asarray(np.cumsum(line, axis=0))


def draw_vessels(eye: PaintedEye, centre_mm: tuple[float, float], size_mm: tuple[float, float]) -> Image.Image:
    """Draw the vessels of a field (its centre from the disc's, its width and height) as a mask of grey 0 to 255."""
    width, height = (round(side * PER_MM * 2) for side in size_mm)
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    origin = np.array([size_mm[0] / 2.0 - centre_mm[0], size_mm[1] / 2.0 - centre_mm[1]])
    for line, calibre in grow_vessels(eye):
        points = ((line + origin) * PER_MM * 2).ravel().tolist()
        pen.line(points, fill=255, width=max(1, round(calibre * PER_MM * 2)), joint="curve")
    fovea = (np.array(eye.wall.fovea_mm) + origin) * PER_MM * 2
    free = AVASCULAR_MM * PER_MM * 2
    pen.ellipse([*(fovea - free), *(fovea + free)], fill=0)
    return canvas.reduce(2)


def mask_of(picture: Image.Image, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """A mask at another resolution, 0 to 1."""
    scaled = picture.resize(
        (columns, rows), Image.Resampling.BOX if columns < picture.width else Image.Resampling.BILINEAR
    )
    return np.asarray(scaled, dtype=np.float32) / np.float32(255.0)
