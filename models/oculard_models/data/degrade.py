"""Spoils photographs the way eyes and cameras do, by a known amount: out of focus, shaken, hazy, badly lit, cut off.

For training and measuring the quality gate. Lengths are shares of the field's diameter, so that they mean the same at
every size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from oculard_models.preprocess import Pixels, find_field

Mask = npt.NDArray[np.float32]  # rows x columns, 0..1
Plane = npt.NDArray[np.float32]

MARGIN = 0.04  # black around the field, in shares of the picture
SHAKES = 13  # copies that make a motion blur


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A square picture whose field fills it but for a margin, and which of its pixels are field (soft at the edge)."""

    pixels: Pixels
    inside: Mask

    @property
    def diameter_px(self) -> float:
        """Of the field."""
        return float(self.pixels.shape[0] * (1.0 - 2.0 * MARGIN))

    def places(self) -> tuple[Plane, Plane]:
        """Return x and y of every pixel in radii of the field, a row and a column."""
        size = self.pixels.shape[0]
        place = ((np.arange(size, dtype=np.float32) + 0.5) / (size / 2) - 1.0) / (1.0 - 2.0 * MARGIN)
        return place[None, :], place[:, None]


class NoField(ValueError):
    """There is no circle of light in this picture."""


def scene_of(pixels: Pixels, size_px: int) -> Scene:
    """Cut a photograph's field out of it and bring it to a fixed size. Raises NoField."""
    field = find_field(pixels)
    if field is None:
        raise NoField("no field was found in the photograph; hint: give a whole one, with its black frame")
    (x, y), radius = field.centre, field.radius
    half = radius / (1.0 - 2.0 * MARGIN)
    scale = size_px / (2.0 * half)
    edges = ((field.left - x + half), (field.top - y + half), (field.right - x + half), (field.bottom - y + half))
    left, top, right, bottom = (edge * scale for edge in edges)
    across = np.arange(size_px, dtype=np.float32) + 0.5
    framed = (across > left) & (across < right) & ((across > top) & (across < bottom))[:, None]
    inside = _circle(size_px) * framed
    return _scene(_window(pixels, (x, y), half, size_px), inside)


