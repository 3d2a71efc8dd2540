"""The colour photograph that a device takes together with an OCT volume: of the same invented eye, disc and macula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.data.oct_eye import PaintedEye
from oculard_models.data.oct_field import field
from oculard_models.data.oct_shape import Plane, cup_edge, edge_mm, shape_of
from oculard_models.data.oct_vessels import draw_vessels, mask_of
from oculard_models.data.painted_study import FIELD_MM

STREAM = 116  # of random numbers
GREY = np.array((0.299, 0.587, 0.114), dtype=np.float32)  # of red, green, blue
SKIN, PALE, CUP, VESSEL, BARE = (
    np.array(colour, dtype=np.float32)
    for colour in (
        (176.0, 84.0, 40.0),
        (232.0, 164.0, 104.0),
        (248.0, 218.0, 170.0),
        (104.0, 30.0, 18.0),
        (216.0, 176.0, 132.0),
    )
)


def photograph_centre(eye: PaintedEye) -> tuple[float, float]:
    """The middle of the photograph in mm from the disc's centre, as in a right eye: half way to the fovea."""
    return eye.wall.fovea_mm[0] / 2.0, eye.wall.fovea_mm[1] / 2.0


def paint_photograph(eye: PaintedEye, size_px: int = 1024, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Paint the photograph, `size_px` square, RGB, as the eye is: a left one's disc is on the left."""
    rng = np.random.default_rng([STREAM, eye.seed, seed])
    centre = photograph_centre(eye)
    picture = _fundus(eye, centre, FIELD_MM, size_px)
    x, y = field(centre, (FIELD_MM, FIELD_MM), size_px, size_px)
    picture *= 1.0 - 0.35 * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)[..., None] / (FIELD_MM / 2.0) ** 2
    blur = (1.4 - eye.clarity) * size_px / 800.0
    picture = ndimage.gaussian_filter(picture, (blur, blur, 0.0))
    picture += rng.normal(0.0, 3.0, (*picture.shape[:2], 1)).astype(np.float32)
    outside = np.hypot(x - centre[0], y - centre[1]) > 0.49 * FIELD_MM
    pixels = np.where(outside[..., None], 0.0, np.clip(picture, 0.0, 255.0)).astype(np.uint8)
    return pixels if eye.eye == "R" else np.ascontiguousarray(pixels[:, ::-1])


def paint_disc(eye: PaintedEye, centre: tuple[float, float], side_mm: float, size_px: int) -> Plane:
    """Paint the grey photograph of a field, 0 to 1, as a right eye's."""
    grey = _fundus(eye, centre, side_mm, size_px) @ GREY
    return np.asarray(np.clip(grey / 255.0, 0.0, 1.0), dtype=np.float32)


def _fundus(eye: PaintedEye, centre: tuple[float, float], side_mm: float, size_px: int) -> Plane:
    """What a field looks like in an even light."""
    size = (side_mm, side_mm)
    x, y = field(centre, size, size_px, size_px)
    vessels = mask_of(draw_vessels(eye, centre, size), size_px, size_px)
    return _over(_ground(eye, x, y), VESSEL, 0.75 * vessels)


def _ground(eye: PaintedEye, x: Plane, y: Plane) -> Plane:
    """Everything but the vessels: fundus, macula, sheen of the nerve fibres, atrophy, disc and cup."""
    shape = shape_of(eye, x, y)
    radius, angle = np.hypot(x, y), np.arctan2(-y, -x)
    part = radius / edge_mm(eye.disc, angle)
    sheen = np.clip((shape.rnfl_gcl - shape.ilm) / 250.0, 0.0, 0.5)
    fovea = np.exp(-(np.hypot(x - eye.wall.fovea_mm[0], y - eye.wall.fovea_mm[1]) ** 2) / 0.7**2)
    ground = np.broadcast_to(SKIN, (*x.shape, 3)) * (1.0 + 0.45 * sheen - 0.35 * fovea)[..., None]
    ground = _over(ground, BARE, 0.7 * shape.bare)
    ground = _over(ground, PALE, np.clip((1.0 - part) / 0.08, 0.0, 1.0))
    return _over(ground, CUP, np.clip((cup_edge(eye.cup, angle) - part) / eye.cup.slope + 0.5, 0.0, 1.0))


def _over(picture: Plane, colour: Plane, share: Plane) -> Plane:
    """Lay a colour over a picture."""
    return np.asarray(picture + (colour - picture) * share[..., None], dtype=np.float32)
