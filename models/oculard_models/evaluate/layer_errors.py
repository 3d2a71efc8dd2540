"""How far found layers are from true ones: by boundary in pixels, by map in micrometres, and the disc's centre."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.centres import Place
from oculard_models.volumes.maps import thickness_um
from oculard_models.volumes.volume import Layers, Spacing

BOUNDARIES: Final = {"ILM": "ilm", "RNFL/GCL": "rnfl_gcl", "IPL/INL": "ipl_inl", "BM": "bm"}
MAPS: Final = {"RNFL thickness": "rnfl", "GCC thickness": "gcc"}
CENTRE: Final = "disc centre"
FAR_PX = 10.0
NEAR_UM = 900.0  # from the disc's edge

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One row of the table. Shares are of the columns that were asked for.

    `missed` were true and not found, `invented` the reverse.
    """

    what: str
    unit: str
    mean: float
    bias: float
    p95: float
    far: float = 0.0  # share of the compared columns that are FAR_PX pixels off or more
    missed: float = 0.0
    invented: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One eye: what is wrong at every place, by boundary and map, and how far the disc's centre is off."""

    errors: Mapping[str, npt.NDArray[np.float32]]
    missed: Mapping[str, float]
    invented: Mapping[str, float]
    centre_um: float | None


def near_disc(truth: Layers, spacing: Spacing) -> Mask:
    """Where the edge of the true disc is at most NEAR_UM away, outside of it; nowhere in a scan without a disc."""
    inside = np.isfinite(truth.ilm) & ~np.isfinite(truth.rnfl_gcl) & ~np.isfinite(truth.bm)
    if not inside.any():
        return inside
    away = ndimage.distance_transform_edt(~inside, sampling=(spacing.frame_um, spacing.column_um))
    return np.asarray(~inside & (away <= NEAR_UM))


def compare_layers(
    found: Layers,
    truth: Layers,
    spacing: Spacing,
    disc: tuple[Place | None, Place | None],
    where: Mask | None = None,
) -> Compared:
    """Compare one eye's layers, everywhere or `where` it is said, and its disc's centre: as found, and as it is."""
    asked = np.ones(truth.ilm.shape, dtype=np.bool_) if where is None else where
    pairs = {what: (getattr(found, name), getattr(truth, name)) for what, name in BOUNDARIES.items()}
    for what, name in MAPS.items():
        pairs[what] = (thickness_um(found, name, spacing), thickness_um(truth, name, spacing))
    errors, missed, invented = {}, {}, {}
    for what, (ours, true) in pairs.items():
        got, there = np.isfinite(ours), np.isfinite(true)
        errors[what] = (ours - true)[got & there & asked]
        missed[what], invented[what] = (
            float(part[asked].mean()) if asked.any() else 0.0 for part in (there & ~got, got & ~there)
        )
    at, true_at = disc
    off = None
    if at is not None and true_at is not None:
        off = float(np.hypot((at[0] - true_at[0]) * spacing.frame_um, (at[1] - true_at[1]) * spacing.column_um))
    return Compared(errors=errors, missed=missed, invented=invented, centre_um=off)


def layer_errors(eyes: Sequence[Compared]) -> Iterable[LayerError]:
    """The table over eyes; every place of every eye counts once. A disc that was not found is `missed`."""
    for what in (*BOUNDARIES, *MAPS):
        off = np.concatenate([eye.errors[what] for eye in eyes])
        if not off.size:
            continue
        yield LayerError(
            what=what,
            unit="px" if what in BOUNDARIES else "um",
            mean=float(np.abs(off).mean()),
            bias=float(off.mean()),
            p95=float(np.percentile(np.abs(off), 95.0)),
            far=float((np.abs(off) > FAR_PX).mean()) if what in BOUNDARIES else 0.0,
            missed=float(np.mean([eye.missed[what] for eye in eyes])),
            invented=float(np.mean([eye.invented[what] for eye in eyes])),
        )
    centres = [eye.centre_um for eye in eyes if eye.centre_um is not None]
    if centres:
        yield LayerError(
            what=CENTRE,
            unit="um",
            mean=float(np.mean(centres)),
            bias=0.0,
            p95=float(np.percentile(centres, 95.0)),
            missed=1.0 - len(centres) / len(eyes),
        )
