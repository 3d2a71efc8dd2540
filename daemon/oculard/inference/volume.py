"""OCT volumes: read, looked over, segmented, and turned into the views that a network sees. Nothing is ever guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.errors import Misconfigured
from oculard.imaging.eyes import acquisitions
from oculard.imaging.facts import Facts
from oculard.imaging.kinds import FUNDUS, OCT_VOLUME, kind_of
from oculard.inference.case import Case, Stopwatch, Verdict, failed
from oculard.inference.prepared import Prepared
from oculard.inference.volume_reading import (
    MACULA_VOLUME,
    NO_DISC,
    NO_RETINA,
    NO_SIGNAL,
    WORDS,
    layers_of,
    read_volume,
)
from oculard.job import JobEvent
from oculard.report.source import Grade, Source
from oculard.settings import Glaucoma
from oculard.store.jobs import JobInput
from oculard.store.vault import Vault
from oculard_models.contract import Qualifier
from oculard_models.dicom_geometry import Unfit
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.volumes.centres import Centres, find_centres
from oculard_models.volumes.normative import Normative, NormativeWrong, read_normative
from oculard_models.volumes.views import ViewMissing, make_views
from oculard_models.volumes.volume import Layers, Volume

NO_GATE = "graded by plain checks of contrast and layers, no quality gate"
NO_PHOTOGRAPH = "no photograph of this eye came with the volume"
CERTAINTY = "certainty=probability x share of views that agree"
CONTRAST_LEVELS = 24  # of 255, between the darkest and the brightest hundredth
LOOKED_AT = 64  # rows, columns and frames at most that the contrast is taken from
RETINA_LEAST, RETINA_GOOD = 0.5, 0.9  # share of the A-scans in which the surface of the retina was found
SHOWN_PX = 224  # height and width of a view in the report's picture: networks make do with less than people
RETINA_IN_PART = "retina-in-part"
logger = log.get("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """How volumes are read in this installation."""

    voxels_max: int = Glaucoma().volume_voxels_max
    normative: Normative | None = None


def volumes(settings: Glaucoma) -> Volumes:
    """Read what the settings name. Raises Misconfigured."""
    try:
        normative = None if settings.normative is None else read_normative(settings.normative)
    except NormativeWrong as why:
        raise Misconfigured(
            f"[glaucoma] normative: {why}", hint="`oculard-lab normative` makes such a file of healthy eyes"
        ) from why
    return Volumes(voxels_max=settings.volume_voxels_max, normative=normative)


def look_at_volume(case: Case, vault: Vault, image: JobInput, eye: str, how: Volumes) -> Source:
    """Look at one volume; whatever is wrong with it stays with it. A case that is closed is only named."""
    path = vault.path(image.path)
    header = read_header(path)
    if case.verdict is not None:
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    try:
        grade, reasons = _prepare(case, vault, image, eye, how)
    except Unfit as why:
        logger.info("image not used", job=case.job.ticket.id, reason=why.reason)
        return Source(header=header, grade=Grade.UNGRADABLE, reasons=(why.reason,), used=False)
    except Undecodable as why:
        case.notes.append(f"image not decoded: {why.reason}")
        return Source(header=header, grade=Grade.NOT_ASSESSED, reasons=(why.reason,), used=False)
    case.note(NO_GATE)
    if not _has_photograph(case, image):
        case.note(NO_PHOTOGRAPH)
    return Source(header=header, grade=grade, reasons=reasons, used=case.verdict is None)


def nothing_fits(case: Case) -> Verdict | None:
    """Why none of the volumes that were looked at can be classified; None when one could not even be decoded."""
    reasons = [reason for source in case.sources if source.grade == Grade.UNGRADABLE for reason in source.reasons]
    if not reasons:
        return None
    words = [f"{reason} ({WORDS[reason]})" for reason in dict.fromkeys(reasons)]
    return Verdict(
        event=JobEvent.REJECT,
        qualifier=Qualifier.NOT_ATTEMPTED,
        reason=reasons[0],
        remark="not attempted: " + ", ".join(words),
    )


def _prepare(case: Case, vault: Vault, image: JobInput, eye: str, how: Volumes) -> tuple[Grade, tuple[str, ...]]:
    """Make the views and leave them with the case; the volume itself is gone afterwards. Raises Unfit, Undecodable."""
    with Stopwatch([case], "read"):
        volume, known, note = read_volume(vault.path(image.path), eye=eye, voxels_max=how.voxels_max)
        _must_have_contrast(volume)
    with Stopwatch([case], "layers"):
        layers, origin = layers_of(volume, known, image, case.job.inputs, vault)
        grade, reasons = _grade(layers)
        found = find_centres(volume, layers)
        _must_show_disc(found)
    with Stopwatch([case], "views"):
        made = _views(case, volume, layers, found, how)
    if made is not None:
        tensor, shown = made
        case.images.append(Prepared(sop_instance_uid=image.sop_instance_uid, eye=eye, tensor=tensor, shown=shown))
        case.parameters += _parameters(case, volume, found, origin, how)
        case.note(note)
    return grade, reasons


def _must_have_contrast(volume: Volume) -> None:
    """Refuse a black or even volume. Raises Unfit."""
    steps = [max(1, size // LOOKED_AT) for size in volume.pixels.shape]
    some = volume.pixels[:: steps[0], :: steps[1], :: steps[2]]
    dark, bright = np.percentile(some, (1, 99))
    if bright - dark < CONTRAST_LEVELS:
        raise Unfit(NO_SIGNAL)


def _grade(layers: Layers) -> tuple[Grade, tuple[str, ...]]:
    """How much of the scan shows a retina: that, and no more, is its grade. Raises Unfit."""
    share = float(np.isfinite(layers.ilm).mean())
    if share < RETINA_LEAST or not np.isfinite(layers.bm).any():
        raise Unfit(NO_RETINA)
    return (Grade.GOOD, ()) if share >= RETINA_GOOD else (Grade.LIMITED, (RETINA_IN_PART,))


def _must_show_disc(found: Centres) -> None:
    """Refuse a scan without an optic disc; where there is a fovea, it is one of the macula. Raises Unfit."""
    if found.disc is None:
        raise Unfit(NO_DISC if found.fovea is None else MACULA_VOLUME)


Views = npt.NDArray[np.float32]  # views x height x width, 0 to 1, as a right eye


def _views(case: Case, volume: Volume, layers: Layers, found: Centres, how: Volumes) -> tuple[Views, Views] | None:
    """What the network sees, and the same in the size in which people look at it. Raises Unfit.

    None where only a person can help, and the case is closed.
    """
    names, (size_px, _) = case.manifest.input.views, case.manifest.input.size_px
    try:
        seen = make_views(volume, layers, found, names, size_px, how.normative)
        shown = seen if size_px >= SHOWN_PX else make_views(volume, layers, found, names, SHOWN_PX, how.normative)
    except ViewMissing as why:
        if why.reason in WORDS:
            raise Unfit(why.reason) from why
        case.close(failed(why.reason, f"the view `{why.view}` cannot be made here"))
        return None
    return np.stack([seen[name] for name in names]), np.stack([shown[name] for name in names])


def _parameters(case: Case, volume: Volume, found: Centres, origin: str, how: Volumes) -> list[str]:
    """What the values depend on, as the report writes an algorithm's parameters."""
    spacing, (frames, depth, columns) = volume.spacing, volume.pixels.shape
    words = [
        f"volume={frames} frames of {depth} x {columns}",
        f"spacing-um={spacing.frame_um:.4g} x {spacing.depth_um:.4g} x {spacing.column_um:.4g}",
        f"scan={volume.scan or 'not said'}",
        f"layers={origin}",
        f"views={', '.join(case.manifest.input.views)}",
        f"shown={'as a right eye, mirrored' if volume.eye == 'L' else 'as it is'}",
        CERTAINTY,
    ]
    if found.disc is not None:
        words.append(f"disc-center=frame {found.disc[0] + 1:.1f}, column {found.disc[1] + 1:.1f}")
    if how.normative is not None and any(name.endswith("-deviation") for name in case.manifest.input.views):
        words.append(f"normative=sha256 {how.normative.digest}, {how.normative.eyes} eyes")
    return words


def _has_photograph(case: Case, image: JobInput) -> bool:
    """Whether a photograph was taken with a volume: same eye, same frame of reference or near in time."""
    facts = [Facts.from_json(one.facts) for one in case.job.inputs]
    together = acquisitions([one for one in facts if kind_of(one) in (FUNDUS, OCT_VOLUME)])
    return any(one.photograph for one in together if one.volume.sop_instance_uid == image.sop_instance_uid)
