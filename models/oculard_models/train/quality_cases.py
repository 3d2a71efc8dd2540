"""Cases for the quality gate: a source is photographed anew, spoiled by a known amount, and labelled with that."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log, nan, pi
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.data import degrade
from oculard_models.data.degrade import Scene
from oculard_models.preprocess import Pixels
from oculard_models.train.quality_case import Case, Labels
from oculard_models.train.quality_others import other_picture
from oculard_models.train.quality_sources import CLEAR, SCENE_PX, Source, painted_source, seen

LABELS = ("fundus", "dark", "bright", "blur", "cut", "haze", "haze_weight", "disc", "disc_x", "disc_y")

# Severities: 0 nothing, 1 where `limited` begins, 2 where `ungradable` does.
BLUR_LIMITED, BLUR_UNGRADABLE = 0.006, 0.016  # deviation of the blur in diameters: small vessels, then all are lost
DARK_LIMITED, DARK_UNGRADABLE = 40.0, 15.0  # mean luminance of the field: below, 8 bits leave too few steps
DIM = 14.0  # luminance of a place where nothing is to be seen
DIM_LIMITED, DIM_UNGRADABLE = 0.30, 0.60  # share of such places
BURNT_LIMITED, BURNT_UNGRADABLE = 0.10, 0.50  # share of the field whose green (where the vessels are) is at its end
CUT_LIMITED, CUT_UNGRADABLE = 0.75, 0.50  # share of the circle in the picture
BASE_BLUR = 0.0015  # of a sharp photograph at the size that the gate sees
WORST = 3.0
MILD = 1.2  # up to this severity of anything but blur a photograph's haze can still be scored
STEP = 0.33  # a point of CSDI's score for every factor exp(-0.33) in contrast: slope over its 23 photographs
BLIND, BLIND_HAZE = 1.7, 8.7  # beyond these nobody can say whether a disc is there

# How much a case counts where haze is learnt. A veil of ours is never learnt from: it is measured on.
SCORED, CLEAR_WEIGHT, BLURRED_WEIGHT = 1.0, 0.3, 0.1
UNSCORED = ("veiled", "veiled!", "mixed", "no-disc", "disc-centred")  # veiled by us, or another scale of detail
BLURRED = ("defocused", "shaken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A scene while it is being spoiled."""

    scene: Scene
    disc: tuple[float, float] | None
    blur: float = BASE_BLUR


Spoiling = Callable[[Shot, np.random.Generator], Shot]


def case_of(source: Source, kind: str, rng: np.random.Generator) -> Case:
    """Photograph a source anew in one of KINDS."""
    shot = _colours(_geometry(source, kind, rng), rng)
    before = detail(shot.scene)
    spoiled = KINDS[kind](shot, rng)
    labels = _labels(spoiled)
    labels |= _disc(spoiled, labels, _haze_by_contrast(source, before, detail(spoiled.scene)))
    labels |= _haze(source, kind, labels)
    picture = seen(_framed(_recorded(spoiled.scene, rng), rng))
    return Case(picture=picture, labels=labels, group=source.group, kind=kind)


def as_taken(source: Source) -> Case:
    """Make a case of a photograph as it is: its haze is known however dark it may be."""
    shot = Shot(scene=source.scene, disc=source.disc)
    labels = _labels(shot)
    labels |= _disc(shot, labels, source.haze or CLEAR)
    labels |= {"haze": source.haze or CLEAR, "haze_weight": CLEAR_WEIGHT if source.haze is None else SCORED}
    return Case(picture=source.seen, labels=labels, group=source.group, kind="as-taken")


def as_mirrored(source: Source) -> Case:
    """Make a case of a photograph with left and right exchanged: a right eye becomes a left one."""
    case = as_taken(source)
    labels = case.labels | {"disc_x": -case.labels["disc_x"]}
    picture = np.ascontiguousarray(case.picture[:, :, ::-1])
    return Case(picture=picture, labels=labels, group=case.group, kind="as-taken, mirrored")


def painted_case(seed: int, kind: str, rng: np.random.Generator) -> Case:
    """Paint an eye, and photograph it anew."""
    return case_of(painted_source(seed), kind, rng)


def other_case(source: Source, faces: Sequence[Pixels], rng: np.random.Generator) -> Case:
    """Draw something that is no retina, some of it out of a photograph: all that is known is that it is none."""
    labels = dict.fromkeys(LABELS, nan) | {"fundus": 0.0, "disc": 0.0, "haze_weight": 0.0}
    picture = seen(_framed(other_picture(rng, source.scene.pixels, faces), rng))
    return Case(picture=picture, labels=labels, group=source.group, kind="other")


