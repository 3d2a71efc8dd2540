"""Shapes: the structure that a model outlined in one of the images, as report and companions show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard.report import raw
from oculard.report.codes import Code, term
from oculard.report.source import Source
from oculard_models.contract import Shape
from oculard_models.manifest import Structure

TERMS = {Structure.FAZ: "faz", Structure.OPTIC_DISC: "optic-disc"}  # what a mask is a mask of, by role
NAMES = {  # as the names of their concepts begin: Japanese, English
    Structure.FAZ: ("中心窩無血管域", "Foveal avascular zone"),
    Structure.OPTIC_DISC: ("視神経乳頭", "Optic disc"),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundShape:
    """One outlined structure and the image that it lies in.

    `pixels` is rows x columns x 3, uint8, RGB: the image as it is shown. `spacing_mm` is what the lengths were measured
    with, between (rows, columns) and after any correction; None where nothing could be said in mm.
    """

    sop_instance_uid: str
    structure: Structure
    shape: Shape
    pixels: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"expected rows x columns x 3 of uint8, got {self.pixels.shape} of {self.pixels.dtype}")
        if self.shape.mask.shape != self.pixels.shape[:2] or self.shape.mask.dtype != np.bool_:
            raise ValueError(f"the mask {self.shape.mask.shape} is not one bool for each pixel {self.pixels.shape[:2]}")
        if not self.shape.mask.any() or len(self.shape.outline) < 3:
            raise ValueError("a shape without a pixel or without an outline is no shape: leave it out")
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise ValueError(f"expected a spacing above 0, got {self.spacing_mm}")

    @property
    def code(self) -> Code:
        """What the structure is."""
        return term(TERMS[self.structure])

    @property
    def name(self) -> str:
        """What the structure is, for people."""
        return NAMES[self.structure][1]

    @property
    def japanese(self) -> str:
        """The same in Japanese."""
        return NAMES[self.structure][0]

    def lies_on(self, source: Source) -> bool:
        """Whether mask and image match pixel by pixel as the image's header counts them; else no SEG can refer to it.

        A decoder goes by the compressed stream, which may contradict the header.
        """
        size = raw.number(source.header, "Rows"), raw.number(source.header, "Columns")
        frames = raw.text(source.header, "NumberOfFrames")
        return size == self.shape.mask.shape and frames in ("", "1")
