"""The opening of Bruch's membrane: where the optic nerve leaves the eye, and the outer retina ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.grid import Grid, means, smoothed
from oculard_models.volumes.volume import Map

Mask = npt.NDArray[np.bool_]
BAND_UM, DARK_UM = (35.0, 2.0), (110.0, 55.0)  # above Bruch's membrane: the bright outer bands, the dark layer on top
LOST = 0.45  # below this share of the usual contrast the outer retina is not as it should be
PIGMENT_UM, PIGMENT, BARE = 20.0, 0.6, 0.3  # what is compared above and below, and the share of the usual contrast
LOOK_UM, LINE_UM = 80.0, 12.0  # a dark layer is looked for so far around Bruch's membrane, and is so thick at least
PLAIN = 0.5  # below this share of the usual contrast there is no dark layer
VESSEL_UM = 180.0  # half the width of what a vessel's shadow may hide
DIAMETER_UM = (800.0, 3200.0)
ROUND = 0.55  # least share of its own ellipse that an opening fills
AT_EDGE = 0.3  # more of its outline at the volume's edge is something else


def outer_lost(grid: Grid, bm: Map, seen: Mask) -> Mask:
    """Where the outer bands are no brighter than the layer on top of them: in the disc, and in atrophy around it."""
    above = grid.px(DARK_UM[0])
    band, _ = grid.band(bm, above, 0)
    outer = band[..., above - grid.px(BAND_UM[0]) : above - grid.px(BAND_UM[1]) + 1].mean(axis=-1)
    dark = band[..., : above - grid.px(DARK_UM[1])].mean(axis=-1)
    contrast = smoothed((outer - dark)[..., None], 3, 5)[..., 0]
    lost = ((contrast < LOST * _usual(contrast, seen)) | ~has_pigment(grid, bm, seen, BARE)) & seen
    near = ndimage.binary_closing(np.pad(lost, 12), iterations=10)[12:-12, 12:-12]
    return np.asarray(_largest(_without_vessels(near & seen, grid)), dtype=np.bool_)


def has_pigment(grid: Grid, bm: Map, seen: Mask, share: float = PIGMENT) -> Mask:
    """Where what is above Bruch's membrane shines brighter than what is below, as the pigment epithelium does."""
    px = grid.px(PIGMENT_UM)
    band, _ = grid.band(bm, px, px)
    shines = smoothed((band[..., :px].mean(axis=-1) - band[..., px + 1 :].mean(axis=-1))[..., None], 3, 3)[..., 0]
    return np.asarray((shines > share * _usual(shines, seen)) & seen)


def find_opening(grid: Grid, bm: Map, seen: Mask) -> Mask:
    """Return the one round place of a disc's size without a dark layer near Bruch's membrane; nowhere if there is none.

    `bm` runs through the opening as if it were closed. Atrophy around the disc has lost its pigment, but it is retina
    all the same: between nerve fibres and sclera there is still a dark line. In the nerve's head there is none.
    """
    look, line = grid.px(LOOK_UM), grid.px(LINE_UM)
    margin = 3 * line
    band, _ = grid.band(bm, look + margin, look + margin)
    band = smoothed(band, 3, 5)
    beside = 0.5 * means(band, -3 * line, -line) + 0.5 * means(band, line, 3 * line)
    dark = (beside - means(band, -(line // 2), line - line // 2))[..., margin:-margin].max(axis=-1)
    dark = smoothed(dark[..., None], 3, 5)[..., 0]
    return _disc_like((dark < PLAIN * _usual(dark, seen)) & seen, grid)


def _usual(contrast: Map, seen: Mask) -> float:
    """What a contrast is in most of the retina."""
    return float(np.percentile(contrast[seen], 60)) if seen.any() else 0.0


def _without_vessels(mask: Mask, grid: Grid) -> Mask:
    """A mask without what is as narrow as a vessel."""
    inner = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), sampling=grid.side_um)[1:-1, 1:-1] > VESSEL_UM
    if not inner.any():
        return np.zeros(mask.shape, dtype=np.bool_)
    return np.asarray((ndimage.distance_transform_edt(~inner, sampling=grid.side_um) < VESSEL_UM) & mask)


def _largest(mask: Mask) -> Mask:
    """The largest part of a mask, filled."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    largest = 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return np.asarray(ndimage.binary_fill_holes(labels == largest), dtype=np.bool_)


def _disc_like(plain: Mask, grid: Grid) -> Mask:
    """Return the one part of a mask that can be a disc, without its frays and holes."""
    labels, count = ndimage.label(_without_vessels(_small_holes_filled(plain, grid), grid))
    best, most = np.zeros(plain.shape, dtype=np.bool_), 0.0
    for one in range(1, min(count, 50) + 1):
        part = np.asarray(ndimage.binary_fill_holes(labels == one), dtype=np.bool_)
        filled = _roundness(part, grid)
        if filled > most:
            best, most = part, filled
    return best


def _small_holes_filled(mask: Mask, grid: Grid) -> Mask:
    """A mask without holes that are smaller than a disc: a vessel, or a floor that is layered by chance."""
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    if not count:
        return mask
    areas = np.bincount(holes.ravel()) * grid.side_um[0] * grid.side_um[1]
    small = areas < np.pi * (DIAMETER_UM[0] / 2.0) ** 2
    small[0] = False
    return np.asarray(mask | small[holes])


def _roundness(part: Mask, grid: Grid) -> float:
    """How well a part fills its ellipse, 0..1; 0 where its size or its place is no disc's."""
    area = float(part.sum()) * grid.side_um[0] * grid.side_um[1]
    if not DIAMETER_UM[0] <= 2.0 * np.sqrt(area / np.pi) <= DIAMETER_UM[1]:
        return 0.0
    y, x = np.nonzero(part)
    outline = part & ~ndimage.binary_erosion(part, border_value=1)
    edge = int(part[[0, -1]].sum() + part[1:-1, [0, -1]].sum())
    if edge > AT_EDGE * (edge + outline.sum()):
        return 0.0
    spread = np.cov(np.stack((y * grid.side_um[0], x * grid.side_um[1])))
    ellipse = 4.0 * np.pi * np.sqrt(max(np.linalg.det(spread), 0.0))
    filled = min(area / ellipse, 1.0) if ellipse > 0 else 0.0
    long, short = np.sqrt(np.maximum(np.linalg.eigvalsh(spread)[::-1], 1.0))
    return filled if filled > ROUND and long < 2.5 * short else 0.0
