"""Views: the pictures of one eye that networks see, each on its own fixed scale, as a right eye's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.volumes.centres import Centres
from oculard_models.volumes.maps import en_face, thickness_um
from oculard_models.volumes.normative import NORMATIVE_PX, Normative
from oculard_models.volumes.view_specs import VIEWS
from oculard_models.volumes.volume import Layers, Map, Volume

SIDE_UM: Final = 6000.0  # a view shows so much around the disc, where the volume is larger
DEPTH_UM: Final = 1400.0  # a B-scan's view shows so much in depth,
ABOVE_UM: Final = 250.0  # and so much of it above the retina
GREY: Final = (1.0, 99.0)  # percentiles of an en face picture that become black and white

View = npt.NDArray[np.float32]  # size x size, 0..1

DEFAULT_VIEWS: Final = ("rnfl-thickness", "gcc-thickness", "en-face", "bscan-disc")  # ours: MODELS.md 7.4
THICKNESS: Final = {"rnfl-thickness": "rnfl", "gcc-thickness": "gcc", "gcl-thickness": "gcl"}


class ViewMissing(ValueError):
    """A view that this eye cannot have. `reason` is a stable slug: no-disc, no-fovea, no-normative, no-photograph."""

    def __init__(self, view: str, reason: str) -> None:
        self.view, self.reason = view, reason
        super().__init__(f"view `{view}` cannot be made: {reason}")


def make_views(
    volume: Volume,
    layers: Layers,
    found: Centres,
    names: Sequence[str],
    size_px: int,
    normative: Normative | None = None,
    photograph: npt.NDArray[np.uint8] | None = None,
) -> dict[str, View]:
    """Make views of a volume as it was read, with its layers and centres; left eyes are mirrored here, once.

    `photograph` is a grey square of the disc, as it was read. Raises ViewMissing; KeyError for an unknown name.
    """
    columns = volume.pixels.shape[2]
    scene = _Scene(
        volume=volume.as_right(),
        layers=layers.as_right(volume.eye),
        found=found.as_right(volume.eye, columns),
        size_px=size_px,
        normative=normative,
        photograph=photograph,
    )
    return {name: scene.view(name) for name in names}


def thickness_maps(
    volume: Volume, layers: Layers, found: Centres, names: Sequence[str], size_px: int
) -> dict[str, Map]:
    """Thickness maps in micrometres, cropped and sized as views are, NaN where unknown. Raises ViewMissing."""
    columns = volume.pixels.shape[2]
    scene = _Scene(
        volume=volume.as_right(),
        layers=layers.as_right(volume.eye),
        found=found.as_right(volume.eye, columns),
        size_px=size_px,
    )
    return {name: scene.thickness(name, size_px) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """Everything of one eye, as a right one's."""

    volume: Volume
    layers: Layers
    found: Centres
    size_px: int
    normative: Normative | None = None
    photograph: npt.NDArray[np.uint8] | None = None

    def view(self, name: str) -> View:
        """One view by its name."""
        scale = VIEWS[name].scale
        if name in THICKNESS:
            return _scaled(self.thickness(name, self.size_px), *(scale or (0.0, 1.0)))
        if name.endswith("-deviation"):
            return _scaled(self._deviation(name), *(scale or (0.0, 1.0)))
        if name == "en-face":
            return self._en_face()
        if name == "photograph":
            return self._photograph()
        return self._bscan(name, self.found.disc if name == "bscan-disc" else self.found.fovea)

    def thickness(self, name: str, size_px: int) -> Map:
        """A thickness map of the window, in micrometres."""
        return resized(thickness_um(self.layers, THICKNESS[name], self.volume.spacing), self._window(name), size_px)

    def _deviation(self, name: str) -> Map:
        """How far the thickness is from healthy eyes', in standard deviations."""
        if self.normative is None:
            raise ViewMissing(name, "no-normative")
        thick = name.replace("-deviation", "-thickness")
        deviation = self.normative.deviation(thick, self.thickness(thick, NORMATIVE_PX))
        return resized(deviation, (0.0, 0.0, NORMATIVE_PX, NORMATIVE_PX), self.size_px)

    def _en_face(self) -> View:
        """The projection, from its darkest to its brightest."""
        grey = resized(en_face(self.volume, self.layers), self._window("en-face"), self.size_px)
        known = grey[np.isfinite(grey)]
        low, high = np.percentile(known, GREY) if known.size else (0.0, 1.0)
        return _scaled(grey, float(low), max(float(high), float(low) + 1.0))

    def _photograph(self) -> View:
        """The disc's photograph."""
        if self.photograph is None:
            raise ViewMissing("photograph", "no-photograph")
        grey = self.photograph if self.volume.eye == "R" else self.photograph[:, ::-1]
        rows, columns = grey.shape
        return _scaled(resized(grey.astype(np.float32), (0.0, 0.0, columns, rows), self.size_px), 0.0, 255.0)

    def _bscan(self, name: str, place: tuple[float, float] | None) -> View:
        """The B-scan through a place, cropped in depth below the top of its retina; below the last row it is black."""
        reason = "no-disc" if name == "bscan-disc" else "no-fovea"
        if place is None:
            raise ViewMissing(name, reason)
        left, _, right, _ = self._window(name)
        frame = min(max(round(place[0]), 0), len(self.volume.pixels) - 1)
        surface = self.layers.ilm[frame, int(left) : int(np.ceil(right))]
        if not np.isfinite(surface).any():
            raise ViewMissing(name, reason)
        step = self.volume.spacing.depth_um
        above, height = ABOVE_UM / step, DEPTH_UM / step
        top = max(float(np.nanpercentile(surface, 2.0)), 0.0)
        pixels = np.pad(self.volume.pixels[frame].astype(np.float32), ((int(above) + 1, int(height) + 1), (0, 0)))
        top += int(above) + 1 - above
        return _scaled(resized(pixels, (left, top, right, top + height), self.size_px), 0.0, 255.0)

    def _window(self, name: str) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is shown: SIDE_UM around the disc, moved into the volume."""
        if self.found.disc is None:
            raise ViewMissing(name, "no-disc")
        frames, _, columns = self.volume.pixels.shape
        spacing = self.volume.spacing
        top, bottom = _around(self.found.disc[0], SIDE_UM / spacing.frame_um, frames)
        left, right = _around(self.found.disc[1], SIDE_UM / spacing.column_um, columns)
        return left, top, right, bottom


def resized(values: Map, box: tuple[float, float, float, float], size_px: int) -> Map:
    """A box (left, top, right, bottom) of a map as a square; NaN where most of what went in is."""
    known = np.isfinite(values)
    square = (size_px, size_px)
    parts = [
        np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(square, Image.Resampling.BILINEAR, box=box))
        for part in (np.where(known, values, np.float32(0.0)), known.astype(np.float32))
    ]
    share = parts[1]
    return np.where(share > 0.5, parts[0] / np.maximum(share, 1e-6), np.float32(np.nan)).astype(np.float32)


def _around(centre: float, length: float, size: int) -> tuple[float, float]:
    """A stretch of a length around a centre that stays within 0..size; all of it where it is not longer."""
    if length >= size:
        return 0.0, float(size)
    start = min(max(centre + 0.5 - length / 2.0, 0.0), size - length)
    return start, start + length


def _scaled(values: Map, low: float, high: float) -> View:
    """Values as 0..1; nothing is 0."""
    return np.asarray(np.nan_to_num(np.clip((values - low) / (high - low), 0.0, 1.0)), dtype=np.float32)
