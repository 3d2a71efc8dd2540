"""Segmenting: a mask of each image, and what is measured of it, with the lengths that its header gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.imaging.spacing import AXIAL_LENGTH_MM, Scale
from oculard.inference.case import Case, Found, failed
from oculard.inference.prepared import Prepared, Scene
from oculard_models import structures
from oculard_models.contract import Segmenter
from oculard_models.manifest import Mask, Structure
from oculard_models.structures.magnification import littmann_bennett

NAMES = {Structure.FAZ: "foveal avascular zone", Structure.OPTIC_DISC: "optic disc"}
logger = log.get("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """How lengths of an eye are corrected: 1 and the reason why not, or the factor."""

    factor: float = 1.0
    note: str = ""


def segment(segmenter: Segmenter, chunk: Sequence[tuple[Case, Prepared]], *, axial_length_device_mm: float) -> None:
    """Run the network on a batch and leave with each case what was found. Raises EstimateFailed."""
    maps = segmenter.segment(np.stack([image.tensor for _, image in chunk]))
    for (case, image), probability in zip(chunk, maps, strict=True):
        _measure(case, image, probability, axial_length_device_mm)


def _measure(case: Case, image: Prepared, probability: npt.NDArray[np.float32], axial_length_device_mm: float) -> None:
    mask, scene = case.manifest.mask, image.scene
    assert mask is not None, "only a bundle with a mask segments"
    assert scene is not None, "its images were prepared with what a mask lies in"
    is_corrected = mask.structure is Structure.FAZ and axial_length_device_mm > 0
    lens = _lens(scene.scale, axial_length_device_mm) if is_corrected else Lens()
    rows, columns = scene.pixels.shape[:2]
    measured = structures.measure(
        probability,
        mask=mask,
        box=scene.box,
        image_size=(rows, columns),
        spacing_mm=scene.scale.spacing_mm,
        magnification=lens.factor,
    )
    notes = (_of_reason(measured.reason, mask), _of_spacing(case, scene.scale), *measured.notes, lens.note)
    case.found = Found(
        image=image,
        measured=measured,
        magnification=lens.factor,
        parameters=_parameters(scene, lens, mask),
        notes=tuple(note.rstrip(".") for note in notes if note),
    )
    if measured.reason == structures.NO_NUMBERS:
        case.close(failed(measured.reason, "the network's mask is no mask"))


def _lens(scale: Scale, device_mm: float) -> Lens:
    """The magnification of an eye, where its axial length is known."""
    if scale.spacing_mm is None:
        return Lens()
    if scale.axial_length_mm is None:
        low, high = AXIAL_LENGTH_MM
        return Lens(note=f"not corrected for magnification: no axial length of {low:g} to {high:g} mm in the header")
    return Lens(factor=littmann_bennett(scale.axial_length_mm, device_mm))


def _parameters(scene: Scene, lens: Lens, mask: Mask) -> tuple[str, ...]:
    """What the values depend on, as the report writes an algorithm's parameters."""
    spacing_mm, axial_length_mm = scene.scale.spacing_mm, scene.scale.axial_length_mm
    words = scene.scale.reason if spacing_mm is None else f"{spacing_mm[0]:.6g} x {spacing_mm[1]:.6g}"
    found = (f"pixel-spacing-mm={words}", f"magnification={lens.factor:.6g}", f"mask-threshold={mask.threshold:g}")
    return found if lens.factor == 1.0 else (*found, f"axial-length-mm={axial_length_mm:.6g}")


def _of_spacing(case: Case, scale: Scale) -> str:
    if scale.reason:
        logger.warning("measured in pixels only", job=case.job.ticket.id, reason=scale.reason)
    return scale.reason


def _of_reason(reason: str, mask: Mask) -> str:
    """Words for what was not found: that is a result, and no failure."""
    name = NAMES[mask.structure]
    words = {
        structures.NO_STRUCTURE: f"no {name} was found",
        structures.TOUCHES_BORDER: f"the {name} touches the border of the image, so that it was not measured",
    }
    return f"{reason}: {words[reason]}" if reason in words else ""
