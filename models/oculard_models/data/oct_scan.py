"""One B-scan of a painted eye: how bright each layer is, shadows, speckle, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from oculard_models.data.oct_eye import PaintedEye
from oculard_models.data.oct_shape import Plane, Shape
from oculard_models.volumes.volume import Layers

DEPTH_UM = 2301.0  # from the first row to the last: 885 rows of 2.6 um
DARK = 34.0  # the floor of a logarithmic B-scan
# Grey above the floor in each layer, from vitreous to the pigment epithelium; below it fades.
GREY = (0.0, 152.0, 92.0, 108.0, 62.0, 92.0, 40.0, 66.0, 150.0, 96.0, 176.0)
CHOROID, SCLERA, TISSUE, LAMINA = 112.0, 84.0, 118.0, 52.0
COARSE = (57, 37)  # rows and columns of a plane of unevenness
FADE_UM = 330.0  # within the disc
GRAIN = 19.0  # of the speckle
SHARP_UM = 3.0  # what the light source resolves, as the spread of a bell
TOP_UM = 420.0  # of vitreous above the retina, more or less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """What one B-scan shows in each column: boundaries in um from its first row, and what changes brightness."""

    bounds: Plane  # boundaries x columns, from the inner limiting membrane to Bruch's membrane
    choroid: Plane
    lamina: Plane
    inside: npt.NDArray[np.bool_]
    bare: Plane
    shadow: Plane

    @classmethod
    def of(cls, eye: PaintedEye, shape: Shape, frame: int, vessels: Plane, *, lift_um: float) -> Self:
        """Divide the retina of one frame into its layers."""
        ilm, rnfl, inner, bm = (
            field[frame] + np.float32(lift_um) for field in (shape.ilm, shape.rnfl_gcl, shape.ipl_inl, shape.bm)
        )
        taper, outer = shape.taper[frame], bm - inner
        shares = (0.24, 0.40, 0.72, 0.76, 0.845, 0.885)  # INL, OPL, ONL, ELM, EZ, gap; then pigment epithelium
        bounds = np.stack(
            [ilm, rnfl, rnfl + 0.5 * (inner - rnfl), inner, *(inner + share * outer for share in shares), bm]
        )
        inside = shape.inside[frame]
        bounds[1:, inside] = bounds[0, inside]
        thin = eye.wall.choroid_um * (0.25 + 0.75 * taper)
        return cls(
            bounds=bounds.astype(np.float32),
            choroid=np.asarray(bm + thin, dtype=np.float32),
            lamina=shape.lamina[frame] + np.float32(lift_um),
            inside=inside,
            bare=shape.bare[frame],
            shadow=vessels,
        )


def speckle(rng: np.random.Generator, rows: int, columns: int) -> Plane:
    """Speckle with a deviation of 1, a little alike from pixel to pixel."""
    grain = ndimage.gaussian_filter(rng.standard_normal((rows, columns), dtype=np.float32), (0.85, 0.7))
    return np.asarray(grain / grain.std(), dtype=np.float32)


def unevenness(rng: np.random.Generator, frames: int) -> npt.NDArray[np.float32]:
    """Slow changes of brightness of a volume, as of the vessels of the choroid: coarse, one plane a frame."""
    noise = rng.standard_normal((frames, *COARSE), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (max(frames / 60.0, 0.01), 0.6, 0.6))
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def paint_frame(column: Column, step_um: float, clarity: float, grain: Plane, uneven: Plane) -> npt.NDArray[np.uint8]:
    """Paint one B-scan, depth x columns, with speckle of the same shape and a coarse plane of unevenness."""
    depth, columns = grain.shape
    light = brightness(column, depth, step_um)
    light = ndimage.gaussian_filter(light, (SHARP_UM / step_um, 0.6))
    patches = np.asarray(Image.fromarray(uneven).resize((columns, depth), Image.Resampling.BICUBIC))
    deep = step_um * np.arange(depth, dtype=np.float32)[:, None] >= column.bounds[-1]
    strong = np.float32(clarity) * light * (1.0 + np.where(deep, np.float32(0.16), np.float32(0.03)) * patches)
    scan = DARK + strong + grain * (GRAIN * (0.5 + 0.5 * np.minimum(strong / 60.0, 1.0)))
    return np.asarray(np.clip(scan, 0.0, 255.0), dtype=np.uint8)


def brightness(column: Column, depth: int, step_um: float) -> Plane:
    """Grey above the floor, without noise: layers, what fades below them, shadows below vessels."""
    at = (np.arange(depth, dtype=np.float32) * np.float32(step_um))[:, None]
    layer = np.zeros((depth, column.inside.size), dtype=np.uint8)
    for bound in column.bounds:
        layer += at >= bound
    table = np.array([*GREY, 0.0], dtype=np.float32)
    table[-1] = table[-2]
    light = table[layer]
    bare = column.bare
    # Where the pigment epithelium is missing it does not shine, and the light reaches the sclera.
    epithelium = (layer == 8) | (layer == 10)
    light = np.where(epithelium, light * (1.0 - 0.62 * bare), light)
    below = layer >= len(column.bounds)
    light = np.where(below, _below(column, at), light)
    deep = at - (column.bounds[0] + 55.0)
    shade = 1.0 - 0.5 * column.shadow * np.clip(deep / 30.0, 0.0, 1.0)
    vessel = column.shadow * ((at >= column.bounds[0]) & (deep < 0.0))
    return np.asarray(light * shade + 26.0 * vessel, dtype=np.float32)


def _below(column: Column, at: Plane) -> Plane:
    """What shines below Bruch's membrane, or within the disc below its surface."""
    under = np.maximum(at - column.bounds[-1], 0.0)
    wall = at >= column.choroid
    fade = np.exp(-under / np.where(column.bare > 0.5, 420.0, 250.0))
    plain = np.where(wall, SCLERA, CHOROID) * fade + 70.0 * column.bare * np.exp(-under / 160.0)
    band = LAMINA * np.exp(-0.5 * ((at - column.lamina - 60.0) / 60.0) ** 2)
    tissue = TISSUE * np.exp(-under / FADE_UM) + band * np.exp(-np.maximum(under - 250.0, 0.0) / 400.0)
    return np.asarray(np.where(column.inside, tissue, plain), dtype=np.float32)


def layers_of(shape: Shape, top_um: Plane | float, step_um: float, depth: int) -> Layers:
    """The boundaries in rows; there is none within the disc but the first, and none outside of the picture."""

    def rows(field: Plane, hidden: npt.NDArray[np.bool_] | None) -> Plane:
        at = np.asarray((field + top_um) / step_um, dtype=np.float32)
        at[(at < 0.0) | (at > depth - 1)] = np.nan
        if hidden is not None:
            at[hidden] = np.nan
        return at

    return Layers(
        ilm=rows(shape.ilm, None),
        rnfl_gcl=rows(shape.rnfl_gcl, shape.inside),
        ipl_inl=rows(shape.ipl_inl, shape.inside),
        bm=rows(shape.bm, shape.inside),
    )
