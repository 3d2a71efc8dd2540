"""Pictures that are no colour photograph of a retina: what a quality gate must turn away.

Drawn on the fly, half of them inside a circle on black, so that the circle alone says nothing. The hardest are made of
retinas: in false colours, inverted, grey, torn into pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from oculard_models.data.degrade import MARGIN
from oculard_models.preprocess import Pixels

SIZE_PX = 384


def other_picture(rng: np.random.Generator, retina: Pixels, faces: Sequence[Pixels]) -> Pixels:
    """Draw one; `retina` may be spoiled beyond recognition for it. `faces` are en face images, if there are any."""
    kinds: list[Callable[[], Pixels]] = [
        lambda: _noise(rng),
        lambda: _clouds(rng),
        lambda: _clouds(rng),
        lambda: _text(rng),
        lambda: _section(rng),
        lambda: _blobs(rng),
        lambda: _blobs(rng),
        lambda: _front(rng),
        lambda: _front(rng),
        lambda: _plain(rng),
        lambda: _false_colours(retina, rng),
        lambda: _false_colours(retina, rng),
        lambda: _torn(retina, rng),
    ]
    if faces:
        kinds += [lambda: _tinted(faces[int(rng.integers(len(faces)))], rng)] * 2
    drawn = kinds[int(rng.integers(len(kinds)))]()
    return _in_circle(drawn) if rng.random() < 0.55 else drawn


def _in_circle(pixels: Pixels) -> Pixels:
    """Show a picture as if it were a field."""
    size = min(pixels.shape[:2])
    place = (np.arange(size) + 0.5) / (size / 2) - 1.0
    inside = np.hypot(place[None, :], place[:, None]) < 1.0 - 2.0 * MARGIN
    return np.asarray(pixels[:size, :size] * inside[..., None], dtype=np.uint8)


def _grid(rng: np.random.Generator, rows: int, columns: int, channels: int) -> np.ndarray:
    """Return smooth noise, 0..1."""
    planes = [
        Image.fromarray(rng.random((rows, columns), dtype=np.float32)).resize((SIZE_PX, SIZE_PX), 3)
        for _ in range(channels)
    ]
    return np.asarray(np.clip(np.stack([np.asarray(plane) for plane in planes], axis=2), 0.0, 1.0))


def _bytes(picture: np.ndarray) -> Pixels:
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw two colours; half of the time those of skin and retina, which no colour rule may tell apart."""
    if rng.random() < 0.5:
        return np.array((200, 110, 70)) * rng.uniform(0.6, 1.2, 3), np.array((120, 50, 30)) * rng.uniform(0.6, 1.4, 3)
    return rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)


def _noise(rng: np.random.Generator) -> Pixels:
    cells = int(rng.choice([28, 56, 112, 448]))
    return _bytes(255 * _grid(rng, cells, cells, int(rng.choice([1, 3]))).repeat(3, axis=2)[..., :3])


def _clouds(rng: np.random.Generator) -> Pixels:
    """Smooth texture of two colours: cloth, wood, leaves, marble."""
    one, two = _colours(rng)
    mix = 0.6 * _grid(rng, int(rng.integers(2, 8)), int(rng.integers(2, 8)), 1)
    mix = mix + 0.4 * _grid(rng, int(rng.integers(8, 90)), int(rng.integers(8, 90)), 1)
    return _bytes(one * mix + two * (1.0 - mix))


def _plain(rng: np.random.Generator) -> Pixels:
    """One colour, or a slope from one to another."""
    one, two = _colours(rng)
    slope = np.linspace(0, 1, SIZE_PX)[:, None, None] * float(rng.integers(2)) * np.ones((1, SIZE_PX, 1))
    slope = slope if rng.random() < 0.5 else slope.transpose(1, 0, 2)
    return _bytes(one + (two - one) * slope + rng.normal(0, rng.uniform(0, 5), slope.shape))


