"""En face images of OCT angiography: plain checks instead of a quality gate, which knows photographs alone.

They find what no measurement could rest on, and no more: nobody may read their "good" as a judgement of the scan.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.imaging.facts import Facts
from oculard.imaging.kinds import EN_FACE, kind_of
from oculard.imaging.slabs import slab_of, slab_words
from oculard.inference.case import Case, Verdict
from oculard.inference.prepared import prepared
from oculard.job import JobEvent
from oculard.report.source import Grade, Source
from oculard.store.jobs import JobInput
from oculard.store.vault import Vault
from oculard_models.contract import ImageInput, Qualifier
from oculard_models.dicom_pixels import Undecodable, read_header

NOT_A_SLAB, NO_WANTED_SLAB = "not-a-slab", "no-wanted-slab"
WRONG_SIZE, COLOUR, NO_SIGNAL = "wrong-size", "colour-en-face", "no-signal"
WORDS = {  # what a person must know, beside the slug
    NOT_A_SLAB: "a volume or a stack of frames came, and no single en face slab",
    WRONG_SIZE: "too small, too large or far from square for a scan",
    COLOUR: "an export in false colours, the grey image is wanted",
    NO_SIGNAL: "black or without contrast",
}
NO_GATE = "graded by plain checks of size, colour and contrast, no quality gate"

SIDE_PX_MIN = 128  # a 3 mm scan of fewer pixels has 23 um each: vessels are thinner
SIDE_PX_MAX = 4096  # four times the finest slab that devices write
RATIO_MAX = 4 / 3  # scans are square; this allows for a device's margins
COLOUR_LEVELS = 16  # JPEG moves the channels of a grey image apart by less
COLOUR_SHARE = 0.002  # of the pixels: a grid of thin coloured lines is more
CONTRAST_LEVELS = 24  # of 255, between the darkest and the brightest hundredth; real scans have 170 and more
USED_PERCENT = (0.1, 99.9)  # of 16 bit values: single hot pixels do not count
logger = log.get("worker")


class Unfit(Exception):
    """The image cannot be measured; `reason` is one of the slugs above."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def look_at_slab(case: Case, vault: Vault, image: JobInput, eye: str, pixels_max: int) -> Source:
    """Look at one image; whatever is wrong with it stays with it. A case that is closed is only named."""
    path = vault.path(image.path)
    header = read_header(path)
    if case.verdict is not None:
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    facts = Facts.from_json(image.facts)
    try:
        _check_facts(facts, case.manifest.input.slabs, pixels_max)
        pixels = _grey(case, case.decoder.values(path, pixels_max=pixels_max).result())
    except Unfit as why:
        logger.info("image not used", job=case.job.ticket.id, reason=why.reason)
        return Source(header=header, grade=Grade.UNGRADABLE, reasons=(why.reason,), used=False)
    except Undecodable as why:
        case.notes.append(f"image not decoded: {why.reason}")
        return Source(header=header, grade=Grade.NOT_ASSESSED, reasons=(why.reason,), used=False)
    seen = ImageInput(sop_instance_uid=image.sop_instance_uid, eye=eye, pixels=pixels)
    case.images.append(prepared(seen, path, case.manifest))
    case.parameters.append(f"slab={slab_words(facts)}")
    case.note(NO_GATE)
    if case.manifest.input.slabs[:1] not in ((), (slab_of(facts),)):
        case.note(f"no preferred slab came, this is {slab_words(facts)}")
    return Source(header=header, grade=Grade.GOOD, used=True)


def nothing_fits(case: Case) -> Verdict | None:
    """Why none of the images that were looked at can be measured; None when one could not even be decoded."""
    reasons = {reason for source in case.sources if source.grade == Grade.UNGRADABLE for reason in source.reasons}
    if not reasons:
        return None
    words = [_words(case, reason) for reason in sorted(reasons)]
    wrong_image = reasons <= {NOT_A_SLAB, NO_WANTED_SLAB} and len(reasons) == 1
    return Verdict(
        event=JobEvent.REJECT,
        qualifier=Qualifier.NOT_ATTEMPTED,
        reason=reasons.pop() if wrong_image else "ungradable",
        remark="not attempted: " + ", ".join(words),
    )


def _words(case: Case, reason: str) -> str:
    if reason != NO_WANTED_SLAB:
        return f"{reason} ({WORDS[reason]})"
    came = sorted({slab_words(Facts.from_json(image.facts)) for image in case.job.inputs})
    return f"{reason} (it must be {' or '.join(case.manifest.input.slabs)}; what came: {', '.join(came)})"


def _check_facts(facts: Facts, slabs: tuple[str, ...], pixels_max: int) -> None:
    """See that the image is a single slab that the model reads, of a scan's size. Raises Unfit."""
    if kind_of(facts) != EN_FACE or facts.frames != 1:
        raise Unfit(NOT_A_SLAB)
    if slabs and slab_of(facts) not in slabs:
        raise Unfit(NO_WANTED_SLAB)
    short, long = sorted((facts.rows, facts.columns))
    if not SIDE_PX_MIN <= short <= long <= SIDE_PX_MAX or long > RATIO_MAX * short or short * long > pixels_max:
        raise Unfit(WRONG_SIZE)


def _grey(case: Case, values: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """The image as rows x columns x 3 of equal channels. Raises Unfit where it has colours or no signal."""
    if values.ndim == 3:
        apart = values.max(axis=2) - values.min(axis=2)
        if np.count_nonzero(apart > COLOUR_LEVELS * _levels(values)) > COLOUR_SHARE * apart.size:
            raise Unfit(COLOUR)
        values = values[..., 1]
    grey = _eight_bit(case, values)
    dark, bright = np.percentile(grey, (1, 99))
    if bright - dark < CONTRAST_LEVELS:
        raise Unfit(NO_SIGNAL)
    return np.repeat(grey[..., None], 3, axis=2)


def _levels(values: npt.NDArray[np.int32]) -> float:
    """How many levels of the values make one of 8 bit."""
    return max(1.0, float(values.max()) / 255)


def _eight_bit(case: Case, values: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """The values in 8 bit: as they are where they fit, else their used range, which the report names."""
    if values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8)
    low, high = (float(level) for level in np.percentile(values, USED_PERCENT))
    if high - low < CONTRAST_LEVELS:
        raise Unfit(NO_SIGNAL)
    case.note(f"values {low:g} to {high:g} of 16 bit were scaled to 8 bit")
    scaled: npt.NDArray[np.uint8] = np.clip((values - low) * (255.0 / (high - low)) + 0.5, 0, 255).astype(np.uint8)
    return scaled
