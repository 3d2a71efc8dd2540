"""Pictures of B-scans with their layers drawn, and of a volume from above with its centres: for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.volumes.centres import Centres
from oculard_models.volumes.maps import en_face
from oculard_models.volumes.volume import Layers, Volume

COLOURS: Final = {  # of the boundaries, from above
    "ilm": (255, 60, 60),
    "rnfl_gcl": (60, 230, 60),
    "ipl_inl": (60, 190, 255),
    "bm": (255, 230, 60),
}
DEPTH_UM, ABOVE_UM = 1300.0, 200.0  # what is shown of a B-scan, and how much of it above the retina
MARK = (255, 60, 60)

Picture = npt.NDArray[np.uint8]


def drawn_volume(volume: Volume, layers: Layers, found: Centres, size_px: int = 420) -> Picture:
    """En face with centres; the B-scan through the disc (or the middle), and one above it; en face says where."""
    frames = len(volume.pixels)
    middle = round(found.disc[0]) if found.disc else frames // 2
    beside = max(0, middle - frames // 4)
    pictures = [_from_above(volume, layers, found, (middle, beside), size_px)]
    pictures += [drawn_frame(volume, layers, frame, size_px) for frame in (middle, beside)]
    return np.concatenate(pictures, axis=1)


def drawn_frame(volume: Volume, layers: Layers, frame: int, size_px: int) -> Picture:
    """One B-scan with its layers, `size_px` high and one and a half times as wide."""
    step = volume.spacing.depth_um
    surface = layers.ilm[frame]
    top = float(np.nanpercentile(surface, 2.0)) - ABOVE_UM / step if np.isfinite(surface).any() else 0.0
    depth = volume.pixels.shape[1]
    first = int(np.clip(top, 0, max(0, depth - DEPTH_UM / step)))
    rows = volume.pixels[frame, first : first + max(1, round(DEPTH_UM / step))]
    width = size_px * 3 // 2
    grey = Image.fromarray(rows).resize((width, size_px), Image.Resampling.BILINEAR)
    picture = np.asarray(grey.convert("RGB")).copy()
    scale = size_px / len(rows)
    at = np.linspace(0, volume.pixels.shape[2] - 1, width).round().astype(np.int64)
    for name, colour in COLOURS.items():
        line = (getattr(layers, name)[frame, at] - first + 0.5) * scale
        there = np.isfinite(line) & (line >= 0) & (line < size_px - 1)
        columns = np.nonzero(there)[0]
        for thick in (0, 1):
            picture[line[there].astype(np.int64) + thick, columns] = colour
    return picture


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one width below each other, with a line between."""
    gap = np.full((4, pictures[0].shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1])


def _from_above(volume: Volume, layers: Layers, found: Centres, shown: Sequence[int], size_px: int) -> Picture:
    """The en face projection, as it was scanned, with crosses on disc and fovea."""
    grey = en_face(volume, layers)
    known = grey[np.isfinite(grey)]
    low, high = np.percentile(known, (1.0, 99.0)) if known.size else (0.0, 1.0)
    scaled = np.nan_to_num(np.clip((grey - low) / max(float(high - low), 1.0), 0.0, 1.0) * 255.0)
    square = Image.fromarray(scaled.astype(np.uint8)).resize((size_px, size_px), Image.Resampling.BILINEAR)
    picture = np.asarray(square.convert("RGB")).copy()
    down, right = size_px / grey.shape[0], size_px / grey.shape[1]
    for frame in shown:
        picture[min(size_px - 1, int((frame + 0.5) * down)), ::6] = COLOURS["bm"]
    for place in (found.disc, found.fovea):
        if place is not None:
            row, column = int((place[0] + 0.5) * down), int((place[1] + 0.5) * right)
            picture[max(0, row - 8) : row + 9, column] = picture[row, max(0, column - 8) : column + 9] = MARK
    return picture
