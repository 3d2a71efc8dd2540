"""Invented eyes for OCT: a disc, its cup, its nerve fibres and its wall, drawn so that the type of the disc shows.

Every eye has four signs, each of a strength of 0 to 1: a focal notch, an enlarged cup, a myopic tilt with crescent, and
sclerosis (a shallow, saucer-like cup in a halo of atrophy). The type's own sign is strong as a rule and weak at times;
the others are there as well, in healthy eyes too. Loss of nerve fibres is common to all glaucoma, and begins mildly.
All numbers are ours: they resemble what textbooks print, and are nobody's statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, radians

import numpy as np

from oculard_models.volumes.types import DISC_TYPES, GLAUCOMA_TYPES, NORMAL

STREAM = 109  # of random numbers: this painter's own
FOCAL, ENLARGED, MYOPIC, SCLEROTIC = range(4)  # signs, in the order of GLAUCOMA_TYPES
DIFFUSE = (0.45, 1.0, 0.8, 0.9)  # how much of the loss is diffuse, by type
POLE = radians(70.0)  # where fibres are thickest, from the temporal side; above it is positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something missing of the rim or of the fibres, at an angle: radians from temporal, superior positive."""

    angle: float
    width: float  # radians, as the spread of a bell
    depth: float  # share that is missing in the middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Disc:
    """The opening of Bruch's membrane, an ellipse, and the zone beside it without pigment epithelium."""

    radius_mm: float
    oval: float  # height over width
    turn: float  # radians
    crescent_mm: float
    crescent_angle: float
    crescent_round: float  # 0 only at its angle, 1 a ring
    tilt_um_mm: float  # the nasal side stands up by so much


@dataclass(frozen=True, slots=True, kw_only=True)
class Cup:
    """The cup: how wide as a share of the disc, how deep below Bruch's membrane, how gently its wall goes down."""

    ratio: float
    depth_um: float
    slope: float  # width of the wall as a share of the disc's radius
    temporal: float  # the rim is thinner there
    vertical: float  # the cup is taller than wide
    notches: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fibres:
    """The nerve fibres around the disc, and what is lost of them."""

    scale: float
    poles: tuple[float, float]  # radians: where the superior and the inferior bundles are thickest
    spread: float  # radians
    loss: tuple[float, float]  # diffuse share, of the upper and of the lower half
    defects: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """What lies around and below: the macula's ganglion cells, the choroid, the shape of the eyeball."""

    ganglion: float  # scale
    retina: float  # scale of the outer retina
    choroid_um: float
    curve_um_mm2: float
    slope_um_mm: tuple[float, float]  # how the scan lies: to the nasal side, downwards
    fovea_mm: tuple[float, float]  # from the disc's centre, to the nasal side and downwards


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedEye:
    """One invented eye. Its geometry is that of a right eye; `eye` says which it is."""

    seed: int
    disc_type: str
    eye: str
    severity: float  # 0 healthy, 1 late
    signs: tuple[float, float, float, float]
    disc: Disc
    cup: Cup
    fibres: Fibres
    wall: Wall
    clarity: float  # of the media: 1 is a scan without loss of signal


