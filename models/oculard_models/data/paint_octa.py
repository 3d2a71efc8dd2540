"""Paints en face OCT angiographies of eyes that do not exist, 3 x 3 mm, with a foveal avascular zone that is known.

For training, demonstrations and tests. Two slabs: the superficial plexus (vessels that run towards a dark zone, a fine
mesh between them) and the deep one (worm-like, lower in contrast, a smaller zone with a soft edge, remains and shadows
of the vessels above).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from oculard_models.data.octa_tree import grow_trees
from oculard_models.data.octa_weave import clouds, weave
from oculard_models.data.octa_zone import Plane, Zone, draw_zone

STREAM = 107  # of random numbers: this painter's own
SIDE_MM = 3.0
REFERENCE_PX = 512  # widths below are in pixels of a picture of this size
PLEXUSES = ("superficial", "deep")
# Median and spread (of the logarithm) of the zone's area in mm2, and its limits: 54 published 3 x 3 mm scans.
AREAS = {"superficial": (0.34, 0.42, 0.11, 0.85), "deep": (0.17, 0.62, 0.065, 0.80)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaintedOcta:
    """One painted angiography and what is true of it."""

    pixels: npt.NDArray[np.uint8]  # rows x columns, grey
    mask: npt.NDArray[np.bool_]  # rows x columns, the avascular zone
    plexus: str
    area_mm2: float  # of the outline that was drawn, as a polygon, before it became pixels
    perimeter_mm: float
    circularity: float
    side_mm: float = SIDE_MM


def paint_octa(
    seed: int,
    size_px: int = REFERENCE_PX,
    *,
    plexus: str | None = None,
    area_mm2: float | None = None,
    irregularity: float | None = None,
    circularity: float | None = None,
    faults: bool = True,
) -> PaintedOcta:
    """Paint one angiography, `size_px` x `size_px`, uint8, grey; the same call gives the same bytes.

    What is None is drawn: the slab, the area of the zone (as in published scans), and its irregularity (0 a circle, 1
    and more long and ragged); `circularity` says the same as a measure. Without `faults` the scan has no motion,
    uneven light, blur or JPEG.
    Raises ValueError for an unknown slab, a size below 64, or a zone that does not fit.
    """
    if size_px < 64:
        raise ValueError(f"expected at least 64 pixels, got {size_px}")
    rng = np.random.default_rng([STREAM, seed])
    drawn_plexus = PLEXUSES[int(rng.random() < 0.5)]
    slab = drawn_plexus if plexus is None else plexus
    if slab not in PLEXUSES:
        raise ValueError(f"expected a plexus of {PLEXUSES}, got `{slab}`")
    zone = _zone(rng, size_px, slab, area_mm2, irregularity, circularity)
    away, direction = zone.away(size_px)
    scan = (_superficial if slab == "superficial" else _deep)(rng, zone, away, direction)
    scan = _light(rng, scan, slab) if faults else scan
    scan = _move(rng, scan, zone) if faults else scan
    pixels = np.clip(scan, 0.0, 255.0).astype(np.uint8)
    side = SIDE_MM / size_px
    return PaintedOcta(
        pixels=_encode(rng, pixels) if faults else pixels,
        mask=away < 1.0,
        plexus=slab,
        area_mm2=zone.area_px * side**2,
        perimeter_mm=zone.perimeter_px * side,
        circularity=zone.circularity,
    )


def _zone(
    rng: np.random.Generator,
    size_px: int,
    slab: str,
    area_mm2: float | None,
    irregularity: float | None,
    circularity: float | None,
) -> Zone:
    """Draw the zone: near the middle, seldom far from it."""
    median, spread, low, high = AREAS[slab]
    drawn_area = float(np.clip(median * np.exp(rng.normal(0.0, spread)), low, high))
    drawn_irregularity = float(rng.uniform(0.4, 1.5))
    off = rng.normal(0.0, 0.03 if rng.random() < 0.85 else 0.075, 2).clip(-0.15, 0.15)
    area = drawn_area if area_mm2 is None else area_mm2
    if not 0.0 < area <= 2.0:
        raise ValueError(f"expected a zone of at most 2 mm2 in {SIDE_MM} x {SIDE_MM} mm, got {area}")
    return draw_zone(
        rng,
        centre_px=(size_px * (0.5 + off[0]), size_px * (0.5 + off[1])),
        area_px=area * (size_px / SIDE_MM) ** 2,
        irregularity=drawn_irregularity if irregularity is None else irregularity,
        circularity=circularity,
    )


def _superficial(rng: np.random.Generator, zone: Zone, away: Plane, direction: Plane) -> Plane:
    """Vessels towards the zone, a mesh that runs with them, a ring of capillaries around the zone."""
    size_px = away.shape[0]
    scale = size_px / REFERENCE_PX
    ring = np.exp(-0.5 * ((away - np.float32(1.08)) / np.float32(0.18)) ** 2)  # there they run around the zone
    wander = clouds(rng, size_px, int(rng.integers(4, 9))) * np.float32(rng.uniform(0.4, 0.9))
    mesh = weave(
        rng, direction + wander + np.float32(1.5) * ring, rng.uniform(5.0, 8.0) * scale, long=rng.uniform(2.5, 5.0)
    )
    mesh = np.clip(mesh - np.float32(rng.uniform(-0.2, 0.5)), 0.0, 2.0)
    trees = grow_trees(rng, zone, size_px)
    scan = mesh * np.float32(rng.uniform(25.0, 80.0)) + np.float32(rng.uniform(12.0, 45.0))
    scan *= np.maximum(1.0 + np.float32(0.25) * clouds(rng, size_px, 24), 0.2)
    scan *= _zone_keeps(rng, away, size_px, edge_px=rng.uniform(2.0, 7.0) * scale, zone=zone)
    scan = np.maximum(scan, trees * np.float32(rng.uniform(190.0, 280.0)))
    return _speckle(rng, scan, amount=rng.uniform(0.25, 0.55), floor=rng.uniform(4.0, 22.0))


def _deep(rng: np.random.Generator, zone: Zone, away: Plane, direction: Plane) -> Plane:
    """A lace of worm-like capillaries; above it the remains, or the shadows, of larger vessels."""
    size_px = away.shape[0]
    scale = size_px / REFERENCE_PX
    ring = np.exp(-0.5 * ((away - np.float32(1.15)) / np.float32(0.25)) ** 2)
    wander = clouds(rng, size_px, int(rng.integers(8, 20))) * np.float32(rng.uniform(0.8, 1.6))
    lace = weave(
        rng, direction + wander + np.float32(1.5) * ring, rng.uniform(4.5, 9.5) * scale, long=rng.uniform(1.3, 2.5)
    )
    lace = np.clip(lace - np.float32(rng.uniform(-0.4, 0.4)), 0.0, 2.5)
    scan = lace * np.float32(rng.choice((8.0, 25.0, 55.0, 110.0))) + np.float32(rng.uniform(25.0, 75.0))
    scan *= 1.0 + np.float32(0.12) * clouds(rng, size_px, 30)
    scan *= _zone_keeps(rng, away, size_px, edge_px=rng.uniform(4.0, 20.0) * scale, zone=zone)
    above = grow_trees(rng, zone, size_px, thin=0.5)
    if rng.random() < 0.6:
        scan *= 1.0 - above * np.float32(rng.uniform(0.2, 0.7))
    else:
        scan += above * np.float32(rng.uniform(20.0, 130.0)) * np.clip(clouds(rng, size_px, 4) + 0.4, 0.0, 1.0)
    return _speckle(rng, scan, amount=rng.uniform(0.35, 0.7), floor=rng.uniform(5.0, 25.0))


def _zone_keeps(rng: np.random.Generator, away: Plane, size_px: int, *, edge_px: float, zone: Zone) -> Plane:
    """Return how much flow is left at every pixel: none in the zone, less in gaps elsewhere and just around it."""
    radius_px = float(np.sqrt(zone.area_px / np.pi))
    out_px = (away - 1.0) * np.float32(radius_px)
    # Flow begins at the edge: half of it is there already, for the mask's edge is the innermost capillary.
    edge = np.float32(edge_px) * np.exp(np.float32(0.6) * clouds(rng, size_px, 12))
    flow = np.clip(0.5 + out_px / (2.0 * edge), np.float32(rng.uniform(0.0, 0.25)), 1.0)
    thin = 1.0 - np.float32(rng.uniform(0.0, 0.5)) * np.exp(-np.maximum(out_px, 0.0) / np.float32(0.4 * radius_px))
    gaps = np.clip(clouds(rng, size_px, int(rng.integers(10, 22))) - np.float32(1.7), 0.0, 1.0)
    keeps = flow * thin * (1.0 - np.float32(max(0.0, rng.uniform(-0.6, 0.9))) * gaps)
    return np.asarray(keeps, dtype=np.float32)


def _speckle(rng: np.random.Generator, scan: Plane, *, amount: float, floor: float) -> Plane:
    """Multiply with speckle and add the device's noise; along the scan lines both are a little alike."""
    grain = rng.standard_normal(scan.shape, dtype=np.float32)
    if rng.random() < 0.6:
        grain = ndimage.gaussian_filter1d(grain, rng.uniform(0.4, 0.8), axis=1)
        grain /= grain.std()
    dark = rng.standard_exponential(scan.shape, dtype=np.float32) * np.float32(floor)
    if rng.random() < 0.5:
        dark **= np.float32(rng.uniform(1.0, 1.3))  # some devices: single bright pixels, in the zone too
    return np.asarray(scan * np.maximum(1.0 + np.float32(amount) * grain, 0.0) + dark, dtype=np.float32)


