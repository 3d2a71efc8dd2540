"""From a decoded photograph to what a network wants to see: find the field, crop, mirror, resize, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.contract import ImageInput
from oculard_models.manifest import Crop, InputSpec

Pixels = npt.NDArray[np.uint8]  # rows x columns x 3, RGB
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels, not rounded

WORKING_PX = 320  # the field is searched on a copy whose longer side is about this long
LIT_FLOOR = 10  # a pixel at most this bright is background whatever else the picture holds (camera and JPEG noise)
LIT_SHARE = 0.08  # ... or at most this share of the picture's bright end
BORDER_SHARE = 0.10  # rows and columns lit less than this share of the fullest one hold labels or specks, no field
MIN_EDGE_POINTS = 24  # of the circle, on the working copy
MAX_MISFIT = 0.03  # median distance of the edge from the fitted circle, in radii
MIN_FILLED = 0.60  # share of the circle's part inside the frame that is lit
RADIUS_RANGE = (0.20, 1.2)  # of the frame's shorter side


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The illuminated circle of a fundus photograph. Lengths in pixels of the photograph, x to the right, y downwards.

    `left`, `top`, `right`, `bottom` bound what is lit (right and bottom are exclusive); the circle of `centre` and
    `radius` may reach beyond the frame, where the camera cut it. `area_fraction` is lit field / frame,
    `visible_fraction` is lit field / whole circle.
    """

    left: int
    top: int
    right: int
    bottom: int
    centre: tuple[float, float]
    radius: float
    area_fraction: float
    visible_fraction: float


def prepare(image: ImageInput, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Return the network's input, 3 x height x width, float32: (pixel / 255 - mean) / std in the wanted colour order.

    With `Crop.CIRCLE` the network sees the bounding square of the field, black where the frame ends; a photograph
    without a field is padded to a square as it is.
    """
    pixels, box = _whole(image.pixels) if spec.crop is Crop.WHOLE else _square(image.pixels)
    height, width = spec.size_px
    small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    plane = np.asarray(small)
    if spec.mirror_left and image.eye == "L":
        plane = plane[:, ::-1]
    if spec.colour == "BGR":
        plane = plane[:, :, ::-1]
    scale, shift = scale_and_shift(spec)
    return np.ascontiguousarray((plane * scale - shift).transpose(2, 0, 1))


def seen_box(pixels: Pixels, spec: InputSpec) -> Box:
    """Return which part of the image the network's input covers: left, top, right, bottom in pixels of the image.

    With `Crop.CIRCLE` it may reach beyond the frame.
    """
    if spec.crop is Crop.WHOLE:
        return _whole(pixels)[1]
    x, y, radius = _circle(pixels)
    return x - radius, y - radius, x + radius, y + radius


def scale_and_shift(spec: InputSpec) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return two numbers a colour: (pixel / 255 - mean) / std is pixel * scale - shift."""
    std = np.array(spec.std, dtype=np.float32)
    return np.float32(1.0) / (np.float32(255.0) * std), np.array(spec.mean, dtype=np.float32) / std


def find_field(pixels: Pixels) -> Field | None:
    """Find the illuminated field, or None where there is no circle of light on black.

    Works on a small copy. A row's first and last lit pixel lie on the circle even where the camera cut its top and
    bottom; pixels at the frame's edge do not, and are left out of the fit.
    """
    step = max(1, round(max(pixels.shape[:2]) / WORKING_PX))
    small = np.asarray(Image.fromarray(pixels).reduce(step)).max(axis=2)
    lit = small > max(LIT_FLOOR, LIT_SHARE * float(np.percentile(small, 95)))
    circle = _fit(_edge(_without_labels(lit)))
    if circle is None:
        return None
    x, y, radius = circle
    rows, columns = np.ogrid[: lit.shape[0], : lit.shape[1]]
    within = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    field = lit & within
    filled = int(np.count_nonzero(field))
    if not (RADIUS_RANGE[0] < radius / min(lit.shape) < RADIUS_RANGE[1]) or filled < MIN_FILLED * within.sum():
        return None
    across, down = np.flatnonzero(field.any(axis=0)), np.flatnonzero(field.any(axis=1))
    return Field(
        left=int(across[0]) * step,
        top=int(down[0]) * step,
        right=min((int(across[-1]) + 1) * step, pixels.shape[1]),
        bottom=min((int(down[-1]) + 1) * step, pixels.shape[0]),
        centre=((x + 0.5) * step, (y + 0.5) * step),
        radius=radius * step,
        area_fraction=filled / lit.size,
        visible_fraction=min(1.0, filled / (np.pi * radius**2)),
    )


def _without_labels(lit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep only the rows and columns of the field: those that hold more than a label or a speck."""
    columns, rows = lit.sum(axis=0), lit.sum(axis=1)
    kept = lit & (columns > BORDER_SHARE * columns.max())[None, :] & (rows > BORDER_SHARE * rows.max())[:, None]
    return np.asarray(kept)


def _edge(lit: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the first and last lit pixel of every row, points x (x, y), without those at the frame's edge."""
    rows = np.flatnonzero(lit.any(axis=1))
    width = lit.shape[1]
    first = lit[rows].argmax(axis=1)
    last = width - 1 - lit[rows][:, ::-1].argmax(axis=1)
    left = np.stack([first - 0.5, rows], axis=1)[first > 0]
    right = np.stack([last + 0.5, rows], axis=1)[last < width - 1]
    return np.concatenate([left, right])


def _fit(points: npt.NDArray[np.float64]) -> tuple[float, float, float] | None:
    """Fit a circle (x, y, radius) by least squares, then again without the worst points (notch, label); or None."""
    misfit = np.zeros(len(points))
    circle = (0.0, 0.0, 1.0)
    for _ in range(4):
        points = points[misfit <= max(1.0, 2.5 * float(np.median(misfit)))] if len(points) else points
        if len(points) < MIN_EDGE_POINTS:
            return None
        terms = np.column_stack([points, np.ones(len(points))])
        (a, b, c), *_ = np.linalg.lstsq(terms, (points**2).sum(axis=1), rcond=None)
        circle = (float(a / 2), float(b / 2), float(np.sqrt(max(0.0, c + a * a / 4 + b * b / 4))))
        misfit = np.abs(np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2])
    return circle if np.median(misfit) <= MAX_MISFIT * circle[2] else None


def _whole(pixels: Pixels) -> tuple[Pixels, Box]:
    """Take the frame as it is."""
    return pixels, (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))


def _square(pixels: Pixels) -> tuple[Pixels, Box]:
    """Cut out the field: the pixels around its bounding square, black where the frame ends, and that square in them."""
    height, width = pixels.shape[:2]
    x, y, radius = _circle(pixels)
    left, top, right, bottom = floor(x - radius), floor(y - radius), ceil(x + radius), ceil(y + radius)
    around = np.zeros((bottom - top, right - left, 3), dtype=np.uint8)
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    around[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = pixels[rows, columns]
    return around, (x - radius - left, y - radius - top, x + radius - left, y + radius - top)


def _circle(pixels: Pixels) -> tuple[float, float, float]:
    """Return centre (x, y) and radius of the field; of the whole frame where there is no field."""
    height, width = pixels.shape[:2]
    field = find_field(pixels)
    return (*field.centre, field.radius) if field else (width / 2, height / 2, max(height, width) / 2)
