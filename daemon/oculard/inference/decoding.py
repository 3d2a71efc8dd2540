"""Decoding: what turns the files of a job into arrays, in processes of its own that may die of it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from oculard.decoders import Decoders, Limits
from oculard_models import decoder
from oculard_models.dicom_geometry import Geometry, Unfit
from oculard_models.dicom_layers import NAMES, read_layers
from oculard_models.dicom_pixels import Undecodable, read_rgb, read_values
from oculard_models.dicom_volume import Voxels, read_voxels
from oculard_models.preprocess import Pixels
from oculard_models.volumes.volume import Layers

Values = npt.NDArray[np.int32]


class Decoding(Protocol):
    """What turns files into arrays. Each gives Undecodable or OSError in its future, voxels and layers also Unfit."""

    def rgb(self, path: Path, *, pixels_max: int) -> Future[Pixels]:
        """The first frame of a photograph, rows x columns x 3."""

    def values(self, path: Path, *, pixels_max: int) -> Future[Values]:
        """The first frame as rows x columns of grey, or x 3 of colour, as stored."""

    def voxels(self, path: Path, geometry: Geometry, *, voxels_max: int) -> Future[Voxels]:
        """The frames of a volume in the order of its geometry."""

    def layers(self, path: Path, geometry: Geometry, *, volume_uid: str, frame_of_reference_uid: str) -> Future[Layers]:
        """The layers that a device found in a volume."""


class Decoder:
    """Decodes in so many processes at once."""

    def __init__(self, limits: Limits, *, processes: int = 1, module: str = decoder.__name__) -> None:
        self.processes = Decoders(limits, processes=processes, module=module)
        self._threads = ThreadPoolExecutor(max_workers=processes, thread_name_prefix="decoder")

    def rgb(self, path: Path, *, pixels_max: int) -> Future[Pixels]:
        """The first frame of a photograph, rows x columns x 3."""
        return self._threads.submit(lambda: self._array("rgb", path, pixels_max=pixels_max))

    def values(self, path: Path, *, pixels_max: int) -> Future[Values]:
        """The first frame as rows x columns of grey, or x 3 of colour, as stored."""
        return self._threads.submit(lambda: self._array("values", path, pixels_max=pixels_max))

    def voxels(self, path: Path, geometry: Geometry, *, voxels_max: int) -> Future[Voxels]:
        """The frames of a volume in the order of its geometry."""

        def ask() -> Voxels:
            more: dict[str, Any] = {"geometry": asdict(geometry), "voxels_max": voxels_max}
            with self.processes.ask("voxels", path=str(path), **more) as answer:
                scaled = answer.said["scaled"]
                known = None if scaled is None else (float(scaled[0]), float(scaled[1]))
                return Voxels(pixels=answer.array(), scaled=known)

        return self._threads.submit(ask)

    def layers(self, path: Path, geometry: Geometry, *, volume_uid: str, frame_of_reference_uid: str) -> Future[Layers]:
        """The layers that a device found in a volume."""

        def ask() -> Layers:
            uids = {"volume_uid": volume_uid, "frame_of_reference_uid": frame_of_reference_uid}
            stack = self._array("layers", path, geometry=asdict(geometry), **uids)
            return Layers(**dict(zip(NAMES, stack, strict=True)))

        return self._threads.submit(ask)

    def close(self) -> None:
        """End the processes, whatever they do; what still waits is not decoded any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.processes.close()
        self._threads.shutdown()

    def _array(self, what: str, path: Path, **more: Any) -> npt.NDArray[Any]:
        with self.processes.ask(what, path=str(path), **more) as answer:
            return answer.array()


class Here:
    """Decodes at once in this process: for tests and tools whose files nobody doubts."""

    def rgb(self, path: Path, *, pixels_max: int) -> Future[Pixels]:
        """The first frame of a photograph, rows x columns x 3."""
        return _at_once(read_rgb, path, pixels_max=pixels_max)

    def values(self, path: Path, *, pixels_max: int) -> Future[Values]:
        """The first frame as rows x columns of grey, or x 3 of colour, as stored."""
        return _at_once(read_values, path, pixels_max=pixels_max)

    def voxels(self, path: Path, geometry: Geometry, *, voxels_max: int) -> Future[Voxels]:
        """The frames of a volume in the order of its geometry."""
        return _at_once(read_voxels, path, geometry, voxels_max=voxels_max)

    def layers(self, path: Path, geometry: Geometry, *, volume_uid: str, frame_of_reference_uid: str) -> Future[Layers]:
        """The layers that a device found in a volume."""
        return _at_once(
            read_layers, path, geometry, volume_uid=volume_uid, frame_of_reference_uid=frame_of_reference_uid
        )


def _at_once(read: Any, *arguments: Any, **named: Any) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(read(*arguments, **named))
    except (Undecodable, Unfit, OSError, MemoryError) as why:
        future.set_exception(why)
    return future
