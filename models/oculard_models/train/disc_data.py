"""What the optic disc is learnt from: painted eyes, outlined photographs, and copies of them in other light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from oculard_models.data import degrade
from oculard_models.data.degrade import Scene
from oculard_models.data.masked import Kept, Masked, MaskedWrong, as_kept, read_kept, read_table
from oculard_models.data.paint import paint_with_disc
from oculard_models.data.person import sample_person
from oculard_models.manifest import Crop, InputSpec

STREAM = 107  # of random numbers: see data/paint.py
PAINT_SEEDS = 2_100_000_000  # what is painted for this from here on: no other training or test goes there
PAINTED_PX = 256
MEAN, STD = (0.45, 0.25, 0.15), (0.25, 0.20, 0.15)  # of photographs of the retina, roughly
VEILED, SHADED, BLURRED = 0.4, 0.3, 0.3  # of the copies


def disc_spec(size_px: int) -> InputSpec:
    """Return what a network of the disc sees: the field of a photograph, every eye as it is."""
    return InputSpec(
        kind="fundus",
        tensor="image",
        size_px=(size_px, size_px),
        mean=MEAN,
        std=STD,
        crop=Crop.CIRCLE,
        mirror_left=False,
        max_images=1,
    )


def painted(count: int, spec: InputSpec, seed: int) -> Iterator[Kept]:
    """Paint photographs with their discs, right eyes and left ones; the same seed gives the same."""
    for number in range(count):
        rng = np.random.default_rng([STREAM, seed, number])
        pixels, disc = paint_with_disc(
            sample_person(rng), "RL"[number % 2], PAINT_SEEDS + seed * 1_000_003 + number, PAINTED_PX
        )
        nowhere = Path(f"painted-{number}")
        yield as_kept(Masked(name=nowhere.name, image=nowhere, mask=nowhere, group=nowhere.name), pixels, disc, spec)


def photographs(folder: Path, spec: InputSpec) -> tuple[Kept, ...]:
    """Read the photographs of IDRiD with their masks; no patients are named, each counts as one. Raises MaskedWrong."""
    kept = read_kept(read_table(folder / "labels.csv", mask="disc_mask"), spec)
    if len(kept) < 4:
        raise MaskedWrong(f"{folder}: {len(kept)} photographs with masks are too few to learn from and to measure on")
    return kept


def in_other_light(kept: Sequence[Kept], copies: int, seed: int) -> list[Kept]:
    """Return each picture as it is and `copies` - 1 times with other colours, haze, shadows and blur.

    All were taken with one camera: what differs between cameras is laid over them. Names stay, groups as well.
    """
    return [
        one if copy == 0 else _spoiled(one, np.random.default_rng([STREAM, seed, 1, number, copy]))
        for copy in range(copies)
        for number, one in enumerate(kept)
    ]


def _spoiled(one: Kept, rng: np.random.Generator) -> Kept:
    """Take the photograph with another camera, sometimes through a cloudy lens, with a shadow, or out of focus."""
    pixels = np.ascontiguousarray(one.plane.transpose(1, 2, 0))
    scene = Scene(pixels=pixels, inside=(pixels.max(axis=2) > 8).astype(np.float32))
    gains = np.exp(rng.normal(0.0, (0.12, 0.16, 0.25)) + rng.normal(0.0, 0.15))
    scene = degrade.tinted(scene, (gains[0], gains[1], gains[2]), float(np.exp(rng.normal(0.0, 0.15))))
    veils, shades, blurs = rng.random(3) < (VEILED, SHADED, BLURRED)
    light, at = rng.uniform(60.0, 150.0), rng.uniform(-0.8, 0.8, 2)
    tint = (light * rng.uniform(0.7, 1.1), light * rng.uniform(0.7, 1.1), light * rng.uniform(0.25, 0.9))
    strength, stops, sigma = rng.uniform(0.2, 1.4), rng.uniform(-2.0, 0.8), rng.uniform(0.003, 0.015)
    if shades:
        scene = degrade.shaded(scene, float(stops), (float(at[0]), float(at[1])), 0.5)
    if veils:
        scene = degrade.veiled(scene, float(strength), tint, (float(rng.normal(0, 0.3)), float(rng.normal(0, 0.3))))
    if blurs:
        scene = degrade.defocused(scene, float(sigma))
    return replace(one, plane=np.ascontiguousarray(scene.pixels.transpose(2, 0, 1)))
