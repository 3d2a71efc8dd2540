"""The colour photograph that was taken with a volume: found, graded, cut around its disc. Nothing is ever guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.imaging.eyes import acquisitions
from oculard.imaging.facts import Eye, Facts
from oculard.imaging.kinds import FUNDUS, OCT_VOLUME, kind_of
from oculard.imaging.spacing import read_scale
from oculard.inference.case import Case, failed
from oculard.inference.grading import GateRefused, QualityGate, ServedGate
from oculard.report.source import Grade, Source
from oculard.store.jobs import JobInput
from oculard.store.vault import Vault
from oculard_models.contract import EstimateFailed, OutOfMemory
from oculard_models.dicom_geometry import Unfit
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.discs import DiscPlace
from oculard_models.preprocess import Pixels
from oculard_models.volumes.photograph import DISC_UM, disc_square
from oculard_models.volumes.views import SIDE_UM

VIEW = "photograph"
NONE, UNUSABLE, WITHOUT_DISC = "no-photograph", "photograph-unusable", "photograph-no-disc"
NO_FINDER = "no-disc-finder"
NONE_CAME = "no photograph of this eye came with the volume"
UNKNOWN_CAME = "a photograph came whose header does not say which eye it is, it was not used"
logger = log.get("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Photographs:
    """How photographs are read in this installation."""

    gate: QualityGate
    pixels_max: int


def photograph_of(case: Case, image: JobInput) -> JobInput | None:
    """The photograph that was taken with a volume: of the same known eye, same frame of reference or near in time.

    Where there is none the report says so.
    """
    facts = {one.sop_instance_uid: Facts.from_json(one.facts) for one in case.job.inputs}
    seen = [one for one in facts.values() if kind_of(one) in (FUNDUS, OCT_VOLUME)]
    for together in acquisitions(seen):
        if together.volume.sop_instance_uid == image.sop_instance_uid and together.photograph is not None:
            uid = together.photograph.sop_instance_uid
            return next(one for one in case.job.inputs if one.sop_instance_uid == uid)
    case.note(NONE_CAME)
    if any(one.eye is Eye.UNKNOWN and kind_of(one) == FUNDUS for one in seen):
        case.note(UNKNOWN_CAME)
    return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiscPicture:
    """The grey square around the disc, as the photograph shows it, and what a report says of the photograph."""

    grey: npt.NDArray[np.uint8]
    source: Source
    words: str  # ASCII: what was cut
    grader: str  # name@version


def disc_picture(case: Case, vault: Vault, photograph: JobInput | None, how: Photographs) -> DiscPicture | None:
    """Look at the photograph and cut out its disc; one that cannot be used stands in the report with its reason.

    Raises Unfit. None where only a person can help, and the case is closed.
    """
    served = _served(case, how.gate)
    if served is None or served.discs is None:
        return None
    if photograph is None:
        raise Unfit(NONE)
    path = vault.path(photograph.path)
    try:
        pixels = case.decoder.rgb(path, pixels_max=how.pixels_max).result()
    except Undecodable as why:
        case.beside.append(_source(vault, photograph, Grade.NOT_ASSESSED, (why.reason,)))
        raise Unfit(UNUSABLE) from why
    try:
        found = served.gate.assess(pixels)
        disc = served.discs.locate(pixels)
    except OutOfMemory as why:  # the machine's trouble, not the image's: the job waits
        raise MemoryError from why
    except EstimateFailed as why:
        logger.error("quality gate failed", job=case.job.ticket.id, bundle=served.name, exc_info=why)
        case.close(failed("estimator-failed", "the quality gate or the finder of discs ended with an error"))
        return None
    grade = Grade(found.grade.value)
    if grade is Grade.UNGRADABLE:
        case.beside.append(_source(vault, photograph, grade, found.reasons))
        raise Unfit(UNUSABLE)
    square, words = (None, "") if disc is None else _square(vault, photograph, pixels, disc)
    if square is None:
        case.beside.append(_source(vault, photograph, grade, (*found.reasons, WITHOUT_DISC)))
        raise Unfit(WITHOUT_DISC)
    source = _source(vault, photograph, grade, found.reasons, used=True)
    return DiscPicture(grey=square, source=source, words=words, grader=served.name)


def _served(case: Case, gate: QualityGate) -> ServedGate | None:
    """The gate with what finds discs; None where there is no such, and the case is closed."""
    try:
        served = gate.get()
    except GateRefused as why:
        case.close(failed(why.reason, "the quality gate cannot be used, and the model reads the photograph"))
        return None
    if served.discs is None:
        case.close(failed(NO_FINDER, "the model reads the disc in the photograph, and nothing here finds discs"))
    return served


def _square(
    vault: Vault, photograph: JobInput, pixels: Pixels, disc: DiscPlace
) -> tuple[npt.NDArray[np.uint8] | None, str]:
    """The square around a disc, and in words what was cut; the header is read again: a source's must stay as it was."""
    rows, columns = pixels.shape[:2]
    scale = read_scale(read_header(vault.path(photograph.path)), rows=rows, columns=columns)
    square = disc_square(pixels, centre=disc.centre, sides=disc.sides, spacing_mm=scale.spacing_mm)
    how = f"a disc taken for {DISC_UM / 1000:g} mm, {scale.reason}"
    if scale.spacing_mm is not None:
        how = "by its pixel spacing"
    at = f"column {disc.centre[0] + 0.5:.0f}, row {disc.centre[1] + 0.5:.0f}"
    return square, f"{SIDE_UM / 1000:g} mm around the disc at {at}, {how}"


def _source(
    vault: Vault, photograph: JobInput, grade: Grade, reasons: tuple[str, ...] = (), *, used: bool = False
) -> Source:
    return Source(header=read_header(vault.path(photograph.path)), grade=grade, reasons=reasons, used=used)
