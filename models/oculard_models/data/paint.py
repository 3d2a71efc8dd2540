"""Paints fundus photographs of people who do not exist, with their attributes planted (see `traits`).

For demonstrations, training of demonstration weights, and tests. What is planted is invented: a network that reads
these pictures knows nothing about real eyes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from oculard_models.data.person import Person
from oculard_models.data.traits import Traits, traits_of
from oculard_models.data.vessels import Vessel, grow

Plane = npt.NDArray[np.float32]  # rows x columns
Picture = npt.NDArray[np.float32]  # rows x columns x 3, 0..255

STREAM = 102  # of random numbers: the painter's are not those that the people are drawn with
CANVAS_PX = 640  # vessels and dots are drawn about this large, or larger, and scaled down: so widths survive
# Pillow fills the pixels under an outline too: shapes grow by about this on each side. With it the arteries of six eyes
# cover 4.1 to 4.2 % of the field from 160 to 1536 pixels; without it 5.2 % at 500 and 4.5 % at 1536.
PEN_PX = 0.35
ARTERY_KEEPS = (0.80, 0.52, 0.62)  # share of the light that comes back through a vessel, RGB
VEIN_KEEPS = (0.66, 0.40, 0.56)
DOT_KEEPS = (0.50, 0.22, 0.38)


def paint(person: Person, eye: str, seed: int, size_px: int, *, shot: int = 0) -> npt.NDArray[np.uint8]:
    """Paint one macula-centred photograph, `size_px` x `size_px` x 3, uint8, RGB.

    The person and `seed` fix the eye: the same call gives the same bytes, another `size_px` the same eye at another
    size. Another `shot` is another photograph of the same eye. In a right eye (`eye` = "R") the optic disc lies on
    the right of the picture, in a left eye ("L") on the left. Raises ValueError for another eye or below 32 pixels.
    """
    return paint_with_disc(person, eye, seed, size_px, shot=shot)[0]


def paint_with_disc(
    person: Person, eye: str, seed: int, size_px: int, *, shot: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Paint the photograph that `paint` does, and say which of its pixels (rows x columns) are optic disc."""
    if eye not in ("R", "L"):
        raise ValueError(f"expected eye `R` or `L`, got `{eye}`")
    if size_px < 32:
        raise ValueError(f"expected at least 32 pixels, got {size_px}")
    side = 1 if eye == "R" else 2
    traits = traits_of(person, np.random.default_rng([STREAM, seed]))
    eye_rng = np.random.default_rng([STREAM, seed, side])
    shot_rng = np.random.default_rng([STREAM, seed, side, 1 + shot])  # numpy takes a trailing 0 for nothing

    frame = _Frame(size_px, shot_rng)
    at = _disc_place(eye_rng)
    photograph = _photograph(_retina(frame, traits, at, eye_rng), frame, traits, shot_rng)
    disc = _disc_cover(frame, traits, at) >= 0.5
    if eye == "L":
        photograph, disc = photograph[:, ::-1], disc[:, ::-1]
    return np.ascontiguousarray(photograph), np.ascontiguousarray(disc)


class _Frame:
    """Where the field lies in the picture; x and y of every pixel in radii of the field."""

    def __init__(self, size_px: int, rng: np.random.Generator) -> None:
        self.size_px = size_px
        self.radius_px = size_px * rng.uniform(0.455, 0.49)
        self.centre_px = size_px * (0.5 + rng.uniform(-0.008, 0.008, 2))
        self.cut = rng.uniform(0.88, 0.97) if rng.random() < 0.3 else 2.0  # many cameras cut the top and the bottom
        place = np.arange(size_px, dtype=np.float32) + 0.5
        self.x: Plane = ((place - self.centre_px[0]) / self.radius_px).astype(np.float32)[None, :]
        self.y: Plane = ((place - self.centre_px[1]) / self.radius_px).astype(np.float32)[:, None]
        self.away: Plane = np.hypot(self.x, self.y)

    def blob(self, at: tuple[float, float], spread: float, tall: float = 1.0) -> Plane:
        """Return a bell of height 1 around a point."""
        dx, dy = (self.x - np.float32(at[0])) / spread, (self.y - np.float32(at[1])) / (spread * tall)
        return np.asarray(np.exp(-0.5 * dx * dx) * np.exp(-0.5 * dy * dy), dtype=np.float32)

    def spot(self, at: tuple[float, float], radius: float, edge: float, tall: float = 1.0) -> Plane:
        """Return a filled ellipse with a soft edge: 1 inside, 0 outside."""
        away = np.hypot(self.x - np.float32(at[0]), (self.y - np.float32(at[1])) / np.float32(tall))
        return np.asarray(np.clip((radius - away) / edge + 0.5, 0.0, 1.0))

    def clouds(self, rows: int, columns: int, rng: np.random.Generator) -> Plane:
        """Return smooth noise of about unit deviation, with `rows` x `columns` bumps in the picture."""
        grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
        return np.asarray(grid.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC))

    def to_canvas(self, points: npt.NDArray[np.float64], scale: int) -> list[tuple[float, float]]:
        """Turn points in radii of the field into pixels of a canvas `scale` times the picture."""
        placed = (points * self.radius_px + self.centre_px) * scale
        return [(x, y) for x, y in placed.tolist()]


