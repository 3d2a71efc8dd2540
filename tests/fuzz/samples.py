"""Good bytes of every kind, small: what hostile ones are made of."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate

from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_layers import wrap_height_map, wrap_surfaces
from oculard_models.data.painted_study import Visit, wrap_fundus
from oculard_models.data.painted_volume import wrap_volume
from peers import SYSTEM_PATH
from real_data import DATA
from topcon_samples import fda, fds
from volume_samples import opt, painted, written

REAL_BYTES_MAX = 48 << 10
COLOUR = np.add.outer(np.arange(24) * 8, np.arange(32) * 2)[..., None].repeat(3, axis=2).astype(np.uint8)
DEEP = (painted(1, 40, 40).astype(np.uint16) * 11).astype(np.uint16)
SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
DCMTK = (
    ("dcmcjpeg", "+eb"),
    ("dcmcjpeg", "+e1"),
    ("dcmcjpeg", "+el"),
    ("dcmcjpls", "+el"),
    ("dcmcrle", ""),
    ("dcmconv", "+td"),
)


def real() -> list[bytes]:
    """The small ones of the real and the awkward files, where they are there."""
    paths = sorted(DATA.glob("dicom/*.dcm")) if DATA.is_dir() else []
    return [path.read_bytes() for path in paths if path.stat().st_size <= REAL_BYTES_MAX]


def photographs() -> list[bytes]:
    """Small colour photographs, raw, as JPEG, and as DCMTK encodes them."""
    visit = Visit(study_uid="1.2", series_uid="1.3")
    raw = wrap_fundus(COLOUR, visit, eye="R", uid="1.4", compression="raw")
    made = [saved(raw), saved(wrap_fundus(COLOUR, visit, eye="R", uid="1.4"))]
    for syntax in (uid.JPEG2000Lossless, uid.JPEG2000):
        ds = wrap_fundus(COLOUR, visit, eye="R", uid="1.4", compression="raw")
        file = io.BytesIO()
        Image.fromarray(COLOUR).save(file, "JPEG2000", irreversible=syntax == uid.JPEG2000, no_jp2=True)
        made.append(saved(compressed(ds, [file.getvalue()], syntax)))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "raw.dcm", Path(folder) / "made.dcm"
        source.write_bytes(made[0])
        for tool, option in DCMTK:
            found = shutil.which(tool, path=SYSTEM_PATH)
            if found is not None:
                subprocess.run([found, *filter(None, [option]), source, target], check=True, capture_output=True)
                made.append(target.read_bytes())
    return made


def volumes() -> list[bytes]:
    """Small OCT volumes in many transfer syntaxes, of 8 and 16 bits."""
    made: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.dcm"
        for pixels in (painted(), painted().astype(np.uint16) * 11):
            made += [written(opt(pixels), path, pixels, syntax).read_bytes() for syntax in SYNTAXES]
    return made


def slabs() -> list[bytes]:
    """The first frames of such volumes: single images of grey."""
    made: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slab.dcm"
        for pixels in (painted(1, 40, 40), DEEP):
            made += [written(opt(pixels), path, pixels, syntax).read_bytes() for syntax in SYNTAXES]
    return made


def topcon() -> list[bytes]:
    """Files of Topcon's own."""
    pixels = painted(33, 64, 48)
    deep = fds(pixels.astype(np.uint16) * 11, COLOUR.repeat(2, axis=0))
    return [fda(pixels, photograph=COLOUR.repeat(2, axis=0)).content(), deep.content()]


def compressed(ds: FileDataset, frames: list[bytes], syntax: str) -> FileDataset:
    """A data set with other pixels."""
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    return ds


def saved(ds: FileDataset) -> bytes:
    """A data set's file."""
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


LAYERED_UID = "2.25.13"


@cache
def layered() -> tuple[bytes, bytes, bytes]:
    """A volume, and the layers that a device found in it: as a height map, and as surfaces."""
    painted_volume = paint_volume(draw_eye(5, "normal"), frames=32, depth=220, columns=32, seed=1)
    visit = Visit(study_uid="2.25.11", series_uid="2.25.12")
    volume = wrap_volume(painted_volume, visit, uid=LAYERED_UID)
    others = [wrap(painted_volume, volume, visit, uid="2.25.15") for wrap in (wrap_height_map, wrap_surfaces)]
    return saved(volume), saved(others[0]), saved(others[1])


def layered_objects() -> list[bytes]:
    """The layers alone."""
    return list(layered()[1:])


def files() -> list[bytes]:
    """Files of every kind."""
    return [*real(), *photographs(), *slabs(), *volumes()[3:8], *layered_objects()]


def pictures() -> list[bytes]:
    """Files of colour."""
    return [*photographs(), *(file for file in real() if b"\x28\0\x02\0US\x02\0\x03\0" in file)]


def greys() -> list[bytes]:
    """Files of one frame of grey, and what else there is."""
    return [*slabs(), *real()]