def _framed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Put black around a picture, as cameras do."""
    across, down = (int(n) for n in rng.integers(0, 1 + pixels.shape[0] // 3, 2) * (rng.random() < 0.5))
    return np.pad(pixels, ((down // 4, down // 4), (across, across), (0, 0)))


def detail(scene: Scene) -> float:
    """Return the contrast of detail in the inner field: vessels and disc margin, in shares of local brightness."""
    green = np.asarray(Image.fromarray(scene.pixels[..., 1]).reduce(2))
    fine, coarse = (_blurred(green, share * scene.diameter_px / 2) for share in (0.003, 0.016))
    x, y = scene.places()
    inner = (np.hypot(x, y) < 0.85) & (scene.inside > 0.99)
    inside = inner[::2, ::2]
    return float(((fine - coarse) / (coarse + 10.0))[inside].std()) if inside.any() else 0.0


def _blurred(plane: npt.NDArray[np.uint8], radius_px: float) -> npt.NDArray[np.float32]:
    return np.asarray(degrade.blurred(plane, radius_px), dtype=np.float32)


def _geometry(source: Source, kind: str, rng: np.random.Generator) -> Shot:
    """Choose the field: that of the photograph, or a smaller one within it."""
    scene, disc = source.scene, source.disc
    at, share = (0.0, 0.0), 1.0
    if kind == "disc-centred" and disc is not None:
        share = float(rng.uniform(0.45, 0.70))
        at = (disc[0] + rng.uniform(-0.12, 0.12) * share, disc[1] + rng.uniform(-0.12, 0.12) * share)
    elif kind == "no-disc" and disc is not None:
        share = float(rng.uniform(0.40, 0.60))
        away = -1.0 if disc[0] > 0 else 1.0
        at = (away * (share - abs(disc[0]) + rng.uniform(0.25, 0.40)), rng.uniform(-0.25, 0.25))
    elif rng.random() < 0.4:
        share = float(rng.uniform(0.75, 1.0))
        at = (rng.uniform(-1, 1) * (1.0 - share), rng.uniform(-1, 1) * (1.0 - share))
    if share < 1.0:
        scene = degrade.reframed(scene, at, share, SCENE_PX)
        disc = ((disc[0] - at[0]) / share, (disc[1] - at[1]) / share) if disc is not None else None
    if rng.random() < 0.5:
        scene, disc = degrade.flipped(scene), (-disc[0], disc[1]) if disc is not None else None
    return Shot(scene=scene, disc=disc, blur=BASE_BLUR / share)


def _colours(shot: Shot, rng: np.random.Generator) -> Shot:
    """Vary the camera a little; the mean light stays within what photographs have."""
    gains = np.exp(rng.normal(0.0, (0.10, 0.12, 0.15)) + rng.normal(0.0, 0.12))
    scene = degrade.tinted(shot.scene, (gains[0], gains[1], gains[2]), float(np.exp(rng.normal(0.0, 0.10))))
    return Shot(scene=scene, disc=shot.disc, blur=shot.blur)


def _plain(shot: Shot, _: np.random.Generator) -> Shot:
    return shot


def _defocused(shot: Shot, rng: np.random.Generator) -> Shot:
    return _blurring(shot, degrade.defocused, float(np.exp(rng.uniform(log(0.002), log(0.035)))))


def _strongly_defocused(shot: Shot, rng: np.random.Generator) -> Shot:
    return _blurring(shot, degrade.defocused, float(rng.uniform(0.020, 0.030)))


def _shaken(shot: Shot, rng: np.random.Generator) -> Shot:
    """A line's deviation is its length / sqrt(12), and it blurs along one way only."""
    length, angle = float(np.exp(rng.uniform(log(0.02), log(0.12)))), float(rng.uniform(0, pi))
    return _blurring(shot, lambda scene, sigma: degrade.shaken(scene, 4.0 * sigma, angle), length / 4.0)


def _blurring(shot: Shot, blur: Callable[[Scene, float], Scene], sigma: float) -> Shot:
    scene = blur(shot.scene, sigma)
    return Shot(scene=scene, disc=shot.disc, blur=float(np.hypot(shot.blur, sigma)))


def _veiled(shot: Shot, rng: np.random.Generator) -> Shot:
    return _veiling(shot, float(rng.uniform(0.2, 3.0)), rng)


def _strongly_veiled(shot: Shot, rng: np.random.Generator) -> Shot:
    return _veiling(shot, float(rng.uniform(2.2, 3.0)), rng)


