"""Examining a job's images: decode, judge the quality first, prepare what the network will see."""

from __future__ import annotations

from oculard.imaging.decode import Undecodable, read_header, read_rgb
from oculard.imaging.facts import Facts
from oculard.inference.case import Case, Verdict
from oculard.job import JobEvent
from oculard.report.source import Source
from oculard.store.jobs import JobInput
from oculard.store.vault import Vault
from oculard_models.contract import ImageInput, Qualifier
from oculard_models.preprocess import prepare
from oculard_models.quality import Grade, assess

LOOKED_AT = 4  # times as many images as the estimator takes


def examine(case: Case, vault: Vault, *, pixels_max: int, attempts_max: int) -> None:
    """Fill the case with sources and network inputs, or close it with the reason why nothing can be estimated.

    Raises OSError when the vault cannot be read: that is the world's failure, not the image's.
    """
    job, limit = case.job, case.manifest.input.max_images
    if job.eye == "U":
        case.close(_eye_unknown(job.inputs[0]))
    elif job.ticket.attempts > attempts_max:
        case.close(_spent(attempts_max))
    for image in job.inputs[: LOOKED_AT * limit]:  # a good retake counts after any number of bad ones, within reason
        if len(case.tensors) < limit:
            case.sources.append(_source(case, vault, image, pixels_max))
    if len(job.inputs) > len(case.sources):
        case.notes.append(f"{len(job.inputs) - len(case.sources)} further images of this eye were left out")
    if case.verdict is None and not case.tensors:
        case.close(_nothing_usable(case))


def _source(case: Case, vault: Vault, image: JobInput, pixels_max: int) -> Source:
    """Look at one image; whatever is wrong with it stays with it."""
    path = vault.path(image.path)
    header = read_header(path)
    if case.verdict is not None:
        return Source(header=header, grade="not-assessed", used=False)
    try:
        pixels = read_rgb(path, pixels_max=pixels_max)
    except Undecodable as why:
        case.notes.append(f"image not decoded: {why.reason}")
        return Source(header=header, grade="not-assessed", reasons=(why.reason,), used=False)
    quality = assess(pixels)
    is_used = quality.grade is not Grade.UNGRADABLE
    if is_used:
        seen = ImageInput(sop_instance_uid=image.sop_instance_uid, eye=case.job.eye, pixels=pixels)
        case.tensors.append((image.sop_instance_uid, prepare(seen, case.manifest.input)))
    return Source(header=header, grade=quality.grade.value, reasons=quality.reasons, used=is_used)


def _spent(attempts_max: int) -> Verdict:
    return Verdict(
        event=JobEvent.GIVE_UP,
        qualifier=Qualifier.FAILURE,
        reason="attempts-spent",
        remark=f"failed: the analysis ended abnormally {attempts_max} times",
    )


def _eye_unknown(image: JobInput) -> Verdict:
    why = Facts.from_json(image.facts).eye_why
    return Verdict(
        event=JobEvent.REJECT,
        qualifier=Qualifier.NOT_ATTEMPTED,
        reason="eye-unknown",
        remark=f"not attempted, the eye is unknown: {why}",
    )


def _nothing_usable(case: Case) -> Verdict:
    """Ungradable when an image could be looked at and was not good enough; failed when none could even be decoded."""
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
