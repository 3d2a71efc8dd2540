"""Nine numbers of a painted eye: those by which Omodaka et al. 2017 (PLoS One 12(12):e0190012) told the types apart.

They are read off the eye's geometry with the error that a device and a refractor have; age is invented by type. The
paper's own cut-offs and distributions are not ours.
"""

from __future__ import annotations

from math import atan, degrees

import numpy as np
import numpy.typing as npt

from oculard_models.data.oct_eye import MYOPIC, SCLEROTIC, PaintedEye
from oculard_models.data.oct_shape import CIRCLE_MM, shape_of

STREAM = 115  # of random numbers
NUMBERS = (
    "horizontal disc angle (deg)",
    "spherical equivalent (D)",
    "cup area (mm2)",
    "age (years)",
    "superotemporal cpRNFL thickness (um)",
    "average cup depth (um)",
    "nasal rim-disc ratio",
    "maximum cup depth (um)",
    "superior-quadrant cpRNFL thickness (um)",
)
SUPEROTEMPORAL, SUPERIOR = (40.0, 80.0), (45.0, 135.0)  # degrees from temporal
ERRORS = np.array((1.5, 0.25, 0.12, 0.0, 4.0, 20.0, 0.03, 35.0, 4.0))  # standard deviations
GRID = 81
CUPPED_UM = 0.0  # the cup is what lies below the plane of Bruch's membrane


def nine_numbers(eye: PaintedEye) -> npt.NDArray[np.float64]:
    """Measure an eye, in the order of NUMBERS; the same eye gives the same numbers."""
    rng = np.random.default_rng([STREAM, eye.seed])
    area, mean, deepest, rim = _cup(eye)
    sclerotic, myopic = eye.signs[SCLEROTIC], eye.signs[MYOPIC]
    exact = np.array(
        (
            degrees(atan(eye.disc.tilt_um_mm / 1000.0)),
            0.8 - 9.0 * myopic + rng.normal(0.0, 1.3),
            area,
            np.clip(rng.normal(60.0 + 10.0 * sclerotic - 9.0 * myopic, 9.5), 25.0, 95.0),
            _fibres(eye, SUPEROTEMPORAL),
            mean,
            rim,
            deepest,
            _fibres(eye, SUPERIOR),
        )
    )
    return np.asarray(exact + rng.normal(0.0, 1.0, len(NUMBERS)) * ERRORS, dtype=np.float64)


def _fibres(eye: PaintedEye, sector: tuple[float, float]) -> float:
    """Mean thickness of the nerve fibre layer in a sector of the circle around the disc."""
    angle = np.radians(np.arange(*sector, 2.0))
    x, y = (-CIRCLE_MM * np.cos(angle)).astype(np.float32), (-CIRCLE_MM * np.sin(angle)).astype(np.float32)
    shape = shape_of(eye, x[None], y[None])
    return float((shape.rnfl_gcl - shape.ilm).mean())


def _cup(eye: PaintedEye) -> tuple[float, float, float, float]:
    """Area in mm2, mean and greatest depth in um, and the nasal rim as a share of the disc's width."""
    at = np.linspace(-1.4, 1.4, GRID, dtype=np.float32)
    x, y = np.meshgrid(at, at)
    shape = shape_of(eye, x, y)
    depth = np.where(shape.inside, shape.ilm - shape.bm, -np.inf)
    cupped = depth > CUPPED_UM
    step = float(at[1] - at[0])
    row = shape.inside[GRID // 2]
    nasal = row & (at > 0.0) & ~cupped[GRID // 2]
    if not cupped.any():
        return 0.0, 0.0, 0.0, float(nasal.sum() / row.sum())
    return (
        float(cupped.sum() * step**2),
        float(depth[cupped].mean()),
        float(depth.max()),
        float(nasal.sum() / row.sum()),
    )
