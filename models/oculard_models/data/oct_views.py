"""Paints the views of an invented eye without painting its volume: what `volumes.views` would make of it, in a blink.

From the true layers, with the errors that a segmentation makes and the noise that is left after averaging. A test
compares these with the views of painted volumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from oculard_models.data.oct_eye import PaintedEye
from oculard_models.data.oct_field import aim, field
from oculard_models.data.oct_photograph import paint_disc
from oculard_models.data.oct_scan import (
    DARK,
    DEPTH_UM,
    FADE_UM,
    GREY,
    LAMINA,
    TISSUE,
    TOP_UM,
    Column,
    layers_of,
    paint_frame,
    speckle,
    unevenness,
)
from oculard_models.data.oct_shape import Plane, Shape, shape_of
from oculard_models.data.oct_vessels import draw_vessels, mask_of
from oculard_models.volumes.centres import Centres
from oculard_models.volumes.maps import IN_DISC_UM
from oculard_models.volumes.normative import NORMATIVE_MAPS, NORMATIVE_PX, Normative
from oculard_models.volumes.view_specs import VIEWS
from oculard_models.volumes.views import DEFAULT_VIEWS, make_views, resized
from oculard_models.volumes.views import GREY as GREY_PERCENT
from oculard_models.volumes.volume import Map, Scan, Spacing, Volume

STREAM = 112  # of random numbers
SIDE_MM = 6.0
LOST_UM = 18.0  # what a boundary is off where there is no pigment epithelium
EDGE = 0.04  # as far as this share of the outer retina the disc is found too large, more or less
ROWS, COLUMNS = 443, 256  # of the B-scan that is painted: half of a device's
BOUNDS = {
    "rnfl-thickness": ("ilm", "rnfl_gcl"),
    "gcc-thickness": ("ilm", "ipl_inl"),
    "gcl-thickness": ("rnfl_gcl", "ipl_inl"),
}
DEVIATIONS = tuple(name.replace("-thickness", "-deviation") for name in NORMATIVE_MAPS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """What every view of one scan is made from."""

    eye: PaintedEye
    centre: tuple[float, float]
    shape: Shape
    vessels: Plane
    rng: np.random.Generator
    normative: Normative | None = None


def paint_views(
    eye: PaintedEye,
    *,
    size_px: int,
    seed: int = 0,
    names: Sequence[str] = DEFAULT_VIEWS,
    normative: Normative | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Paint views of a disc scan, `size_px` x `size_px`, 0 to 1, as a right eye's; `seed` is that of the scan.

    Raises ValueError for a view that is not painted: of the fovea, or a deviation without `normative`.
    """
    sight = _sight(eye, seed, size_px, normative)
    return {name: _view(sight, name) for name in names}


def paint_thickness(eye: PaintedEye, *, seed: int = 0) -> dict[str, Map]:
    """Paint the thickness maps that a normative set is made from: micrometres, NaN in the disc."""
    sight = _sight(eye, seed, NORMATIVE_PX, None)
    return {name: _thickness_um(sight, name) for name in NORMATIVE_MAPS}


def _sight(eye: PaintedEye, seed: int, size_px: int, normative: Normative | None) -> Sight:
    """Look at an eye from above."""
    rng = np.random.default_rng([STREAM, eye.seed, seed])
    centre = aim(eye, Scan.DISC, seed)
    size = (SIDE_MM, SIDE_MM)
    x, y = field(centre, size, size_px, size_px)
    vessels = mask_of(draw_vessels(eye, centre, size), size_px, size_px)
    return Sight(
        eye=eye, centre=centre, shape=shape_of(eye, x, y, vessels), vessels=vessels, rng=rng, normative=normative
    )


def _view(sight: Sight, name: str) -> Plane:
    """Paint one view by its name."""
    if name in BOUNDS:
        return _scaled(name, _thickness_um(sight, name))
    if name in DEVIATIONS and sight.normative is not None:
        return _deviation(sight, name, sight.normative)
    if name == "photograph":
        return paint_disc(sight.eye, sight.centre, SIDE_MM, len(sight.vessels))
    if name == "en-face":
        return _en_face(sight)
    if name == "bscan-disc":
        return _bscan(sight)
    raise ValueError(f"no view `{name}` is painted; hint: paint a volume")


def _scaled(name: str, values: Map) -> Plane:
    """Values on the view's fixed scale; nothing is 0."""
    low, high = VIEWS[name].scale or (0.0, 1.0)
    return np.asarray(np.nan_to_num(np.clip((values - low) / (high - low), 0.0, 1.0)), dtype=np.float32)


def _deviation(sight: Sight, name: str, normative: Normative) -> Plane:
    """How far the thickness is from that of healthy eyes."""
    size = len(sight.vessels)
    thick = name.replace("-deviation", "-thickness")
    whole = (0.0, 0.0, float(size), float(size))
    fine = normative.deviation(thick, resized(_thickness_um(sight, thick), whole, NORMATIVE_PX))
    return _scaled(name, resized(fine, (0.0, 0.0, float(NORMATIVE_PX), float(NORMATIVE_PX)), size))


