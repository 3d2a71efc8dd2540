"""Reading an OCT volume of a job and its layers: the device's own where it sent them, else ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from oculard.imaging.facts import Facts
from oculard.imaging.kinds import OCT_LAYERS, kind_of
from oculard.inference.case import Case
from oculard.inference.decoding import Decoding
from oculard.inference.layer_finder import LayerFinder
from oculard.store.jobs import JobInput
from oculard.store.vault import Vault
from oculard_models import dicom_geometry as geometry
from oculard_models.dicom_geometry import Unfit, read_geometry
from oculard_models.dicom_layers import NOT_OF_VOLUME
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.volumes.volume import Layers, Scan, Volume

NO_SIGNAL, NO_RETINA, NO_DISC, MACULA_VOLUME = "no-signal", "no-retina", "no-disc", "macula-volume"
LAYER_OBJECTS_MAX = 16  # of a job: an acquisition has one
WORDS = {  # what a person must know, beside the slug
    geometry.ONE_FRAME: "a single B-scan came, and no volume",
    geometry.TOO_FEW_FRAMES: f"fewer than {geometry.FRAMES_MIN} B-scans are lines, and no volume",
    geometry.FRAMES_MISSING: "not all frames that the header counts are there",
    geometry.FRAMES_UNORDERED: "the header does not say where each frame lies",
    geometry.NOT_A_RASTER: "the B-scans are not horizontal ones below each other",
    geometry.SPACING_MISSING: "the header does not say what a pixel or a step between frames measures",
    geometry.SPACING_IMPLAUSIBLE: "the header gives lengths that contradict each other, or that no eye has",
    NO_SIGNAL: "black or without contrast",
    NO_RETINA: "in too little of the scan is a retina",
    NO_DISC: "the optic disc is not in the scan",
    MACULA_VOLUME: "a scan of the macula came, one of the optic disc is wanted",
    "no-fovea": "the fovea is not in the scan, and the model looks at it",
    "no-photograph": "no colour photograph of this eye came with the scan, and the model looks at it",
    "photograph-unusable": "the photograph that came with the scan cannot be decoded or is not good enough",
    "photograph-no-disc": "the optic disc was not found in the photograph that came with the scan",
}


def read_volume(decoder: Decoding, path: Path, *, eye: str, voxels_max: int) -> tuple[Volume, geometry.Geometry, str]:
    """The volume of a file, how it lies, and a note for the report. Raises Unfit or, without pixels, Undecodable."""
    known = read_geometry(read_header(path))
    if known.scan is Scan.MACULA:
        raise Unfit(MACULA_VOLUME)
    try:
        voxels = decoder.voxels(path, known, voxels_max=voxels_max).result()
    except Undecodable as why:
        if why.reason in WORDS:
            raise Unfit(why.reason, str(why)) from why
        raise
    volume = Volume(pixels=voxels.pixels, spacing=known.spacing, eye=eye, scan=known.scan)
    if voxels.scaled is None:
        return volume, known, ""
    low, high = voxels.scaled
    return volume, known, f"values {low:g} to {high:g} of 16 bit were scaled to 8 bit"


def layers_of(
    case: Case,
    volume: Volume,
    known: geometry.Geometry,
    image: JobInput,
    vault: Vault,
    finder: LayerFinder,
) -> tuple[Layers, str]:
    """The layers of a volume, and who found them: the device where it sent them whole, else we.

    Raises EstimatorRefused where we need a network that cannot be used.
    """
    refused = ""
    for one in _layer_objects(case.job.inputs):
        try:
            found = case.decoder.layers(
                vault.path(one.path),
                known,
                volume_uid=image.sop_instance_uid,
                frame_of_reference_uid=Facts.from_json(image.facts).frame_of_reference_uid,
            )
            layers = found.result()
        except (Unfit, Undecodable) as why:
            if why.reason != NOT_OF_VOLUME:  # a study has those of all its volumes
                refused = f", the device's own are not usable: {why.reason}"
            continue
        return layers, f"found by the device, {one.sop_instance_uid}"
    layers, how = finder.find(volume, job=case.job.ticket.id)
    return layers, f"{how}{refused}"


def _layer_objects(inputs: Sequence[JobInput]) -> list[JobInput]:
    """What a job has of layers that a device found."""
    return [one for one in inputs if kind_of(Facts.from_json(one.facts)) == OCT_LAYERS][:LAYER_OBJECTS_MAX]