def reframed(scene: Scene, at: tuple[float, float], share: float, size_px: int) -> Scene:
    """Photograph a part of the field with a smaller field: `at` its centre and `share` its radius, in radii."""
    size = scene.pixels.shape[0]
    reach = size / 2 * (1.0 - 2.0 * MARGIN)
    centre = size / 2 + at[0] * reach, size / 2 + at[1] * reach
    half = share * size / 2
    was_inside = (scene.inside * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    inside = _window(was_inside, centre, half, size_px)[..., 0].astype(np.float32) / 255.0
    return _scene(_window(scene.pixels, centre, half, size_px), inside * _circle(size_px))


def flipped(scene: Scene) -> Scene:
    """Mirror left and right."""
    return Scene(pixels=np.ascontiguousarray(scene.pixels[:, ::-1]), inside=np.ascontiguousarray(scene.inside[:, ::-1]))


def defocused(scene: Scene, sigma: float) -> Scene:
    """Blur the retina; the edge of the field, which lies in the camera, stays sharp."""
    radius = sigma * scene.diameter_px
    weight = blurred((scene.inside * 255).astype(np.uint8), radius).astype(np.float32)[..., None] / 255.0
    smooth = blurred(scene.pixels, radius) / np.maximum(weight, 0.05)
    return _scene(smooth, scene.inside)


def shaken(scene: Scene, length: float, angle: float) -> Scene:
    """Smear the retina along a line, as when the eye moves during the exposure."""
    total = np.zeros(scene.pixels.shape, dtype=np.float32)
    weight = np.zeros(scene.inside.shape, dtype=np.float32)
    for step in np.linspace(-0.5, 0.5, SHAKES):
        way = float(step) * length * scene.diameter_px
        shift = (round(way * sin(angle)), round(way * cos(angle)))
        total += np.roll(scene.pixels, shift, (0, 1))
        weight += np.roll(scene.inside, shift, (0, 1))
    return _scene(total / np.maximum(weight, 0.5)[..., None], scene.inside)


def veiled(scene: Scene, strength: float, tint: tuple[float, float, float], lean: tuple[float, float]) -> Scene:
    """Lay scattered light over the retina as a cloudy lens does: exp(-strength) of the image comes through.

    What does not is spread: part of it widely blurred, part of it as light of one `tint` (RGB, 0..255) that grows
    towards one side (`lean`, change per radius).
    """
    through = float(np.exp(-strength))
    x, y = scene.places()
    uneven = np.clip(1.0 + lean[0] * x + lean[1] * y, 0.2, 2.0)[..., None]
    scattered = 0.5 * blurred(scene.pixels, 0.06 * scene.diameter_px) + 0.5 * uneven * np.array(tint, dtype=np.float32)
    soft = defocused(scene, min(0.006, 0.002 * strength)).pixels
    return _scene(through * soft + (1.0 - through) * scattered, scene.inside)


def exposed(scene: Scene, stops: float) -> Scene:
    """Take the photograph with 2 ** `stops` times the light; what is too bright for the camera is lost."""
    table = _bytes(np.arange(256) * 2.0**stops)
    return replace(scene, pixels=table[scene.pixels])


def shaded(scene: Scene, stops: float, at: tuple[float, float], spread: float) -> Scene:
    """Change the light only around a place: a pupil that cuts the beam (`stops` below 0), a flash on one side."""
    x, y = scene.places()
    bell = np.exp(-0.5 * ((x - np.float32(at[0])) ** 2 + (y - np.float32(at[1])) ** 2) / np.float32(spread**2))
    return _scene(scene.pixels * (2.0 ** (stops * bell))[..., None], scene.inside)


def glared(scene: Scene, angle: float, width: float, tint: tuple[float, float, float]) -> Scene:
    """Add the bright crescent that a small or badly aimed pupil leaves at one side of the rim."""
    x, y = scene.places()
    aside = np.hypot(x + np.float32(width * cos(angle)), y + np.float32(width * sin(angle)))
    crescent = np.clip((aside - 1.0) / width, 0.0, 1.0)[..., None]
    light = crescent * np.array(tint, dtype=np.float32)
    return _scene(scene.pixels * (1.0 - 0.6 * crescent) + light, scene.inside)


def cut_off(scene: Scene, share: float, angle: float) -> Scene:
    """Black out everything beyond a straight line: a lid, a badly placed frame. `share` of the diameter stays."""
    x, y = scene.places()
    along = x * cos(angle) + y * sin(angle)
    stays = np.clip((2.0 * share - 1.0 - along) * 60.0 + 0.5, 0.0, 1.0).astype(np.float32)
    return _scene(scene.pixels, scene.inside * stays)


def tinted(scene: Scene, gains: tuple[float, float, float], gamma: float) -> Scene:
    """Take the photograph with another camera: other colours, another curve."""
    curve = 255.0 * np.linspace(0.0, 1.0, 256) ** gamma
    tables = [_bytes(gain * curve) for gain in gains]
    return replace(scene, pixels=np.stack([t[scene.pixels[..., k]] for k, t in enumerate(tables)], axis=2))


def noisy(scene: Scene, deviation: float, rng: np.random.Generator) -> Scene:
    """Add a sensor's noise, the same to all colours, and to the black around the field as well."""
    noise = rng.standard_normal(scene.inside.shape, dtype=np.float32) * np.float32(deviation)
    return replace(scene, pixels=_bytes(scene.pixels + noise[..., None]))


def visible_share(scene: Scene) -> float:
    """Return how much of the whole circle is in the picture."""
    return min(1.0, float(scene.inside.sum()) / (pi / 4.0 * scene.diameter_px**2))


def _scene(picture: npt.NDArray[np.floating] | Pixels, inside: Mask) -> Scene:
    """Round to bytes, with black outside the field."""
    return Scene(pixels=_bytes(picture * inside[..., None]), inside=inside)


def _bytes(picture: npt.NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)


def blurred(pixels: npt.NDArray[np.uint8], radius_px: float) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius_px)))


def _circle(size_px: int) -> Mask:
    """Return the field of a scene: a filled circle with a margin and an edge one pixel soft."""
    place = np.arange(size_px, dtype=np.float32) + 0.5 - size_px / 2
    radius = size_px / 2 * (1.0 - 2.0 * MARGIN)
    soft = np.clip(radius - np.hypot(place[None, :], place[:, None]) + 0.5, 0.0, 1.0)
    return np.asarray(soft, dtype=np.float32)


def _window(pixels: Pixels, centre: tuple[float, float], half: float, size_px: int) -> Pixels:
    """Cut a square out of a picture, black where the picture ends, and bring it to a size."""
    corners = [round(value) for value in (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)]
    square = Image.fromarray(pixels).crop((corners[0], corners[1], corners[2], corners[3]))
    return np.asarray(square.resize((size_px, size_px), Image.Resampling.BICUBIC, reducing_gap=2.0))
