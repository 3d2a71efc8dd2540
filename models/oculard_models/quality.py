"""The first gate: is this photograph good enough to estimate anything from it? Plain measures, no network.

Measured on every photograph of ../shared/data/fundus (HRF, IDRiD, CSDI, skimage: 38 real ones) with
`oculard-lab quality ../shared/data/fundus`, which prints the table that the thresholds below were read from. Among
the 23 of CSDI the grade follows the haze score of the data set (0 clear to 10): good 2.0 to 4.5 (7 photographs, all
but one at most 2.5), limited 3.0 to 7.5 (10), ungradable 7.5 to 9.0 (6). Haze takes contrast as defocus does: both
are called `blurred` here. A test keeps this so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from oculard_models.preprocess import Field, Pixels, find_field

WORKING_PX = 512  # the field's diameter while it is measured: no measure depends on the photograph's size
INNER = 0.88  # of the radius; the rim is left out, where cameras glare and blur
CUT_MARGIN = 0.12  # of the radius, left out beside a cut top or bottom: the cut is no detail of the retina
FINE_PX, COARSE_PX = 1.5, 8.0  # detail is what lies between these two blurs: vessels, disc margin, choroid


class Grade(StrEnum):
    """What a photograph is good for."""

    GOOD = "good"
    LIMITED = "limited"  # is estimated; the report says what is wrong with it
    UNGRADABLE = "ungradable"  # is not estimated; the report says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """A photograph's grade, the reasons against a better one (stable slugs), and what was measured."""

    grade: Grade
    reasons: tuple[str, ...]
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Limit:
    """A measure with the two values from which on a photograph is limited, and ungradable."""

    reason: str
    measure: str
    limited: float
    ungradable: float

    def grade(self, value: float) -> Grade:
        """Grade one value; whether high or low is bad follows from the order of the two limits."""
        sign = 1.0 if self.ungradable > self.limited else -1.0
        if sign * value > sign * self.ungradable:
            return Grade.UNGRADABLE
        return Grade.LIMITED if sign * value > sign * self.limited else Grade.GOOD


LIMITS = (
    # Mean luminance, 0..255. The 38 photographs lie between 49 and 149; darkened to a quarter they lie at 12 to 37,
    # to an eighth at 9 to 15, where 8 bits leave too few steps for a vessel.
    Limit("too-dark", "luminance", 40.0, 15.0),
    # Share of the field whose green (where the vessels are) is at its end. The photographs have at most 0.001; made
    # 2.5 times brighter they lie between 0.08 and 0.33. A white disc has 1.
    Limit("too-bright", "overexposed", 0.10, 0.50),
    # Contrast of detail. HRF, IDRiD and skimage lie between 0.041 and 0.068, CSDI from 0.059 (haze 2) down to 0.006
    # (haze 9), with a gap above 0.0135 where the disc becomes hard to see. Blurred with a Gaussian of 1/100 of the
    # picture's longer side, sharp photographs lie at 0.012 to 0.024, with 1/50 at 0.008 to 0.012.
    Limit("blurred", "sharpness", 0.035, 0.016),
    # Share of the circle inside the frame. HRF, whose top and bottom the camera cuts, has 0.83; all others more.
    Limit("field-cut", "visible", 0.75, 0.50),
)
NO_FIELD = Quality(grade=Grade.UNGRADABLE, reasons=("no-field",), measures={})
REASONS = ("no-field", *(limit.reason for limit in LIMITS))


def assess(pixels: Pixels) -> Quality:
    """Grade one photograph, rows x columns x 3, uint8, RGB."""
    field = find_field(pixels)
    if field is None:
        return NO_FIELD
    measures = _measures(pixels, field)
    grades = {limit.reason: limit.grade(measures[limit.measure]) for limit in LIMITS}
    reasons = tuple(reason for reason, grade in grades.items() if grade is not Grade.GOOD)
    worst = max(grades.values(), key=list(Grade).index)
    return Quality(grade=worst, reasons=reasons, measures=measures)


def _measures(pixels: Pixels, field: Field) -> dict[str, float]:
    """Measure the inner field on a copy of fixed size."""
    rgb, inner = _working_copy(pixels, field)
    green = rgb[..., 1]
    luminance = rgb @ np.array((0.299, 0.587, 0.114), dtype=np.float32)
    fine, coarse = _blurred(green, FINE_PX), _blurred(green, COARSE_PX)
    detail = ((fine - coarse) / (coarse + 10.0))[inner]
    return {
        "luminance": round(float(luminance[inner].mean()), 1),
        "overexposed": round(float((green[inner] >= 250).mean()), 4),
        "sharpness": round(float(detail.std()), 4),
        "visible": round(field.visible_fraction, 3),
    }


def _working_copy(pixels: Pixels, field: Field) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the field's square at the working size, and which of its pixels to measure."""
    (x, y), radius = field.centre, field.radius
    square = Image.fromarray(pixels).crop((round(x - radius), round(y - radius), round(x + radius), round(y + radius)))
    copy = square.resize((WORKING_PX, WORKING_PX), Image.Resampling.BICUBIC, reducing_gap=2.0)
    place = (np.arange(WORKING_PX) + 0.5) / (WORKING_PX / 2) - 1.0  # -1 to 1 across the field
    inner = np.hypot(place[None, :], place[:, None]) < INNER
    upper, lower = ((edge - y) / radius for edge in (field.top, field.bottom))
    inner &= ((place > upper + CUT_MARGIN) & (place < lower - CUT_MARGIN))[:, None]
    before, after = ((edge - x) / radius for edge in (field.left, field.right))
    inner &= ((place > before + CUT_MARGIN) & (place < after - CUT_MARGIN))[None, :]
    return np.asarray(copy, dtype=np.float32), inner


def _blurred(plane: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Blur one channel of whole numbers 0..255."""
    blurred = Image.fromarray(plane.astype(np.uint8)).filter(ImageFilter.GaussianBlur(sigma_px))
    return np.asarray(blurred, dtype=np.float32)
