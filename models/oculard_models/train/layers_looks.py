"""Other devices' looks for pieces of painted B-scans: what `train layers` varies so that greys alone teach nothing.

Ranges are wide on purpose, and were chosen on freshly painted volumes alone. A piece in three stays as it was painted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from oculard_models.volumes.learned import Seen

AS_PAINTED = 1.0 / 3.0  # of the pieces
LAYERS = 0.30  # deviation of the logarithm of a layer's brightness: vitreous, RNFL, GCL and IPL, outer, below
GAMMA = (0.55, 1.7)
FADE = (-1.2, 1.2)  # logarithm of brightness from the first to the last row
GRAIN, GRAIN_PX = (0.0, 0.45), (0.0, 1.2)  # multiplicative speckle: a share of the signal, its size
BLUR_PX = (0.0, 1.1)
STRIPES = (0.0, 0.2)  # uneven light by column
GAIN = (0.55, 1.25)
PITCH = (0.75, 1.35)  # thicker or thinner by so much: another row pitch, or another eye

Rows3 = npt.NDArray[np.float32]  # B-scans x 4 boundaries x columns


def other_look(rng: np.random.Generator, seen: Seen, rows: Rows3) -> Seen:
    """B-scans x rows x columns, and the boundaries in each of them, as another device would show them."""
    if rng.random() < AS_PAINTED:
        return seen
    depth, columns = seen.shape[1:]
    signal = np.maximum(seen, 0.0) * _layers(rng, rows, depth)
    signal = np.maximum(signal, 1e-6) ** np.float32(rng.uniform(*GAMMA))
    fade = np.exp(np.linspace(0.0, rng.uniform(*FADE), depth, dtype=np.float32))
    stripes = np.exp(np.float32(rng.uniform(*STRIPES)) * rng.standard_normal(columns, dtype=np.float32))
    signal = signal * fade[:, None] * stripes
    blur, size = rng.uniform(*BLUR_PX, 2), rng.uniform(*GRAIN_PX, 2)
    signal = ndimage.gaussian_filter(signal, (0.0, *blur))
    grain = ndimage.gaussian_filter(rng.standard_normal(seen.shape, dtype=np.float32), (0.0, *size))
    share = np.float32(rng.uniform(*GRAIN) / max(float(grain.std()), 1e-6))
    signal = signal * (1.0 + share * grain)
    bright = max(float(np.percentile(signal, 99.0)), 0.1)
    return np.asarray(signal * np.float32(rng.uniform(*GAIN) / bright) + np.minimum(seen, 0.0), dtype=np.float32)


def pitch(rng: np.random.Generator) -> float:
    """By how much rows are drawn out; a piece in three stays."""
    return 1.0 if rng.random() < AS_PAINTED else float(np.exp(rng.uniform(*np.log(PITCH))))


def _layers(rng: np.random.Generator, rows: Rows3, depth: int) -> npt.NDArray[np.float32]:
    """What each row's brightness is multiplied by: another factor for each layer."""
    factors = np.exp(rng.normal(0.0, LAYERS, rows.shape[1] + 1)).astype(np.float32)
    at = np.arange(depth, dtype=np.float32)[:, None]
    layer = np.zeros((len(rows), depth, rows.shape[2]), dtype=np.int64)
    for boundary in rows.transpose(1, 0, 2):
        layer += at >= boundary[:, None]  # there is nothing below a boundary that is not there
    return np.asarray(factors[layer])
