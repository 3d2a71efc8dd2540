"""Small Topcon files, .fda and .fds, chunk by chunk as those who read them describe them; nobody's eye is in them."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.volumes.volume import Layers

CONTOURS = {"ilm": "MULTILAYERS_1", "rnfl_gcl": "MULTILAYERS_2", "ipl_inl": "MULTILAYERS_4", "bm": "MULTILAYERS_7"}
PARAMETERS = struct.pack("<3L5d2B", 3, 0, 0, 6.0, 6.0, 11.5, 0.0, 0.0, 0, 0)


@dataclass
class TopconFile:
    """A file's chunks, to be changed by a test before they are written."""

    kind: bytes = b"FDA"
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)

    def put(self, name: bytes, content: bytes) -> None:
        """Replace a chunk, or add it."""
        for at, (known, _) in enumerate(self.chunks):
            if known == name:
                self.chunks[at] = (name, content)
                return
        self.chunks.append((name, content))

    def drop(self, name: bytes) -> None:
        """Take a chunk out."""
        self.chunks = [chunk for chunk in self.chunks if chunk[0] != name]

    def content(self) -> bytes:
        """The file's bytes."""
        parts = [b"FOCT" + self.kind + struct.pack("<2L", 2, 1000)]
        parts += [bytes([len(name)]) + name + struct.pack("<L", len(data)) + data for name, data in self.chunks]
        return b"".join(parts) + b"\0"


def fda(
    pixels: npt.NDArray[np.uint8],
    *,
    eye: int = 0,
    layers: Layers | None = None,
    photograph: npt.NDArray[np.uint8] | None = None,
    patient_id: bytes = b"0001234",
) -> TopconFile:
    """An .fda file of a volume (frames x rows x columns), its layers and its photograph (RGB)."""
    frames, rows, columns = pixels.shape
    file = TopconFile()
    _common(file, eye, patient_id)
    file.put(b"@PARAM_SCAN_04", PARAMETERS)
    slices = [struct.pack("<L", len(data)) + data for data in map(jpeg_2000, pixels)]
    file.put(b"@IMG_JPEG", struct.pack("<B6L", 2, 0, 0, columns, rows, frames, 0) + b"".join(slices))
    if photograph is not None:
        data = jpeg_2000(photograph[:, :, ::-1])
        height, width = photograph.shape[:2]
        file.put(b"@IMG_FUNDUS", struct.pack("<4L4sL", width, height, 24, 1, b"\2\0\0\0", len(data)) + data)
        box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
        file.put(b"@REGIST_INFO", struct.pack("<B2L4L32s4L", 0, 0, 0, *box, b"8.0.1", *box))
    if layers is not None:
        file.chunks += [(b"@CONTOUR_INFO", contour(layers, name, rows)) for name in CONTOURS]
    return file


def fds(pixels: npt.NDArray[np.uint16], photograph: npt.NDArray[np.uint8], *, eye: int = 1) -> TopconFile:
    """An .fds file of a volume of 16 bit and its photograph, both uncompressed."""
    frames, rows, columns = pixels.shape
    file = TopconFile()
    _common(file, eye, b"0001234")
    file.put(b"@PARAM_SCAN_02", struct.pack("<B5L7dB", 2, 0, 0, 0, 0, 0, 6.0, 6.0, 11.5, 0, 0, 0, 0, 0))
    head = struct.pack("<B4LBL", 2, columns, rows, 16, frames, 0, pixels.nbytes)
    file.put(b"@IMG_SCAN_03", head + pixels.astype("<u2").tobytes())
    height, width = photograph.shape[:2]
    head = struct.pack("<4LBL", width, height, 24, 1, 0, photograph.nbytes)
    file.put(b"@IMG_OBS", head + photograph[:, :, ::-1].tobytes())
    return file


def contour(layers: Layers, name: str, rows: int) -> bytes:
    """A boundary as heights from the lower end, the lowest frame first."""
    heights = rows - getattr(layers, name)[::-1]
    values = np.where(np.isfinite(heights), np.rint(heights), 65535).astype("<u2")
    frames, columns = values.shape
    return struct.pack("<20sH3L", CONTOURS[name].encode(), 0, columns, frames, values.nbytes) + values.tobytes()


def patient(patient_id: bytes, birth: tuple[int, int, int] = (1960, 1, 2), given: bytes = b"Tarou") -> bytes:
    """Who it is."""
    return struct.pack("<32s32s32s8sB3H", patient_id, given, b"Yamada", b"", 1, *birth) + b"\0" * 440


def jpeg_2000(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A picture without loss."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG2000", irreversible=False)
    return file.getvalue()


def captured(eye: int, taken: tuple[int, ...] = (2026, 3, 4, 9, 30, 15)) -> bytes:
    """Which eye, and when."""
    return struct.pack("<BBL100s6H", eye, 2, 7, b"", *taken)


def _common(file: TopconFile, eye: int, patient_id: bytes) -> None:
    parts: Mapping[bytes, bytes] = {
        b"@FDA_FILE_INFO": struct.pack("<2L32s", 2, 1000, b"8.0.1.20198"),
        b"@HW_INFO_03": struct.pack("<16s16s48s10H", b"3DOCT-1Maestro2", b"000042", b"", *[0] * 10),
        b"@PATIENT_INFO_02": patient(patient_id),
        b"@CAPTURE_INFO_02": captured(eye),
    }
    for name, content in parts.items():
        file.put(name, content)
