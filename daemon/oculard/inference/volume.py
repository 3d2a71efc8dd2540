"""OCT volumes: read, looked over, segmented, and turned into the views that a network sees. Nothing is ever guessed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from oculard import log
from oculard.errors import Misconfigured
from oculard.inference.case import Case, Stopwatch, Verdict, failed
from oculard.inference.estimators import EstimatorRefused
from oculard.inference.layer_finder import LayerFinder, layer_finder
from oculard.inference.prepared import Prepared
from oculard.inference.volume_photograph import VIEW as PHOTOGRAPH
from oculard.inference.volume_photograph import DiscPicture, Photographs, disc_picture, photograph_of
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
    layers: LayerFinder = field(default_factory=lambda: layer_finder(Glaucoma(), threads=1))


def volumes(settings: Glaucoma, *, threads: int = 1) -> Volumes:
    """Read what the settings name; the network for layers waits for its first volume. Raises Misconfigured."""
    normative, layers = read_named_normative(settings), layer_finder(settings, threads)
    return Volumes(voxels_max=settings.volume_voxels_max, normative=normative, layers=layers)


def read_named_normative(settings: Glaucoma) -> Normative | None:
    """The normative set, where one is named. Raises Misconfigured."""
    try:
        return None if settings.normative is None else read_normative(settings.normative)
    except NormativeWrong as why:
        raise Misconfigured(
            f"[glaucoma] normative: {why}", hint="`oculard-lab normative` makes such a file of healthy eyes"
        ) from why


def look_at_volume(
    case: Case, vault: Vault, image: JobInput, eye: str, how: Volumes, photographs: Photographs
) -> Source:
    """Look at one volume; whatever is wrong with it stays with it. A case that is closed is only named."""
    path = vault.path(image.path)
    header = read_header(path)
    if case.verdict is not None:
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    try:
        grade, reasons = _prepare(case, vault, image, eye, how, photographs)
    except Unfit as why:
        logger.info("image not used", job=case.job.ticket.id, reason=why.reason)
        return Source(header=header, grade=Grade.UNGRADABLE, reasons=(why.reason,), used=False)
    except Undecodable as why:
        case.notes.append(f"image not decoded: {why.reason}")
        return Source(header=header, grade=Grade.NOT_ASSESSED, reasons=(why.reason,), used=False)
    except EstimatorRefused as why:
        case.close(failed(why.reason, "the network for layers cannot be used"))
        return Source(header=header, grade=Grade.NOT_ASSESSED, used=False)
    case.note(NO_GATE)
    return Source(header=header, grade=grade, reasons=reasons, used=case.verdict is None)


def nothing_fits(case: Case) -> Verdict | None:
    """Why none of the volumes that were looked at can be classified; None when one could not even be decoded."""
    reasons = [reason for source in case.sources if source.grade == Grade.UNGRADABLE for reason in source.reasons]
    reasons = [reason for reason in reasons if reason in WORDS]  # a photograph has the gate's
    if not reasons:
        return None
    words = [f"{reason} ({WORDS[reason]})" for reason in dict.fromkeys(reasons)]
    return Verdict(
        event=JobEvent.REJECT,
        qualifier=Qualifier.NOT_ATTEMPTED,
        reason=reasons[0],
        remark="not attempted: " + ", ".join(words),
    )


def _prepare(
    case: Case, vault: Vault, image: JobInput, eye: str, how: Volumes, photographs: Photographs
) -> tuple[Grade, tuple[str, ...]]:
    """Make the views and leave them with the case; the volume itself is gone afterwards. Raises Unfit, Undecodable."""
    with Stopwatch([case], "read"):
        path = vault.path(image.path)
        volume, known, note = read_volume(case.decoder, path, eye=eye, voxels_max=how.voxels_max)
        _must_have_contrast(volume)
    with Stopwatch([case], "layers"):
        layers, origin = layers_of(case, volume, known, image, vault, how.layers)
        grade, reasons = _grade(layers)
        found = find_centres(volume, layers)
        _must_show_disc(found)
    photograph = photograph_of(case, image)
    reads_it, picture = PHOTOGRAPH in case.manifest.input.views, None
    if reads_it:
        with Stopwatch([case], "read"):
            picture = disc_picture(case, vault, photograph, photographs)
    with Stopwatch([case], "views"):
        made = None if reads_it and picture is None else _views(case, volume, layers, found, how, picture)
    if made is not None:
        tensor, shown = made
        case.images.append(Prepared(sop_instance_uid=image.sop_instance_uid, eye=eye, tensor=tensor, shown=shown))
        case.parameters += _parameters(case, volume, found, origin, how)
        _say_photograph(case, picture)
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


def _say_photograph(case: Case, picture: DiscPicture | None) -> None:
    """Let the report say which photograph was used, and how."""
    if picture is not None:
        case.beside.append(picture.source)
        case.parameters.append(f"photograph={picture.words}")
        case.note(f"the photograph was graded by {picture.grader}")


def _views(
    case: Case, volume: Volume, layers: Layers, found: Centres, how: Volumes, picture: DiscPicture | None
) -> tuple[Views, Views] | None:
    """What the network sees, and the same in the size in which people look at it. Raises Unfit.

    None where only a person can help, and the case is closed.
    """
    names, (size_px, _) = case.manifest.input.views, case.manifest.input.size_px
    grey = None if picture is None else picture.grey
    try:
        seen = make_views(volume, layers, found, names, size_px, how.normative, grey)
        shown = seen
        if size_px < SHOWN_PX:
            shown = make_views(volume, layers, found, names, SHOWN_PX, how.normative, grey)
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