def _text(rng: np.random.Generator) -> Pixels:
    """A page or a screen with lines of words."""
    paper, ink = (245, 20) if rng.random() < 0.6 else (20, 230)
    page = Image.new("L", (SIZE_PX, SIZE_PX), paper)
    pen = ImageDraw.Draw(page)
    height = int(rng.integers(6, 24))
    for top in range(10, SIZE_PX - height, 2 * height):
        left = 10
        while left < SIZE_PX - 40 and rng.random() < 0.95:
            wide = int(rng.integers(height // 2, 5 * height))
            for x in range(left, left + wide, max(3, height // 2)):
                pen.line((x, top + height * rng.random(), x + height / 3, top + height * rng.random()), ink, 2)
            left += wide + height
    return np.asarray(page.convert("RGB"))


def _section(rng: np.random.Generator) -> Pixels:
    """Bright wavy layers on dark: a section through the retina by OCT."""
    x = np.linspace(-1, 1, SIZE_PX)
    surface = 0.35 + 0.15 * rng.random() + 0.06 * np.cos(3 * x + rng.random()) - 0.05 * np.exp(-((x / 0.12) ** 2))
    depth = np.linspace(0, 1, SIZE_PX)[:, None] - surface[None, :]
    layers = sum(
        rng.uniform(80, 220) * np.exp(-0.5 * ((depth - at) / rng.uniform(0.008, 0.03)) ** 2)
        for at in np.cumsum(rng.uniform(0.02, 0.07, 6))
    )
    speckled = layers * rng.gamma(4.0, 0.25, depth.shape) + rng.gamma(2.0, 8.0, depth.shape)
    return _bytes(speckled[..., None].repeat(3, axis=2))


def _blobs(rng: np.random.Generator) -> Pixels:
    """Things of many shapes before a background: rooms, faces, plants."""
    one, two = _colours(rng)
    picture = Image.fromarray(_clouds(rng) if rng.random() < 0.5 else _bytes(np.full((SIZE_PX, SIZE_PX, 3), one)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 25))):
        colour = two + rng.normal(0, 50, 3) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
        x, y, wide, tall = rng.uniform(-40, SIZE_PX), rng.uniform(-40, SIZE_PX), *rng.exponential(70, 2)
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + 4 + wide, y + 4 + tall), fill=tuple(int(c) for c in np.clip(colour, 0, 255)))
    return np.asarray(picture)


def _front(rng: np.random.Generator) -> Pixels:
    """The front of an eye: skin, white, iris, pupil, a reflex."""
    skin = np.array((205, 150, 125)) * rng.uniform(0.4, 1.15)
    picture = Image.fromarray(_bytes(skin * (0.85 + 0.3 * _grid(rng, 9, 9, 1))))
    pen = ImageDraw.Draw(picture)
    x, y, r = SIZE_PX * rng.uniform(0.35, 0.65), SIZE_PX * rng.uniform(0.4, 0.6), SIZE_PX * rng.uniform(0.1, 0.3)
    pen.ellipse((x - 2.2 * r, y - 1.15 * r, x + 2.2 * r, y + 1.15 * r), fill=(225, 215, 205))
    iris = tuple(int(c) for c in rng.uniform(30, 140, 3))
    pupil = float(rng.uniform(0.25, 0.6)) * r
    pen.ellipse((x - r, y - r, x + r, y + r), fill=(iris[0], iris[1], iris[2]))
    red = (150, 40, 20) if rng.random() < 0.3 else (12, 10, 10)
    pen.ellipse((x - pupil, y - pupil, x + pupil, y + pupil), fill=red)
    pen.ellipse((x - 0.3 * r, y - 0.4 * r, x - 0.1 * r, y - 0.2 * r), fill=(255, 255, 255))
    return _bytes(np.asarray(picture) + rng.normal(0, 4, (SIZE_PX, SIZE_PX, 1)))


def _false_colours(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A retina that is inverted, grey, or has its colours in another order."""
    lit = pixels.max(axis=2, keepdims=True) > 12
    way = int(rng.integers(4))
    if way == 0:
        return np.asarray((255 - pixels) * lit, dtype=np.uint8)
    if way == 1:
        return pixels[..., [1]].repeat(3, axis=2)
    if way == 2:
        return _bytes(pixels.mean(axis=2, keepdims=True).repeat(3, axis=2))
    return np.ascontiguousarray(pixels[..., [2, 1, 0] if rng.random() < 0.6 else [1, 0, 2]])


def _torn(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A retina in pieces that were put together wrongly, as after a broken transfer."""
    parts = int(rng.choice([3, 4, 6, 8]))
    side = pixels.shape[0] // parts
    tiles = [pixels[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(parts) for c in range(parts)]
    order = rng.permutation(len(tiles))
    rows = [np.concatenate([tiles[k] for k in order[r * parts : (r + 1) * parts]], axis=1) for r in range(parts)]
    return np.ascontiguousarray(np.concatenate(rows, axis=0))


def _tinted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """An en face image as it is, or in one colour."""
    if rng.random() < 0.5:
        return pixels
    return _bytes(pixels * rng.uniform(0.2, 1.2, 3))