def _veiling(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """Scattered light has the lens's colour: grey-green to yellow, sometimes grey."""
    light = rng.uniform(60, 150)
    tint = (light * rng.uniform(0.7, 1.05), light * rng.uniform(0.8, 1.1), light * rng.uniform(0.25, 0.9))
    lean = (float(rng.normal(0, 0.35)), float(rng.normal(0, 0.35)))
    return Shot(scene=degrade.veiled(shot.scene, strength, tint, lean), disc=shot.disc, blur=shot.blur)


def _darkened(shot: Shot, rng: np.random.Generator) -> Shot:
    return _relit(shot, degrade.exposed(shot.scene, float(rng.uniform(-4.0, -0.5))))


def _strongly_darkened(shot: Shot, rng: np.random.Generator) -> Shot:
    light = float(np.mean(shot.scene.pixels @ np.array((0.299, 0.587, 0.114))) / max(0.05, shot.scene.inside.mean()))
    return _relit(shot, degrade.exposed(shot.scene, float(np.log2(rng.uniform(5.0, 11.0) / max(light, 1.0)))))


def _brightened(shot: Shot, rng: np.random.Generator) -> Shot:
    return _relit(shot, degrade.exposed(shot.scene, float(rng.uniform(0.4, 3.0))))


def _strongly_brightened(shot: Shot, rng: np.random.Generator) -> Shot:
    green = float(np.median(shot.scene.pixels[..., 1][shot.scene.inside > 0.5]))
    return _relit(shot, degrade.exposed(shot.scene, float(np.log2(255.0 / max(green, 8.0)) + rng.uniform(0.3, 1.0))))


def _uneven(shot: Shot, rng: np.random.Generator) -> Shot:
    """A shadow, a bright side, a crescent, or two of them: most such photographs can still be read."""
    scene = shot.scene
    if rng.random() < 0.7:
        turn, way = rng.uniform(0, 2 * pi), rng.uniform(0.3, 1.0)
        stops = float(rng.uniform(-5.0, -1.0) if rng.random() < 0.6 else rng.uniform(0.4, 1.5))
        scene = degrade.shaded(scene, stops, (way * np.cos(turn), way * np.sin(turn)), float(rng.uniform(0.25, 0.7)))
    if rng.random() < 0.6:
        light = rng.uniform(80, 230)
        tint = (light * rng.uniform(0.6, 1.1), light * rng.uniform(0.8, 1.1), light * rng.uniform(0.2, 1.0))
        scene = degrade.glared(scene, float(rng.uniform(0, 2 * pi)), float(rng.uniform(0.1, 0.7)), tint)
    return _relit(shot, scene)


def _cut(shot: Shot, rng: np.random.Generator) -> Shot:
    return _relit(shot, degrade.cut_off(shot.scene, float(rng.uniform(0.35, 0.95)), float(rng.uniform(0, 2 * pi))))


def _banded(shot: Shot, rng: np.random.Generator) -> Shot:
    """Cut at both ends, as by a frame that is too low: always across, never more than most of the circle."""
    first, second, turn = rng.uniform(0.60, 0.95), rng.uniform(0.60, 0.95), rng.normal(pi / 2, 0.1)
    scene = degrade.cut_off(degrade.cut_off(shot.scene, float(first), float(turn)), float(second), float(turn + pi))
    return _relit(shot, scene)


def _strongly_cut(shot: Shot, rng: np.random.Generator) -> Shot:
    return _relit(shot, degrade.cut_off(shot.scene, float(rng.uniform(0.30, 0.42)), float(rng.uniform(0, 2 * pi))))


def _mixed(shot: Shot, rng: np.random.Generator) -> Shot:
    """Two things at once, as in life."""
    some: list[Spoiling] = [_defocused, _veiled, _darkened, _brightened, _uneven, _cut]
    first, second = rng.permutation(len(some))[:2]
    return some[int(second)](some[int(first)](shot, rng), rng)


def _relit(shot: Shot, scene: Scene) -> Shot:
    return Shot(scene=scene, disc=shot.disc, blur=shot.blur)


KINDS: Mapping[str, Spoiling] = MappingProxyType(
    {
        "clean": _plain,
        "disc-centred": _plain,
        "no-disc": _plain,
        "defocused": _defocused,
        "shaken": _shaken,
        "veiled": _veiled,
        "darkened": _darkened,
        "brightened": _brightened,
        "uneven": _uneven,
        "cut": _cut,
        "band": _banded,
        "mixed": _mixed,
        "defocused!": _strongly_defocused,  # those with an exclamation mark are ungradable: for measuring
        "veiled!": _strongly_veiled,
        "darkened!": _strongly_darkened,
        "brightened!": _strongly_brightened,
        "cut!": _strongly_cut,
    }
)


def _recorded(scene: Scene, rng: np.random.Generator) -> Pixels:
    """Record a scene as cameras do: a sensor's noise, a size, JPEG or not."""
    noisy = degrade.noisy(scene, float(rng.uniform(0.0, 3.0)), rng)
    picture = Image.fromarray(noisy.pixels)
    size = int(rng.integers(340, SCENE_PX + 1))
    picture = picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    if rng.random() < 0.6:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(70, 97)))
        picture = Image.open(file)
    return np.asarray(picture)


