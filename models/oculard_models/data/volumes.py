"""OCT volumes for the laboratory: DICOM files below a folder, as the daemon reads them, without a vault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from oculard_models.dicom_geometry import Unfit, read_geometry
from oculard_models.dicom_header import header_text
from oculard_models.dicom_pixels import Undecodable, read_header
from oculard_models.dicom_volume import read_voxels
from oculard_models.volumes.volume import Volume

OPHTHALMIC_TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
VOXELS_MAX = 992 * 512 * 512


class VolumeUnusable(ValueError):
    """A file that is no volume, or one that cannot be used. The message names the file and says why."""


def find_volumes(paths: Sequence[Path]) -> Iterator[Path]:
    """The Ophthalmic Tomography instances among files and below folders; links are not followed."""
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and not file.is_symlink() and (_is_volume(file) or file == path):
                yield file


def read_volume_file(path: Path) -> Volume:
    """Read a volume whose header says which eye it is. Raises VolumeUnusable."""
    try:
        header = read_header(path)
        geometry = read_geometry(header)
        eye = header_text(header, "ImageLaterality") or header_text(header, "Laterality")
        if eye not in ("R", "L"):
            raise VolumeUnusable(f"{path}: the header does not say which one eye it is")
        voxels = read_voxels(path, geometry, voxels_max=VOXELS_MAX)
    except Unfit as why:
        raise VolumeUnusable(f"{path}: {why.reason}") from why
    except Undecodable as why:
        raise VolumeUnusable(f"{path}: {why}") from why
    except OSError as why:
        raise VolumeUnusable(f"{path} cannot be read: {why.strerror}") from why
    return Volume(pixels=voxels.pixels, spacing=geometry.spacing, eye=eye, scan=geometry.scan)


def _is_volume(path: Path) -> bool:
    """Does the header say that this is a structural OCT volume?"""
    try:
        return header_text(read_header(path), "SOPClassUID") == OPHTHALMIC_TOMOGRAPHY
    except (Undecodable, OSError):
        return False  # no DICOM file, or none that can be read