def _thickness_um(sight: Sight, name: str) -> Map:
    """A thickness map with a segmentation's errors: small ones everywhere, more in a dim scan, failures at places."""
    shape, rng = sight.shape, sight.rng
    upper, lower = (getattr(shape, bound) for bound in BOUNDS[name])
    dim = np.float32(1.0 / sight.eye.clarity)
    error = _smooth(rng, upper.shape, 0.8) * (2.0 * dim) + _smooth(rng, upper.shape, 4.0) * (1.5 * dim)
    error += _smooth(rng, upper.shape, 0.8) * shape.bare * LOST_UM
    error += rng.normal(0.0, 1.0, (upper.shape[0], 1)).astype(np.float32)
    for _ in range(rng.poisson(0.25 * dim)):
        error += _failure(rng, upper.shape[0])
    found = np.maximum(lower - upper + error, 0.0)
    found[shape.inside | (shape.taper < EDGE * (1.0 + _smooth(rng, upper.shape, 1.5)))] = np.nan
    return np.asarray(found, dtype=np.float32)


def _en_face(sight: Sight) -> Plane:
    """The mean over the depth of the retina, scaled by its own extremes; the vessels' shadows are dark."""
    shape, rng = sight.shape, sight.rng
    rnfl, gcl, outer = shape.rnfl_gcl - shape.ilm, shape.ipl_inl - shape.rnfl_gcl, shape.bm - shape.ipl_inl
    deep = 84.0 - 22.0 * shape.bare  # mean grey of the outer layers
    mean = (GREY[1] * rnfl + 0.5 * (GREY[2] + GREY[3]) * gcl + deep * outer) / np.maximum(rnfl + gcl + outer, 1.0)
    mean = np.where(shape.inside, _in_disc(shape), mean) * (1.0 - 0.27 * sight.vessels)
    mean = sight.eye.clarity * mean * (1.0 + np.where(shape.inside, 0.06, 0.015) * _smooth(rng, mean.shape, 0.7)) + DARK
    mean = mean + rng.normal(0.0, 0.8, mean.shape) + rng.normal(0.0, 0.4, (mean.shape[0], 1))
    low, high = np.percentile(mean, GREY_PERCENT)
    return np.asarray(np.clip((mean - low) / max(high - low, 1.0), 0.0, 1.0), dtype=np.float32)


def _in_disc(shape: Shape) -> Plane:
    """Mean grey in the disc from its surface to Bruch's membrane, but at least so far as a projection reaches."""
    far = np.maximum(shape.bm - shape.ilm, IN_DISC_UM)
    tissue = TISSUE * FADE_UM * (1.0 - np.exp(-far / FADE_UM))
    top = shape.ilm - shape.lamina - 60.0
    band = LAMINA * 60.0 * np.sqrt(np.pi / 2.0) * (special.erf((top + far) / 85.0) - special.erf(top / 85.0))
    return np.asarray((tissue + band) / far, dtype=np.float32)


def _bscan(sight: Sight) -> Plane:
    """The B-scan through the disc's centre: painted at half the resolution, then made a view as any other."""
    eye, rng, size = sight.eye, sight.rng, len(sight.vessels)
    middle = (sight.centre[0], 0.0)
    x, y = field(middle, (SIDE_MM, 0.0), 1, COLUMNS)
    row = min(max(round((0.5 - sight.centre[1] / SIDE_MM) * size - 0.5), 0), size - 1)
    vessels = np.interp(np.linspace(0.0, size - 1.0, COLUMNS), np.arange(size), sight.vessels[row]).astype(np.float32)
    shape = shape_of(eye, x, y, vessels[None])
    lift, step = TOP_UM - float(np.percentile(sight.shape.ilm, 2.0)), DEPTH_UM / ROWS
    column = Column.of(eye, shape, 0, vessels, lift_um=lift)
    uneven = unevenness(rng, 1)[0]
    pixels = paint_frame(column, step, eye.clarity, speckle(rng, ROWS, COLUMNS), uneven)
    spacing = Spacing(frame_um=1000.0 * SIDE_MM, depth_um=step, column_um=1000.0 * SIDE_MM / COLUMNS)
    volume = Volume(pixels=pixels[None], spacing=spacing, eye="R", scan=Scan.DISC)
    found = Centres(disc=(0.0, COLUMNS / 2.0))
    return make_views(volume, layers_of(shape, lift, step, ROWS), found, ("bscan-disc",), size)["bscan-disc"]


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> Plane:
    """Noise whose neighbours are alike, with a deviation of 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def _failure(rng: np.random.Generator, size: int) -> Plane:
    """A patch or a band of B-scans where a boundary was not found."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / np.float32(size)
    at, wide = rng.random(2), rng.uniform((0.02, 0.06), (0.08, 0.30))
    patch = np.exp(-0.5 * (((rows - at[0]) / wide[0]) ** 2 + ((columns - at[1]) / wide[1]) ** 2))
    return np.asarray(patch * rng.normal(-10.0, 30.0), dtype=np.float32)