def draw_eye(seed: int, disc_type: str, *, person: int | None = None, eye: str = "R") -> PaintedEye:
    """Draw one eye of a type of `DISC_TYPES`; the same arguments draw the same eye.

    What both eyes of a person share (the size of the disc, short sight, the poles) depends on `person`, if given.
    """
    if disc_type not in DISC_TYPES:
        raise ValueError(f"expected a type of {DISC_TYPES}, got `{disc_type}`")
    if eye not in ("R", "L"):
        raise ValueError(f"expected eye `R` or `L`, got `{eye}`")
    own = np.random.default_rng([STREAM, 1, seed])
    body = np.random.default_rng([STREAM, 2, seed if person is None else person])
    myopia = float(body.beta(1.3, 3.2))
    severity = 0.0 if disc_type == NORMAL else float(0.12 + 0.88 * own.beta(1.7, 2.0))
    signs = _signs(own, disc_type, myopia)
    size = float(body.normal())
    disc = _disc(own, signs, size)
    notch = _pole(own)
    fibres = _fibres(own, body, disc_type, severity, signs, notch)
    return PaintedEye(
        seed=seed,
        disc_type=disc_type,
        eye=eye,
        severity=severity,
        signs=signs,
        disc=disc,
        cup=_cup(own, severity, signs, size, notch),
        fibres=fibres,
        wall=_wall(own, body, severity, signs),
        clarity=float(np.clip(1.0 - own.gamma(1.6, 0.09) - 0.12 * signs[SCLEROTIC] * own.random(), 0.45, 1.0)),
    )


def _signs(rng: np.random.Generator, disc_type: str, myopia: float) -> tuple[float, float, float, float]:
    """Draw how strong each sign is. Every eye has some of each; short sight is common in all types."""
    signs = rng.beta((0.7, 1.1, 1.0, 0.8), (4.2, 4.2, 5.0, 4.2))
    signs[MYOPIC] = max(float(signs[MYOPIC]), 0.75 * myopia)
    if disc_type != NORMAL:
        own = GLAUCOMA_TYPES.index(disc_type)
        signs[own] = max(float(signs[own]), 0.32 + 0.68 * float(rng.beta(2.2, 1.6)))
    focal, enlarged, myopic, sclerotic = (float(sign) for sign in signs)
    return focal, enlarged, myopic, sclerotic


def _pole(rng: np.random.Generator) -> float:
    """Draw where a focal loss sits: at the poles, twice as often below."""
    side = -1.0 if rng.random() < 0.66 else 1.0
    return float(side * np.clip(rng.normal(POLE, radians(13.0)), radians(35.0), radians(110.0)))


def _disc(rng: np.random.Generator, signs: tuple[float, ...], size: float) -> Disc:
    """Draw the disc. Myopic discs are oval, turned and tilted, with a temporal crescent; sclerotic ones have a halo."""
    myopic, sclerotic = signs[MYOPIC], signs[SCLEROTIC]
    crescent, halo = 0.75 * myopic, 0.55 * sclerotic
    return Disc(
        radius_mm=float(np.clip(0.82 + 0.08 * size + 0.05 * signs[ENLARGED] + rng.normal(0.0, 0.02), 0.58, 1.12)),
        oval=float(np.clip(1.08 + 0.30 * myopic + rng.normal(0.0, 0.06), 0.9, 1.6)),
        turn=float(rng.normal(0.0, radians(6.0 + 14.0 * myopic))),
        crescent_mm=float(max(crescent, halo) * rng.uniform(0.7, 1.2) + abs(rng.normal(0.0, 0.04))),
        crescent_angle=float(rng.normal(radians(-12.0), radians(18.0))),
        crescent_round=float(np.clip(halo / (crescent + halo + 0.05) + rng.normal(0.0, 0.12), 0.0, 1.0)),
        tilt_um_mm=float(250.0 * myopic + rng.normal(15.0, 30.0)),
    )