def _light(rng: np.random.Generator, scan: Plane, slab: str) -> Plane:
    """Uneven light: vignetting, slow shadows, each scan line a little brighter or darker; gain and contrast."""
    size_px = scan.shape[0]
    place = np.linspace(-1.0, 1.0, size_px, dtype=np.float32)
    far = place[None, :] ** 2 + place[:, None] ** 2
    uneven = rng.uniform(0.0, 0.30 if slab == "deep" else 0.15)
    light = 1.0 + np.float32(uneven) * clouds(rng, size_px, 3) - np.float32(rng.uniform(0.0, 0.2)) * far
    lines = 1.0 + rng.normal(0.0, rng.uniform(0.01, 0.10), (size_px, 1)).astype(np.float32)
    scan = scan * np.maximum(light * lines, 0.05)
    if rng.random() < 0.3:
        scan = ndimage.gaussian_filter(scan, rng.uniform(0.4, 1.3) * size_px / REFERENCE_PX)
    mean = float(scan.mean())
    wanted = rng.uniform(55.0, 105.0)
    gain = wanted / max(mean, 1.0)
    return np.asarray((scan * np.float32(gain) - wanted) * np.float32(rng.uniform(0.85, 1.25)) + np.float32(wanted))


def _move(rng: np.random.Generator, scan: Plane, zone: Zone) -> Plane:
    """Motion: bands of scan lines that are shifted, brighter or darker. The zone's lines are never shifted."""
    size_px = scan.shape[0]
    top, bottom = (float(edge) for edge in (zone.outline_px[:, 1].min(), zone.outline_px[:, 1].max()))
    for _ in range(rng.poisson(1.0)):
        above = rng.random() < 0.5
        row = int(rng.uniform(0.05 * size_px, max(top, 0.06 * size_px)) if above else rng.uniform(bottom, size_px))
        band = slice(0, row) if above else slice(row, size_px)
        scan[band] = np.roll(scan[band], int(rng.normal(0.0, 0.03) * size_px), axis=1)
    for _ in range(rng.poisson(1.2)):
        row, height = int(rng.integers(size_px)), int(1 + rng.exponential(0.015) * size_px)
        scan[row : row + height] *= np.float32(rng.uniform(0.45, 1.5))
    if rng.random() < 0.25:
        scan[int(rng.integers(size_px)) :] *= np.float32(rng.uniform(0.6, 1.5))
    return scan


def _encode(rng: np.random.Generator, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Half of the pictures went through JPEG on their way."""
    if rng.random() < 0.5:
        return pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(55, 96)))
    return np.array(Image.open(file), dtype=np.uint8)
