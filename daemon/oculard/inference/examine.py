"""Examining a job's images: decode, grade them first, prepare what the network will see.

Photographs are graded by the quality gate, en face images and OCT volumes by plain checks (`en_face.py`, `volume.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oculard import log
from oculard.imaging.facts import Facts
from oculard.imaging.kinds import EN_FACE, OCT_VOLUME, kind_of
from oculard.inference import en_face, volume
from oculard.inference.case import Case, Verdict, failed
from oculard.inference.en_face import look_at_slab
from oculard.inference.grading import SIDES, GateRefused, QualityGate, ServedGate, contradiction, suggestion
from oculard.inference.prepared import prepared
from oculard.inference.volume import Volumes, look_at_volume
from oculard.inference.volume_photograph import Photographs
from oculard.job import JobEvent
from oculard.report.source import Grade, Source
from oculard.store.jobs import Job, JobInput
from oculard.store.vault import Vault
from oculard_models import quality
from oculard_models.contract import EstimateFailed, ImageInput, OutOfMemory, Qualifier
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.preprocess import Pixels

BOTH_EYES = "both eyes"  # how the facts say so
LOOKED_AT = 4  # times as many images of an eye as the estimator takes
logger = log.get("worker")


def examine(case: Case, vault: Vault, gate: QualityGate, *, pixels_max: int, attempts_max: int, how: Volumes) -> None:
    """Fill the case with sources and network inputs, or close it with the reason why nothing can be estimated.

    Images of an unknown eye are looked at for their quality and for a suggestion, and never estimated. Raises OSError
    when the vault cannot be read: that is the world's failure, not the image's.
    """
    job = case.job
    if job.eye == "U":
        case.close(_eye_unknown(job.inputs[0], case.manifest.input.kind))
    if job.ticket.attempts > attempts_max:
        case.close(_spent(attempts_max))  # nothing is decoded any more: it may be what they died of
    elif case.manifest.input.kind not in (EN_FACE, OCT_VOLUME):
        _admit(case, gate)
    for eye, images in _by_eye(job).items():
        _look_at_eye(case, images, eye, _look(case, vault, gate, eye, pixels_max, how))
    case.sources += case.beside
    if case.verdict is None and case.eye != job.eye:
        case.notes.append(_one_eye_only(case))
    if case.suggestions:
        case.notes.append("suggestion only, not used: " + ", ".join(case.suggestions))
    if case.verdict is None and not case.images:
        case.close(_nothing_usable(case))


def _admit(case: Case, gate: QualityGate) -> None:
    """Let the gate in; without one nothing may be estimated."""
    try:
        case.gate = gate.get()
    except GateRefused as why:
        case.close(failed(why.reason, "the quality gate cannot be used"))


def _by_eye(job: Job) -> dict[str, list[JobInput]]:
    """The images of each eye of a job; a job on both eyes has two, by what their headers say."""
    if job.eye != "B":
        return {job.eye: list(job.inputs)}
    return {eye: [image for image in job.inputs if Facts.from_json(image.facts).eye == eye] for eye in ("R", "L")}


def _look(
    case: Case, vault: Vault, gate: QualityGate, eye: str, pixels_max: int, how: Volumes
) -> Callable[[JobInput], Source]:
    """How one image of an eye is looked at."""
    if case.manifest.input.kind == OCT_VOLUME:
        photographs = Photographs(gate=gate, pixels_max=pixels_max)
        return lambda image: look_at_volume(case, vault, image, eye, how, photographs)
    look = look_at_slab if case.manifest.input.kind == EN_FACE else _look_at_photograph
    return lambda image: look(case, vault, image, eye, pixels_max)


def _look_at_eye(case: Case, images: Sequence[JobInput], eye: str, look: Callable[[JobInput], Source]) -> None:
    """Look at the images of one eye until there are as many good ones as the estimator takes."""
    spec, good = case.manifest.input, len(case.images)
    if spec.kind == OCT_VOLUME:  # what came beside it is no image of its own
        images = [image for image in images if kind_of(Facts.from_json(image.facts)) == OCT_VOLUME]
    limit = 1 if case.manifest.mask is not None or spec.views else spec.max_images  # a mask lies in one image
    if case.manifest.mask is not None or spec.kind in (EN_FACE, OCT_VOLUME):
        # The newest first: a scan is repeated because it was not good.
        images = sorted(images, key=_taken, reverse=True)
    left_out = len(images)
    for image in images[: limit if eye == "U" else LOOKED_AT * limit]:  # a good retake counts after many bad ones
        if len(case.images) - good < limit:
            case.sources.append(look(image))
            left_out -= 1
    if left_out:
        whose = {"B": f"the {SIDES.get(eye)} eye", "U": "unknown eyes"}.get(case.job.eye, "this eye")
        case.notes.append(f"{left_out} further images of {whose} were left out")


def _taken(image: JobInput) -> tuple[str, str]:
    """What puts images in the order in which they were taken; they may have come in another."""
    return Facts.from_json(image.facts).acquired_at, image.sop_instance_uid


def _look_at_photograph(case: Case, vault: Vault, image: JobInput, eye: str, pixels_max: int) -> Source:
    """Look at one photograph; whatever is wrong with it stays with it."""
    path = vault.path(image.path)
    header = read_header(path)
    if case.gate is None:
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    try:
        pixels = case.decoder.rgb(path, pixels_max=pixels_max).result()
        found = _graded(case.gate, pixels)
    except Undecodable as why:
        case.notes.append(f"image not decoded: {why.reason}")
        return Source(header=header, grade=Grade.NOT_ASSESSED, reasons=(why.reason,), used=False)
    except EstimateFailed as why:
        logger.error("quality gate failed", job=case.job.ticket.id, bundle=case.gate.name, exc_info=why)
        case.close(failed("estimator-failed", "the quality gate ended with an error"))
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    _compare(case, eye, found)
    is_used = eye != "U" and found.grade is not quality.Grade.UNGRADABLE
    if is_used:
        seen = ImageInput(sop_instance_uid=image.sop_instance_uid, eye=eye, pixels=pixels)
        case.images.append(prepared(seen, path, case.manifest))
    return Source(header=header, grade=found.grade.value, reasons=found.reasons, used=is_used)


def _graded(served: ServedGate, pixels: Pixels) -> quality.Quality:
    try:
        return served.gate.assess(pixels)
    except OutOfMemory as why:  # the machine's trouble, not the image's: the job waits
        raise MemoryError from why


def _compare(case: Case, eye: str, found: quality.Quality) -> None:
    """Say which eye the picture looks like where the header is silent, or surely says otherwise; it changes nothing."""
    number, suggested, probability = len(case.sources) + 1, found.suggested_eye, found.suggested_eye_probability
    if eye == "U":
        if suggested is not None and probability is not None:
            case.suggestions.append(suggestion(number, suggested, probability))
        return
    warning = contradiction(number, eye, suggested, probability)
    if warning:
        case.notes.append(warning)


def _one_eye_only(case: Case) -> str:
    """Why a job on both eyes tells of one: its values and their intervals are those of one eye."""
    other = {"R": "L", "L": "R"}[case.eye]
    reasons = sorted({reason for source in case.sources if not source.used for reason in source.reasons})
    return (
        f"estimated from the {SIDES[case.eye]} eye alone, no image of the {SIDES[other]} eye could be used: "
        + ", ".join(reasons)
    )


def _spent(attempts_max: int) -> Verdict:
    return Verdict(
        event=JobEvent.GIVE_UP,
        qualifier=Qualifier.FAILURE,
        reason="attempts-spent",
        remark=f"failed: the analysis ended abnormally {attempts_max} times",
    )


def _eye_unknown(image: JobInput, kind: str) -> Verdict:
    why = Facts.from_json(image.facts).eye_why
    both = kind == OCT_VOLUME and why.endswith(BOTH_EYES)
    return Verdict(
        event=JobEvent.REJECT,
        qualifier=Qualifier.NOT_ATTEMPTED,
        reason="both-eyes" if both else "eye-unknown",
        remark=f"not attempted, the eye is unknown: {why}",
    )


def _nothing_usable(case: Case) -> Verdict:
    """Ungradable when an image could be looked at and was not good enough; failed when none could even be decoded."""
    rooms = {EN_FACE: en_face.nothing_fits, OCT_VOLUME: volume.nothing_fits}
    why = rooms.get(case.manifest.input.kind)
    unfit = None if why is None else why(case)
    if unfit is not None:
        return unfit
    reasons = sorted({reason for source in case.sources for reason in source.reasons})
    if any(source.grade == "ungradable" for source in case.sources):
        return Verdict(
            event=JobEvent.REJECT,
            qualifier=Qualifier.NOT_ATTEMPTED,
            reason="ungradable",
            remark="not attempted, image quality is not sufficient: " + ", ".join(reasons),
        )
    return Verdict(
        event=JobEvent.GIVE_UP,
        qualifier=Qualifier.FAILURE,
        reason=reasons[0] if reasons else "no-image",
        remark="failed: no image could be decoded: " + ", ".join(reasons),
    )
