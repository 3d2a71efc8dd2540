"""The decoder: a process that turns files into arrays for another, and may die of them.

It answers one question after the other on the socket that it inherits: a question is a JSON object, an answer is one
too, with the array beside it in memory that both may share. What a file does to the process stays in the process: its
memory is limited, and a timer ends a question that takes too long even when nobody waits for the answer any more.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.dicom_geometry import Geometry, Unfit
from oculard_models.dicom_layers import NAMES, read_layers
from oculard_models.dicom_pixels import Undecodable, read_rgb, read_values
from oculard_models.dicom_volume import read_voxels
from oculard_models.importers.topcon_dicom import topcon_instances
from oculard_models.importers.topcon_file import read_topcon
from oculard_models.volumes.volume import Scan, Spacing

FILES_GIVEN_MAX = 4  # with one message
MESSAGE_BYTES_MAX = 64 << 10  # the largest has the order of 2048 frames
MEMORY_SPENT = "decoder-memory"
PLUGINS = ("gdcm", "jpeg_ls", "openjpeg", "rle", "PIL.JpegImagePlugin")
FILES_MAX = 64
Array = npt.NDArray[Any]
Answer = tuple[Array, Mapping[str, Any]]


def main() -> None:
    """Answer until nobody asks any more: `python -m oculard_models.decoder SOCKET MEMORY_BYTES QUESTION_S`."""
    handle, memory_bytes, question_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for limit, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, memory_bytes),  # what is shared counts as a file
        (resource.RLIMIT_NOFILE, FILES_MAX),
        (resource.RLIMIT_CORE, 0),  # a core would hold a patient's eye
    ):
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked says when to stop
    for name in PLUGINS:
        importlib.import_module(name)
    with socket.socket(fileno=handle) as asker:
        asker.send(b"{}")  # ready
        while True:
            question, files, _, _ = socket.recv_fds(asker, MESSAGE_BYTES_MAX, FILES_GIVEN_MAX)
            if not question:
                return
            signal.setitimer(signal.ITIMER_REAL, question_s)  # SIGALRM ends the process, in whatever code it is
            _reply(asker, json.loads(question), files)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _reply(asker: socket.socket, question: dict[str, Any], files: list[int]) -> None:
    """Send the answer, or why there is none."""
    made: list[int] = []
    try:
        if files:
            said = FILE_QUESTIONS[question.pop("what")](files[0], made, **question)
        else:
            array, said = QUESTIONS[question.pop("what")](**question)
            made.append(_shared(array))
            said = {"dtype": array.dtype.str, "shape": array.shape, **said}
        socket.send_fds(asker, [json.dumps(said).encode()], made)
    except Undecodable as why:
        _send(asker, {"undecodable": why.reason, "message": str(why)})
    except Unfit as why:
        _send(asker, {"unfit": why.reason, "message": str(why)})
    except MemoryError:
        _send(asker, {"undecodable": MEMORY_SPENT, "message": "it needs more memory than decoding may take"})
    except OSError as why:
        _send(asker, {"os_error": why.errno or 0})
    except BaseException as why:
        if type(why).__module__ != "pyo3_runtime":  # a codec in Rust panics past Exception
            raise
        _send(asker, {"undecodable": "pixels-undecodable", "message": "the pixels cannot be decoded: panic"})
    finally:
        for handle in (*files, *made):
            os.close(handle)


def _send(asker: socket.socket, answer: Mapping[str, Any]) -> None:
    asker.send(json.dumps(answer).encode())


def _shared(array: Array) -> int:
    """A nameless file in memory with the array's bytes."""
    handle = os.memfd_create("oculard-decoded", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(np.ascontiguousarray(array).data).cast("B")
        while left:
            left = left[os.write(handle, left) :]
    except BaseException:
        os.close(handle)
        raise
    return handle


def _rgb(path: str, pixels_max: int) -> Answer:
    return read_rgb(Path(path), pixels_max=pixels_max), {}


def _values(path: str, pixels_max: int) -> Answer:
    return read_values(Path(path), pixels_max=pixels_max), {}


def _voxels(path: str, geometry: dict[str, Any], voxels_max: int) -> Answer:
    voxels = read_voxels(Path(path), geometry_of(geometry), voxels_max=voxels_max)
    return voxels.pixels, {"scaled": voxels.scaled}


def _layers(path: str, geometry: dict[str, Any], volume_uid: str, frame_of_reference_uid: str) -> Answer:
    found = read_layers(
        Path(path), geometry_of(geometry), volume_uid=volume_uid, frame_of_reference_uid=frame_of_reference_uid
    )
    return np.stack([getattr(found, name) for name in NAMES]), {}


def geometry_of(said: Mapping[str, Any]) -> Geometry:
    """A geometry as it was before it became JSON."""
    corner = said["corner_mm"]
    return Geometry(
        rows=said["rows"],
        columns=said["columns"],
        order=tuple(said["order"]),
        mirrored=said["mirrored"],
        spacing=Spacing(**said["spacing"]),
        scan=Scan(said["scan"]),
        corner_mm=None if corner is None else (corner[0], corner[1], corner[2]),
    )


def _topcon(file: int, made: list[int], folder: str, sha256: str) -> Mapping[str, Any]:
    """The instances of a file of Topcon's own, each in a file without a name, at its beginning."""
    with open(file, "rb", closefd=False) as source:
        instances = topcon_instances(read_topcon(source), sha256)
    for ds in instances:
        with tempfile.TemporaryFile(dir=folder) as target:
            ds.save_as(target, enforce_file_format=True)
            target.seek(0)
            made.append(os.dup(target.fileno()))
    return {}


QUESTIONS: dict[str, Callable[..., Answer]] = {
    "rgb": _rgb,
    "values": _values,
    "voxels": _voxels,
    "layers": _layers,
}

FILE_QUESTIONS: dict[str, Callable[..., Mapping[str, Any]]] = {"topcon": _topcon}

if __name__ == "__main__":
    main()
