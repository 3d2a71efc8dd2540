"""Invented people with and without glaucoma for the study of the disc types: as many eyes as in An 2021.

The counts of healthy and glaucomatous eyes are the paper's; how the types divide is not published, and ours. A stated
share of the labels is wrong, as with doctors: labels are exchanged between eyes, so that their counts stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from oculard_models.data.oct_eye import PaintedEye, draw_eye
from oculard_models.volumes.types import DISC_TYPES, NORMAL

STREAM = 113  # of random numbers
COUNTS: Mapping[str, int] = MappingProxyType(  # An 2021: 156 healthy, 798 with glaucoma
    {
        NORMAL: 156,
        "focal-ischemia": 217,
        "generalized-enlargement": 284,
        "myopic": 193,
        "senile-sclerosis": 104,
    }
)
EYES = sum(COUNTS.values())
PAIRED = 0.55  # of the eyes have a partner of the same type in the cohort
MIXED = 0.08  # more of the eyes have a partner of another type of glaucoma
WRONG = 0.05  # of the labels
PLACES = 10**6  # seeds of one cohort


@dataclass(frozen=True, slots=True, kw_only=True)
class OctEye:
    """One eye of the study: what it is, what its label says, and from what it is drawn."""

    eye_id: str
    person: str
    eye: str
    disc_type: str
    label: str
    seed: int
    person_seed: int

    def draw(self) -> PaintedEye:
        """Draw the eye."""
        return draw_eye(self.seed, self.disc_type, person=self.person_seed, eye=self.eye)


def glaucoma_cohort(
    seed: int, eyes: int = EYES, *, counts: Mapping[str, int] = COUNTS, wrong: float = WRONG
) -> tuple[OctEye, ...]:
    """Draw the eyes of a study in random order; the types divide as `counts` do; the same call draws the same eyes."""
    rng = np.random.default_rng([STREAM, seed])
    types = _types(eyes, counts)
    partners = _partners(rng, types)
    rng.shuffle(partners)
    order = [one for pair in partners for one in pair]
    labels = _labels(rng, [types[one] for one in order], wrong)
    rows: list[OctEye] = []
    for number, pair in enumerate(partners):
        sides = "RL" if len(pair) == 2 else "RL"[int(rng.integers(2))]
        for side, one in zip(sides, pair, strict=True):
            rows.append(
                OctEye(
                    eye_id=f"oct-{seed}-{number:04d}-{side}",
                    person=f"oct-{seed}-{number:04d}",
                    eye=side,
                    disc_type=types[one],
                    label=labels[len(rows)],
                    seed=seed * PLACES + one,
                    person_seed=seed * PLACES + number,
                )
            )
    return tuple(rows)


def _types(eyes: int, counts: Mapping[str, int]) -> list[str]:
    """The types of so many eyes, in proportion; the largest remainders are rounded up."""
    total = sum(counts.values())
    each = {name: divmod(counts[name] * eyes, total) for name in DISC_TYPES}
    left = eyes - sum(whole for whole, _ in each.values())
    rounded_up = sorted(each, key=lambda name: -each[name][1])[:left]
    return [name for name in DISC_TYPES for _ in range(each[name][0] + (name in rounded_up))]


def _partners(rng: np.random.Generator, types: list[str]) -> list[list[int]]:
    """Divide eyes into people: pairs of a type, some pairs of two types of glaucoma, single eyes."""
    people: list[list[int]] = []
    left: list[int] = []
    for name in DISC_TYPES:
        own = [int(one) for one in rng.permutation([at for at, kind in enumerate(types) if kind == name])]
        pairs = round(PAIRED * len(own) / 2)
        people += [own[2 * at : 2 * at + 2] for at in range(pairs)]
        (people.extend([one] for one in own[2 * pairs :]) if name == NORMAL else left.extend(own[2 * pairs :]))
    left = [int(one) for one in rng.permutation(left)]
    mixed = round(MIXED * len(types) / 2)
    people += [left[2 * at : 2 * at + 2] for at in range(min(mixed, len(left) // 2))]
    people += [[one] for one in left[2 * mixed :]]
    return people


def _labels(rng: np.random.Generator, types: list[str], wrong: float) -> list[str]:
    """Exchange labels between eyes of different types until the wanted share is wrong."""
    labels, order = list(types), [int(one) for one in rng.permutation(len(types))]
    left = round(wrong * len(types) / 2)
    for first, second in zip(order[::2], order[1::2], strict=False):
        if left and types[first] != types[second]:
            labels[first], labels[second] = types[second], types[first]
            left -= 1
    return labels