def _cup(rng: np.random.Generator, severity: float, signs: tuple[float, ...], size: float, notch: float) -> Cup:
    """Draw the cup. All glaucoma widens it; the types differ in how: a notch, evenly and deep, or as a saucer."""
    focal, enlarged, myopic, sclerotic = signs
    wide = 0.40 + 0.06 * size + rng.normal(0.0, 0.09) + 0.16 * severity
    wide += 0.33 * enlarged * (0.55 + 0.45 * severity) + 0.16 * sclerotic - 0.05 * myopic
    deep = rng.normal(190.0, 60.0) + 330.0 * enlarged + 60.0 * severity
    deep *= (1.0 - 0.62 * sclerotic) * (1.0 - 0.40 * myopic)
    gap = Gap(
        angle=notch + float(rng.normal(0.0, radians(5.0))),
        width=radians(rng.uniform(11.0, 24.0)),
        depth=float(np.clip(0.85 * focal * (0.6 + 0.4 * severity), 0.0, 0.95)),
    )
    return Cup(
        ratio=float(np.clip(wide, 0.08, 0.90)),
        depth_um=float(np.clip(deep, 30.0, 700.0)),
        slope=float(np.clip(rng.normal(0.24, 0.05) + 0.50 * sclerotic + 0.18 * myopic, 0.12, 0.95)),
        temporal=float(0.06 + 0.12 * myopic + rng.normal(0.0, 0.02)),
        vertical=float(rng.normal(0.02, 0.035) + 0.04 * severity),
        notches=(gap,),
    )


def _fibres(
    rng: np.random.Generator,
    body: np.random.Generator,
    disc_type: str,
    severity: float,
    signs: tuple[float, ...],
    notch: float,
) -> Fibres:
    """Draw the fibres: the diffuse loss, the wedge below a notch, and defects that belong to no type."""
    shift = radians(16.0) * signs[MYOPIC]  # the bundles of short-sighted eyes lie nearer to the macula
    above, below = body.normal(POLE, radians(6.0), 2)
    diffuse = 0.0 if disc_type == NORMAL else DIFFUSE[GLAUCOMA_TYPES.index(disc_type)] * (0.05 + 0.55 * severity)
    lean = rng.normal(0.0, 0.28)  # one half of the eye is worse
    defects = [Gap(angle=notch, width=radians(rng.uniform(9.0, 20.0)), depth=min(0.95, 1.05 * signs[FOCAL]))]
    for _ in range(rng.poisson(0.15 if disc_type == NORMAL else 0.25 + 0.7 * severity)):
        deep = rng.uniform(0.12, 0.35) if disc_type == NORMAL else rng.uniform(0.2, 0.85)
        angle = _pole(rng) if rng.random() < 0.7 else float(rng.uniform(-pi, pi))
        defects.append(Gap(angle=angle, width=radians(rng.uniform(6.0, 22.0)), depth=float(deep)))
    return Fibres(
        scale=float(np.clip(body.normal(1.0, 0.09) * rng.normal(1.0, 0.03), 0.75, 1.3)),
        poles=(float(above - shift), float(shift - below)),
        spread=radians(float(np.clip(body.normal(25.0, 2.5), 18.0, 33.0))),
        loss=(float(np.clip(diffuse * (1.0 + lean), 0.0, 0.85)), float(np.clip(diffuse * (1.0 - lean), 0.0, 0.85))),
        defects=tuple(defects),
    )


def _wall(rng: np.random.Generator, body: np.random.Generator, severity: float, signs: tuple[float, ...]) -> Wall:
    """Draw the rest. A sclerotic eye's choroid is thin; a myopic eye is more of a bowl."""
    return Wall(
        ganglion=float(np.clip(body.normal(1.0, 0.07) - 0.08 * signs[MYOPIC] - 0.05 * severity, 0.6, 1.25)),
        retina=float(np.clip(body.normal(1.0, 0.05), 0.85, 1.15)),
        choroid_um=float(
            np.clip(body.normal(210.0, 45.0) * (1.0 - 0.45 * signs[SCLEROTIC] - 0.25 * signs[MYOPIC]), 55.0, 350.0)
        ),
        curve_um_mm2=float(rng.normal(6.0, 5.0) + 14.0 * signs[MYOPIC]),
        slope_um_mm=(float(rng.normal(0.0, 22.0)), float(rng.normal(0.0, 14.0))),
        fovea_mm=(
            float(-np.clip(body.normal(4.45, 0.25), 3.8, 5.1)),
            float(np.clip(body.normal(0.45, 0.25), -0.2, 1.1)),
        ),
    )
