"""How the attributes of an invented person show in a painted eye. THE MAPPING IS INVENTED.

Nothing here is medical knowledge. The rules were made up so that a network has something to find in painted eyes and
a test can check that it found it; some of them resemble what is discussed in the literature, and none of them may be
read as a statement about real eyes.

| attribute | what is drawn | how |
|---|---|---|
| sex | optic disc and its cup | M: larger disc, larger cup; overlapping |
| age | foveal reflex; yellow tint of the lens | the reflex fades and the tint grows with the years |
| sbp | width of the arteries | narrower with higher pressure |
| dbp | width of the veins | wider with higher pressure |
| glucose | dark red dots | more of them with more sugar |
| waist | choroidal pattern of the background | more contrast with more girth |
| bmi | winding of all vessels | more with more weight |

Every trait carries noise of its own, so that no attribute can be read exactly, and all of them are spread over many
pixels, so that none can be read from one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oculard_models.data.person import Person

JITTER = 0.22  # noise on every trait, in deviations of its attribute: R2 ends at 0.95 (age, which shows twice, at 0.98)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the painter draws. Lengths are fractions of the field's radius; strengths are 0 (none) to about 1."""

    disc_radius: float
    cup_ratio: float  # radius of the cup / radius of the disc
    foveal_reflex: float
    lens_tint: float
    artery_width: float
    vein_width: float
    dots: int
    tessellation: float
    winding: float
    pigment: tuple[float, float, float]  # RGB of the fundus, 0..255: carries no attribute


def traits_of(person: Person, rng: np.random.Generator) -> Traits:
    """Turn a person into what is drawn; `rng` gives the noise and the pigment."""

    def noisy(name: str) -> float:
        return float(np.clip(person.standard(name) + JITTER * rng.standard_normal(), -3.5, 5.5))

    male = person.sex == "M"
    return Traits(
        disc_radius=float(np.clip((0.128 if male else 0.106) + 0.007 * rng.standard_normal(), 0.08, 0.16)),
        cup_ratio=float(np.clip((0.54 if male else 0.34) + 0.06 * rng.standard_normal(), 0.15, 0.75)),
        foveal_reflex=float(np.clip(0.50 - 0.22 * noisy("age"), 0.0, 1.2)),
        lens_tint=float(np.clip(0.40 + 0.17 * noisy("age"), 0.0, 1.2)),
        artery_width=0.0225 * float(np.exp(-0.22 * noisy("sbp"))),
        vein_width=0.0280 * float(np.exp(0.15 * noisy("dbp"))),
        dots=max(0, round(11.0 + 9.0 * noisy("glucose"))),
        tessellation=float(np.clip(0.42 + 0.17 * noisy("waist"), 0.0, 1.4)),
        winding=float(np.clip(0.40 + 0.18 * noisy("bmi"), 0.0, 1.4)),
        pigment=_pigment(rng),
    )


def _pigment(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the fundus colour of one person: from bright red-orange to brown."""
    light, hue = rng.standard_normal(2)
    red = np.clip(192.0 + 14.0 * light, 150.0, 230.0)
    green = np.clip(84.0 + 11.0 * light + 7.0 * hue, 52.0, 120.0)
    blue = np.clip(50.0 + 6.0 * light - 4.0 * hue, 25.0, 75.0)
    return float(red), float(green), float(blue)
