"""The field of a painted scan: where it is aimed, and the places of its pixels."""

from __future__ import annotations

import numpy as np

from oculard_models.data.oct_eye import PaintedEye
from oculard_models.data.oct_shape import Plane
from oculard_models.volumes.volume import Scan

STREAM = 114  # of random numbers


def aim(eye: PaintedEye, scan: Scan, seed: int) -> tuple[float, float]:
    """Where the middle of a scan lies, in mm from the disc's centre: never quite where it should."""
    rng = np.random.default_rng([STREAM, eye.seed, seed])
    away = rng.normal(0.0, 0.12, 2).clip(-0.3, 0.3)
    at = {Scan.MACULA: 1.0, Scan.WIDE: 0.5}.get(scan, 0.0)
    return float(eye.wall.fovea_mm[0] * at + away[0]), float(eye.wall.fovea_mm[1] * at + away[1])


def field(centre: tuple[float, float], size: tuple[float, float], rows: int, columns: int) -> tuple[Plane, Plane]:
    """Places of the pixels of a field seen from above, in mm from the disc's centre."""
    x = centre[0] + size[0] * ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5)
    y = centre[1] + size[1] * ((np.arange(rows, dtype=np.float32) + 0.5) / rows - 0.5)
    across, down = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return across, down
