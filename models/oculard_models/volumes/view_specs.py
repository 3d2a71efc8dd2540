"""The views that there are, in words. What makes them needs scipy; who only names them does not load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEVIATIONS: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSpec:
    """What a view is, in words, and what its 0 and 1 stand for."""

    title: str
    scale: tuple[float, float] | None = None  # None: brightness, robustly scaled


VIEWS: Final = {
    "rnfl-thickness": ViewSpec(title="RNFL thickness, 0 to 200 um", scale=(0.0, 200.0)),
    "gcc-thickness": ViewSpec(title="GCC thickness, 0 to 250 um", scale=(0.0, 250.0)),
    "gcl-thickness": ViewSpec(title="GCL+ thickness, 0 to 150 um", scale=(0.0, 150.0)),
    "en-face": ViewSpec(title="En face projection, ILM to BM"),
    "bscan-disc": ViewSpec(title="B-scan through the disc's centre"),
    "bscan-fovea": ViewSpec(title="B-scan through the fovea"),
    "rnfl-deviation": ViewSpec(title="RNFL deviation, -4 to +4 SD", scale=(-DEVIATIONS, DEVIATIONS)),
    "gcc-deviation": ViewSpec(title="GCC deviation, -4 to +4 SD", scale=(-DEVIATIONS, DEVIATIONS)),
    "photograph": ViewSpec(title="Photograph of the disc, grey"),
}