def _labels(shot: Shot) -> Labels:
    """Say how far every severity of a case has come."""
    scene = shot.scene
    pixels, inside = scene.pixels[::2, ::2], scene.inside[::2, ::2] > 0.5
    luminance = (pixels @ np.array((0.299, 0.587, 0.114), dtype=np.float32))[inside]
    green = pixels[..., 1][inside]
    labels = dict.fromkeys(LABELS, nan) | {
        "fundus": 1.0,
        "dark": max(
            _dark(float(luminance.mean())), _straight(float((luminance < DIM).mean()), 0.0, DIM_LIMITED, DIM_UNGRADABLE)
        ),
        "bright": _straight(float((green >= 250).mean()), 0.0, BURNT_LIMITED, BURNT_UNGRADABLE),
        "blur": _severity(1.0 + log(shot.blur / BLUR_LIMITED) / log(BLUR_UNGRADABLE / BLUR_LIMITED)),
        "cut": _severity(1.0 + (CUT_LIMITED - degrade.visible_share(scene)) / (CUT_LIMITED - CUT_UNGRADABLE)),
    }
    if max(labels["dark"], labels["bright"]) > 2.6:
        labels |= {"fundus": nan, "blur": nan}  # nothing is left that tells
    return labels


def _dark(luminance: float) -> float:
    return _severity(1.0 + log(DARK_LIMITED / max(luminance, 1.0)) / log(DARK_LIMITED / DARK_UNGRADABLE))


def _straight(share: float, none: float, limited: float, ungradable: float) -> float:
    """Turn a share into a severity: straight lines between none, limited and ungradable."""
    return float(np.interp(share, [none, limited, ungradable, 2 * ungradable - limited], [0.0, 1.0, 2.0, WORST]))


def _severity(value: float) -> float:
    return min(max(value, 0.0), WORST)


def _haze(source: Source, kind: str, labels: Labels) -> Labels:
    """The graders' score, or CLEAR where nobody scored and there is none to be seen; with how much it counts.

    A clear photograph that is blurred stays a clear one: blur takes contrast too, but not at every scale.
    """
    if kind in UNSCORED or source.painted or max(labels["dark"], labels["bright"], labels["cut"]) > MILD:
        return {"haze": nan, "haze_weight": 0.0}
    base = CLEAR if source.haze is None else source.haze
    if kind in BLURRED:
        return {"haze": base, "haze_weight": BLURRED_WEIGHT if base <= 3.0 else 0.0}
    return {"haze": base, "haze_weight": CLEAR_WEIGHT if source.haze is None else SCORED}


def _haze_by_contrast(source: Source, before: float, after: float) -> float:
    """Guess the score of a photograph that lost contrast."""
    return (CLEAR if source.haze is None else source.haze) + log((before + 1e-4) / (after + 1e-4)) / STEP


def _disc(shot: Shot, labels: Labels, haze: float) -> Labels:
    """Whether and where a disc is to be seen; unknown where it lies on the edge or nobody could see it."""
    worst = max(labels["dark"], labels["bright"], 0.0 if np.isnan(labels["blur"]) else labels["blur"])
    if shot.disc is None or worst > BLIND or haze > BLIND_HAZE:
        return {"disc": nan}
    size = shot.scene.pixels.shape[0]
    x, y = ((place * (1.0 - 2.0 * degrade.MARGIN) + 1.0) * size / 2 for place in shot.disc)
    column, row = (int(np.clip(at, 0, size - 1)) for at in (x, y))
    away = float(np.hypot(*shot.disc))
    if away > 1.15:
        return {"disc": 0.0}
    light = float(shot.scene.pixels[row, column].mean())
    if away > 0.93 or shot.scene.inside[row, column] < 0.9 or not 25 < light < 245:
        return {"disc": nan}
    return {"disc": 1.0, "disc_x": shot.disc[0], "disc_y": shot.disc[1]}
