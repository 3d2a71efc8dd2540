"""A structural OCT volume of one eye, and the layers in it, as every other module here takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]  # frames x columns, seen from above: row 0 superior, and as a right eye's photograph


class Scan(StrEnum):
    """What a volume is centred on. UNKNOWN is an answer: the centre is looked for, and never assumed."""

    DISC = "disc"
    MACULA = "macula"
    WIDE = "wide"  # disc and macula in one
    UNKNOWN = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """What one step measures, in micrometres: from frame to frame, from row to row (depth), from column to column."""

    frame_um: float
    depth_um: float
    column_um: float

    def __post_init__(self) -> None:
        if not all(step > 0 and np.isfinite(step) for step in (self.frame_um, self.depth_um, self.column_um)):
            raise ValueError(f"every spacing must be above 0: {self}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A volume: `pixels` is frames x depth x columns, uint8, bright is reflective.

    The frames are horizontal B-scans from superior to inferior; rows go from the vitreous to the choroid, columns as in
    a fundus photograph from left to right. `eye` is "R" or "L": what these pixels show, before `as_right`.
    """

    pixels: npt.NDArray[np.uint8]
    spacing: Spacing
    eye: str
    scan: Scan = Scan.UNKNOWN

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.dtype != np.uint8 or 0 in self.pixels.shape:
            raise ValueError(f"expected frames x depth x columns of uint8: {self.pixels.shape} {self.pixels.dtype}")
        if self.eye not in ("R", "L"):
            raise ValueError(f"expected eye `R` or `L`, got `{self.eye}`")

    def as_right(self) -> Self:
        """The volume as a right eye's: a left one is mirrored (a view, no copy). `eye` keeps the truth."""
        return self if self.eye == "R" else replace(self, pixels=self.pixels[:, :, ::-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """Boundaries between layers: frames x columns each, the sub-pixel row in the volume; NaN where there is none.

    ILM (vitreous above), RNFL/GCL, IPL/INL, BM (Bruch's membrane). Where all are finite their order is that.
    """

    ilm: Map
    rnfl_gcl: Map
    ipl_inl: Map
    bm: Map

    def as_right(self, eye: str) -> Self:
        """The layers of an eye's volume as a right eye's."""
        if eye == "R":
            return self
        flipped = {name: getattr(self, name)[:, ::-1] for name in ("ilm", "rnfl_gcl", "ipl_inl", "bm")}
        return replace(self, **flipped)