def _disc_place(rng: np.random.Generator) -> tuple[float, float]:
    """Draw where the middle of a right eye's disc lies: the first numbers that the eye's generator gives."""
    return 0.60 + rng.normal(0.0, 0.02), -0.05 + rng.normal(0.0, 0.02)


def _retina(frame: _Frame, traits: Traits, disc: tuple[float, float], rng: np.random.Generator) -> Picture:
    """Paint what lies in the eye: pigment and choroid, macula, disc, vessels, dots."""
    fovea = (rng.normal(0.0, 0.015), rng.normal(0.02, 0.015))
    glow = 0.10 * frame.blob((disc[0] - 0.03, disc[1]), 0.22, 1.5)  # the nerve fibres around the disc
    light = _choroid(frame, traits, rng) + glow
    picture = light[..., None] * np.array(traits.pigment, dtype=np.float32)
    _macula(picture, frame, fovea, traits)
    vessels = grow(traits, disc, rng)
    dots = _dots(traits, disc, fovea, rng)
    _disc(picture, frame, disc, traits)
    for kind, keeps in (("artery", ARTERY_KEEPS), ("vein", VEIN_KEEPS)):
        _absorb(picture, _drawn_vessels(frame, [v for v in vessels if v.kind == kind]), keeps)
    _absorb(picture, _drawn_dots(frame, dots), DOT_KEEPS)
    return picture


def _choroid(frame: _Frame, traits: Traits, rng: np.random.Generator) -> Plane:
    """Return the brightness of the background: slow clouds, and the bands of the choroid that `tessellation` sets."""
    slow = frame.clouds(6, 6, rng)
    bands = np.minimum(np.abs(frame.clouds(46, 20, rng)), np.abs(frame.clouds(20, 46, rng)))
    fine = frame.clouds(120, 120, rng)
    quiet = 1.0 - 0.75 * frame.blob((0.0, 0.0), 0.34)  # the macula hides the choroid
    return np.asarray(1.0 + 0.035 * slow + 0.015 * fine - 0.36 * traits.tessellation * (bands - 0.34) * quiet)


def _macula(picture: Picture, frame: _Frame, fovea: tuple[float, float], traits: Traits) -> None:
    """Darken the macula and the fovea; light the reflex around it."""
    _absorb(picture, frame.blob(fovea, 0.20), (0.84, 0.72, 0.80))
    _absorb(picture, frame.blob(fovea, 0.055), (0.78, 0.62, 0.72))
    away = np.hypot(frame.x - np.float32(fovea[0]), (frame.y - np.float32(fovea[1])) / np.float32(0.85))
    ring = np.exp(-0.5 * ((away - 0.155) / 0.022) ** 2)
    pit = frame.blob(fovea, 0.014)
    reflex = (traits.foveal_reflex * (0.55 * ring + 0.9 * pit))[..., None]
    picture += reflex * np.array((34.0, 40.0, 30.0), dtype=np.float32)


def _disc(picture: Picture, frame: _Frame, disc: tuple[float, float], traits: Traits) -> None:
    """Lay the optic disc with its cup over the background."""
    nerve = _disc_cover(frame, traits, disc)[..., None]
    cup_at = (disc[0] - 0.006, disc[1])
    cup = frame.spot(cup_at, traits.disc_radius * traits.cup_ratio, 0.030, 1.05)[..., None]
    rim = np.array((236.0, 158.0, 98.0), dtype=np.float32)
    pale = np.array((250.0, 226.0, 176.0), dtype=np.float32)
    picture += nerve * (rim + cup * (pale - rim) - picture)


