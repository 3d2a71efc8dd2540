"""Spacing: what a pixel measures on the retina, as the header says it, or a reason why it must not be believed.

A wrong spacing is a wrong area, and nobody sees it in the number: what is not plausible is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from oculard_models.dicom_header import header_items, header_numbers

MISSING, IMPLAUSIBLE = "spacing-missing", "spacing-implausible"
FIELD_MM = (1.0, 25.0)  # a side: the smallest OCT angiography scans have 2 to 3 mm, a 60 degree photograph about 18
AXIAL_LENGTH_MM = (18.0, 40.0)  # of an eye: beyond lies what is no eye, or no millimetre


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the header says of lengths: `spacing_mm` (row, column) of a pixel, and the eye's axial length.

    `reason`: why there is no spacing, a stable slug; "" when there is one.
    """

    spacing_mm: tuple[float, float] | None
    reason: str = ""
    axial_length_mm: float | None = None


def read_scale(ds: Dataset, *, rows: int, columns: int) -> Scale:
    """Read a header's spacing for an image of so many pixels, and the axial length of its eye."""
    spacing_mm, reason = _spacing(ds, rows, columns)
    return Scale(spacing_mm=spacing_mm, reason=reason, axial_length_mm=_axial_length_mm(ds))


def _spacing(ds: Dataset, rows: int, columns: int) -> tuple[tuple[float, float] | None, str]:
    """Pixel Spacing at the root, or in the pixel measures that all frames share (PS3.3 C.7.6.16.2.1)."""
    shared = header_items(ds, "SharedFunctionalGroupsSequence")
    holders = [ds, *(item for group in shared for item in header_items(group, "PixelMeasuresSequence"))]
    said = {header_numbers(holder, "PixelSpacing") for holder in holders} - {None}
    if not said:
        return None, MISSING
    numbers = said.pop()
    if said or numbers is None or len(numbers) != 2:  # two places that contradict each other are no spacing
        return None, IMPLAUSIBLE
    row_mm, column_mm = numbers
    sides_mm = (row_mm * rows, column_mm * columns)
    if not all(FIELD_MM[0] <= side <= FIELD_MM[1] for side in sides_mm):  # NaN is on neither side of anything
        return None, IMPLAUSIBLE
    return (row_mm, column_mm), ""


def _axial_length_mm(ds: Dataset) -> float | None:
    """Axial Length of the Eye; None when it is absent, or no eye's."""
    numbers = header_numbers(ds, "AxialLengthOfTheEye")
    if numbers is None or len(numbers) != 1 or not AXIAL_LENGTH_MM[0] <= numbers[0] <= AXIAL_LENGTH_MM[1]:
        return None
    return numbers[0]
