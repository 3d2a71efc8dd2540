"""Prepared images: what the network will see of an image, and what a mask of it is measured and drawn on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from oculard.imaging.spacing import Scale, read_scale
from oculard_models.contract import ImageInput
from oculard_models.dicom_pixels import read_header
from oculard_models.manifest import Manifest
from oculard_models.preprocess import Box, Pixels, prepare, seen_box


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a mask lies in: the image, the part of it that the network sees, and what its pixels measure."""

    pixels: Pixels
    box: Box
    scale: Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One image that is good enough, as the network will see it."""

    sop_instance_uid: str
    eye: str  # "R" or "L"
    tensor: npt.NDArray[np.float32]
    scene: Scene | None = None  # only where the bundle segments
    shown: npt.NDArray[np.float32] | None = None  # of views: the same, in the size in which people look at them


def prepared(image: ImageInput, path: Path, manifest: Manifest) -> Prepared:
    """Prepare one decoded image, whose file is `path`, for a bundle. Raises Undecodable."""
    return Prepared(
        sop_instance_uid=image.sop_instance_uid,
        eye=image.eye,
        tensor=prepare(image, manifest.input),
        scene=None if manifest.mask is None else _scene(image.pixels, path, manifest),
    )


def _scene(pixels: Pixels, path: Path, manifest: Manifest) -> Scene:
    """The header is read again: a report's source must stay as its bytes were."""
    rows, columns = pixels.shape[:2]
    scale = read_scale(read_header(path), rows=rows, columns=columns)
    return Scene(pixels=pixels, box=seen_box(pixels, manifest.input), scale=scale)
