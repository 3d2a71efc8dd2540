"""Slabs: which layer of the retina an en face image shows, by the code that its header gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oculard.imaging.facts import Facts

SCHEME = "DCM"
MEANINGS: Mapping[str, str] = MappingProxyType(  # PS3.16 CID 4271, as far as devices are known to send them
    {
        "128259": "retina vasculature flow",
        "128265": "superficial retina vasculature flow",
        "128267": "middle inner retina vasculature flow",
        "128269": "deep retina vasculature flow",
        "128271": "outer retina vasculature flow",
        "128273": "choriocapillaris vasculature flow",
    }
)
PLAIN = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-_ ")


def slab_of(facts: Facts) -> str:
    """The coded image type of CID 4271; "" when the header gives none, or one of another scheme."""
    return facts.slab if facts.slab_scheme == SCHEME else ""


def slab_words(facts: Facts) -> str:
    """The image type for a report, ASCII: code and meaning, the foreign code with its scheme, or that there is none."""
    if not facts.slab:
        return "no coded image type"
    code = f"{_plain(facts.slab)} {_plain(facts.slab_scheme)}".strip()
    meaning = MEANINGS.get(slab_of(facts))
    return code if meaning is None else f"{code} {meaning}"


def _plain(text: str) -> str:
    """A device's text with whatever a report of every character set cannot carry replaced, and cut short."""
    return "".join(letter if letter in PLAIN else "?" for letter in text[:16])
