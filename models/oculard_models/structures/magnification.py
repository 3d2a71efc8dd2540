"""Ocular magnification: how much larger an eye's retina is than the device assumed, from the axial length."""

from __future__ import annotations

AXIAL_RANGE_MM = (18.0, 40.0)  # shorter or longer eyes are typing errors
NODAL_MM = 1.82  # from the corneal apex to the eye's second principal point


def littmann_bennett(axial_mm: float, device_mm: float) -> float:
    """Return the factor for lengths on the retina: (axial - 1.82) / (device's axial - 1.82). Areas take its square.

    `device_mm` is the axial length that the device assumed when it wrote its spacing. Raises ValueError for a length
    outside 18..40 mm. Source: Bennett, Rudnicka and Edgar, Improvements on Littmann's method of determining the size
    of retinal features by fundus photography. Graefes Arch Clin Exp Ophthalmol 1994;232:361-367.
    """
    low, high = AXIAL_RANGE_MM
    for length_mm in (axial_mm, device_mm):
        if not low <= length_mm <= high:
            raise ValueError(f"an axial length of {length_mm:g} mm is not within {low:g}..{high:g} mm; hint: is it mm?")
    return (axial_mm - NODAL_MM) / (device_mm - NODAL_MM)
