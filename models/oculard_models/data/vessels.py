"""The vessel tree of a painted right eye, as ribbons that a painter can fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from oculard_models.data.traits import Traits

Kind = Literal["artery", "vein"]
Points = npt.NDArray[np.float64]

# Where the main vessels of a right eye run: the three points that, with the disc, control a cubic curve. Unit: the
# field's radius, from the middle of the field (the fovea), x to the right (nasal), y downwards.
COURSES: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.48, -0.55), (-0.10, -0.66), (-1.02, -0.22)),  # superior temporal
    ((0.48, 0.55), (-0.10, 0.64), (-1.02, 0.26)),  # inferior temporal
    ((0.62, -0.45), (0.78, -0.50), (0.98, -0.62)),  # superior nasal
    ((0.62, 0.40), (0.78, 0.52), (0.94, 0.66)),  # inferior nasal
    ((0.55, -0.40), (0.40, -0.75), (0.18, -1.05)),  # upwards
    ((0.56, 0.40), (0.46, 0.75), (0.30, 1.05)),  # downwards
)
TEMPORAL = 2  # the first courses carry the branches around the macula
MAIN_STEPS, BRANCH_STEPS = 72, 32  # points of one vessel: enough that its waves look round
MAIN_RAMP, BRANCH_RAMP = np.linspace(0.0, 1.0, MAIN_STEPS), np.linspace(0.0, 1.0, BRANCH_STEPS)


@dataclass(frozen=True, slots=True)
class Vessel:
    """One vessel: its centre line (points x 2) and its width at every point, in radii of the field."""

    kind: Kind
    line: Points
    width: Points
    strength: float  # 1 opaque; twigs are fainter

    def ribbon(self, share: float, margin: float) -> Points:
        """Return the outline, 2 * points x 2, of the middle `share` of the vessel, narrower by `margin` each side."""
        across, _ = _across(self.line)
        half = across * np.maximum(self.width[:, None] * share / 2 - margin, 0.0)
        return np.concatenate([self.line + half, (self.line - half)[::-1]])


def grow(traits: Traits, disc: tuple[float, float], rng: np.random.Generator) -> list[Vessel]:
    """Grow the arteries and veins of one right eye, main vessels before branches before twigs."""
    main: list[Vessel] = []
    for index, course in enumerate(COURSES):
        for kind, width in (("vein", traits.vein_width), ("artery", traits.artery_width)):
            calibre = width * (1.0 if index < TEMPORAL else 0.75)
            main.append(_main(kind, course, disc, calibre, traits.winding, rng))  # type: ignore[arg-type]  # literals
    branches = [_branch(v, traits.winding, rng) for v in main[: 2 * TEMPORAL] for _ in range(5)]
    branches += [_branch(v, traits.winding, rng) for v in main[2 * TEMPORAL :] for _ in range(2)]
    twigs = [_branch(v, traits.winding, rng) for v in branches if rng.random() < 0.7]
    return main + branches + twigs


def _main(
    kind: Kind,
    course: tuple[tuple[float, float], ...],
    disc: tuple[float, float],
    width: float,
    winding: float,
    rng: np.random.Generator,
) -> Vessel:
    """One main vessel along its course; the artery of a pair runs outside its vein, more or less."""
    control = np.array([disc, *course])
    control[1:, 1] *= 1.10 if kind == "artery" else 0.96
    control[0] += rng.normal(0.0, 0.012, 2)
    control[1:] += rng.normal(0.0, 0.055, (3, 2))
    t = MAIN_RAMP[:, None]
    line = (1 - t) ** 3 * control[0] + 3 * (1 - t) ** 2 * t * control[1]
    line = line + 3 * (1 - t) * t**2 * control[2] + t**3 * control[3]
    return Vessel(kind, _wind(line, winding, rng), width * (1.0 - 0.4 * MAIN_RAMP), 1.0)


def _branch(parent: Vessel, winding: float, rng: np.random.Generator) -> Vessel:
    """A branch that leaves its parent at some point, at some angle, and bends on."""
    steps = len(parent.line)
    at = int(rng.integers(steps // 5, steps - 4))
    ahead = parent.line[at + 2] - parent.line[at - 1]
    side = rng.choice([-1.0, 1.0])
    angle = np.arctan2(ahead[1], ahead[0]) + side * rng.uniform(0.5, 1.1)
    bend = -side * rng.uniform(0.0, 0.9)
    length = rng.uniform(0.25, 0.55) * (1.0 if parent.strength == 1.0 else 0.6)
    heading = angle + bend * BRANCH_RAMP
    line = np.empty((BRANCH_STEPS, 2))
    line[:, 0] = parent.line[at, 0] + np.cumsum(np.cos(heading)) * (length / BRANCH_STEPS)
    line[:, 1] = parent.line[at, 1] + np.cumsum(np.sin(heading)) * (length / BRANCH_STEPS)
    width = parent.width[at] * 0.62 * (1.0 - 0.5 * BRANCH_RAMP)
    return Vessel(parent.kind, _wind(line, winding, rng), width, parent.strength * 0.75)


def _wind(line: Points, winding: float, rng: np.random.Generator) -> Points:
    """Push a line sideways in waves; `winding` 0 leaves it smooth. Its start stays where it is."""
    across, pace = _across(line)
    far = np.cumsum(pace)
    (long, short), phases = rng.uniform((0.20, 0.11), (0.28, 0.15)), rng.uniform(0.0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * far / long + phases[0]) + 0.35 * np.sin(2 * np.pi * far / short + phases[1])
    rise = np.minimum(1.0, (far - far[0]) / 0.12)  # no jump where it leaves the disc or its parent
    return np.asarray(line + across * (waves * rise * 0.042 * winding)[:, None])


def _across(line: Points) -> tuple[Points, Points]:
    """Return the unit normal at every point, points x 2, and the distance from each point to the next."""
    ahead = np.empty_like(line)
    ahead[:-1] = line[1:] - line[:-1]
    ahead[-1] = ahead[-2]
    pace = np.hypot(ahead[:, 0], ahead[:, 1])
    across = np.empty_like(line)
    across[:, 0], across[:, 1] = -ahead[:, 1], ahead[:, 0]
    across /= pace[:, None] + 1e-9
    return across, pace