def _disc_cover(frame: _Frame, traits: Traits, disc: tuple[float, float]) -> Plane:
    """Return how much of every pixel is disc."""
    return frame.spot(disc, traits.disc_radius, 0.022, 1.07)


def _dots(
    traits: Traits, disc: tuple[float, float], fovea: tuple[float, float], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the dots, dots x (x, y, radius), away from the disc and from the fovea."""
    drawn = rng.uniform((-0.85, -0.85, 0.010), (0.85, 0.85, 0.016), (6 * traits.dots + 60, 3))
    clear = np.hypot(drawn[:, 0], drawn[:, 1]) < 0.85
    clear &= np.hypot(drawn[:, 0] - disc[0], drawn[:, 1] - disc[1]) > 0.20
    clear &= np.hypot(drawn[:, 0] - fovea[0], drawn[:, 1] - fovea[1]) > 0.10
    return drawn[clear][: traits.dots]


def _drawn_vessels(frame: _Frame, vessels: list[Vessel]) -> Plane:
    """Return how much of every pixel is covered by these vessels, with the light reflex along the wide ones."""
    scale = max(1, round(CANVAS_PX / frame.size_px))
    canvas = Image.new("L", (frame.size_px * scale, frame.size_px * scale))
    pen = ImageDraw.Draw(canvas)
    margin = PEN_PX / (frame.radius_px * scale)
    for vessel in reversed(vessels):
        pen.polygon(frame.to_canvas(vessel.ribbon(1.0, margin), scale), fill=round(255 * vessel.strength))
    for vessel in vessels:
        if vessel.strength == 1.0:
            reflex = 168 if vessel.kind == "artery" else 222
            pen.polygon(frame.to_canvas(vessel.ribbon(0.28, margin), scale), fill=reflex)
    return _softened(canvas, scale, frame.radius_px)


def _drawn_dots(frame: _Frame, dots: npt.NDArray[np.float64]) -> Plane:
    """Return how much of every pixel is covered by dots."""
    scale = max(1, round(CANVAS_PX / frame.size_px))
    canvas = Image.new("L", (frame.size_px * scale, frame.size_px * scale))
    pen = ImageDraw.Draw(canvas)
    radii = dots[:, 2] * frame.radius_px * scale - PEN_PX
    for (x, y), radius in zip(frame.to_canvas(dots[:, :2], scale), radii, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _softened(canvas, scale, frame.radius_px)


def _softened(canvas: Image.Image, scale: int, radius_px: float) -> Plane:
    """Bring a canvas to the picture's size, or blur it a little where it has that size already; 0..1."""
    soft = canvas.reduce(scale) if scale > 1 else canvas.filter(ImageFilter.GaussianBlur(0.002 * radius_px))
    return np.asarray(soft, dtype=np.float32) / 255.0


def _absorb(picture: Picture, mask: Plane, keeps: tuple[float, float, float]) -> None:
    """Take light away where `mask` is 1, channel by channel, in place."""
    for channel, keep in enumerate(keeps):
        picture[..., channel] *= 1.0 - mask * np.float32(1.0 - keep)


def _photograph(picture: Picture, frame: _Frame, traits: Traits, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Take the photograph: uneven light, lens tint, haze, the edge of the field, sensor noise."""
    slope = rng.normal(0.0, 0.07, 2)
    exposure = 1.0 + rng.normal(0.0, 0.05)
    light = exposure * (1.0 - 0.30 * np.minimum(frame.away, 1.2) ** 3 + slope[0] * frame.x + slope[1] * frame.y)
    tint = 1.0 - traits.lens_tint * np.array((0.02, 0.10, 0.42), dtype=np.float32)
    picture = picture * (light[..., None] * tint)
    picture += abs(rng.normal(0.0, 0.03)) * (np.array((150.0, 120.0, 100.0), dtype=np.float32) - picture)
    edge = np.clip((1.0 - frame.away) * frame.radius_px, 0.0, 1.0) * (np.abs(frame.y) < frame.cut)
    picture *= edge[..., None]
    picture += rng.normal(1.5, 2.2, picture.shape[:2])[..., None].astype(np.float32)
    return np.clip(picture, 0.0, 255.0).astype(np.uint8)
