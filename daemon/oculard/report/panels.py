"""Panels: the views that a model saw, each above the same view with what in it speaks for the class that was found."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from oculard.report.views import SeenView, SeenViews

Pixels = npt.NDArray[np.uint8]
Ramp = tuple[tuple[float, tuple[int, int, int]], ...]  # where on the way from 0 to 1, and which colour

GROUND: Final = (14, 18, 22)
INK: Final = (236, 240, 242)
SOFT: Final = (152, 164, 172)
OTHERWISE: Final = (255, 190, 92)  # what a view says that says something else
COLUMNS = 4  # panels a line
SIDE_PX, GAP_PX, LINE_PX = 228, 16, 20
TITLE_PX, TEXT_PX = 15, 14
THICKNESS: Ramp = (  # dark is thin, as on the devices' own maps
    (0.0, (8, 8, 40)), (0.25, (24, 72, 200)), (0.45, (40, 180, 190)), (0.65, (240, 220, 70)), (0.85, (226, 72, 40)),
    (1.0, (255, 240, 240)),
)  # fmt: skip
DEVIATION: Ramp = ((0.0, (200, 40, 40)), (0.5, (240, 240, 240)), (1.0, (40, 90, 200)))  # red is thinner than normal
HEAT: Ramp = ((0.0, (255, 210, 60)), (1.0, (255, 40, 20)))
RAMPS = {
    "rnfl-thickness": THICKNESS,
    "gcc-thickness": THICKNESS,
    "gcl-thickness": THICKNESS,
    "rnfl-deviation": DEVIATION,
    "gcc-deviation": DEVIATION,
}
TITLES = {  # what fits above a panel
    "rnfl-thickness": "RNFL thickness",
    "gcc-thickness": "GCC thickness",
    "gcl-thickness": "GCL thickness",
    "en-face": "En face",
    "bscan-disc": "B-scan, disc",
    "bscan-fovea": "B-scan, fovea",
    "rnfl-deviation": "RNFL deviation",
    "gcc-deviation": "GCC deviation",
    "photograph": "Photograph",
}
MIRRORED: Final = "Left eye, mirrored: all views are shown as a right eye's"
HEAT_FROM = 0.15  # a weaker activation is not shown: it is everywhere
HEAT_STRENGTH = 0.65


def panels(seen: SeenViews) -> Image.Image:
    """Draw all views; RGB, 960 pixels wide, one band for every four of them."""
    lines = -(-len(seen.views) // COLUMNS)
    high = 2 * SIDE_PX + 4 * LINE_PX + GAP_PX
    width = COLUMNS * SIDE_PX + (COLUMNS - 1) * GAP_PX
    above = LINE_PX if seen.mirrored else 0
    sheet = Image.new("RGB", (width, above + lines * high - GAP_PX), GROUND)
    if seen.mirrored:
        ImageDraw.Draw(sheet).text((0, 0), MIRRORED, OTHERWISE, ImageFont.load_default(TITLE_PX))
    for number, view in enumerate(seen.views):
        at = (number % COLUMNS) * (SIDE_PX + GAP_PX), above + (number // COLUMNS) * high
        _draw(sheet, at, seen, view)
    return sheet


def _draw(sheet: Image.Image, at: tuple[int, int], seen: SeenViews, view: SeenView) -> None:
    """One view: its name, itself, itself with the activation, and what it says alone."""
    (x, y), pen = at, ImageDraw.Draw(sheet)
    plain = Image.fromarray(_coloured(view.pixels, RAMPS.get(view.name)))
    _write(pen, (x, y), TITLES[view.name], INK, TITLE_PX)
    sheet.paste(plain.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), (x, y + LINE_PX))
    sheet.paste(_heated(view), (x, y + LINE_PX + SIDE_PX + LINE_PX // 4))
    below = y + LINE_PX + 2 * SIDE_PX + LINE_PX // 2
    alone = seen.choice(view).code.meaning.removesuffix(" optic disc")
    _write(pen, (x, below), alone, INK if seen.agrees(view) else OTHERWISE, TEXT_PX)
    spoken = bool(view.activation.max() > HEAT_FROM)
    words = f"{min(view.probabilities[view.winner], 100.0):.1f} % by this view alone"
    _write(pen, (x, below + LINE_PX), words, SOFT, TEXT_PX)
    if not spoken:
        _write(pen, (x, below + 2 * LINE_PX), "nothing here speaks for the class", SOFT, TEXT_PX)


def _coloured(values: npt.NDArray[np.float32], ramp: Ramp | None) -> Pixels:
    """Values from 0 to 1 in grey, or in a ramp of colours."""
    if ramp is None:
        grey = np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    places = [place for place, _ in ramp]
    channels = [np.interp(values, places, [colour[channel] for _, colour in ramp]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=2)).astype(np.uint8)


def _heated(view: SeenView) -> Image.Image:
    """The view in grey, and over it in warm colours what speaks for the class."""
    size = (SIDE_PX, SIDE_PX)
    grey = Image.fromarray(_coloured(view.pixels * 0.8, None)).resize(size, Image.Resampling.BICUBIC)
    heat = Image.fromarray(view.activation, mode="F").resize(size, Image.Resampling.BILINEAR)
    strength = np.clip(np.asarray(heat, dtype=np.float32), 0.0, 1.0)
    shown = HEAT_STRENGTH * np.clip((strength - HEAT_FROM) / (1.0 - HEAT_FROM), 0.0, 1.0)[..., None]
    warm = _coloured(strength, HEAT).astype(np.float32)
    mixed = np.asarray(grey, dtype=np.float32) * (1.0 - shown) + warm * shown
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: tuple[int, int, int], size_px: int
) -> None:
    """Write within one panel's width; what is longer is set smaller."""
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow was built with FreeType, as its wheels are
    if font.getlength(text) > SIDE_PX and size_px > 8:
        _write(pen, at, text, colour, size_px - 1)
        return
    pen.text((at[0], at[1] + LINE_PX / 2), text, colour, font, anchor="lm")
