"""One surface through a volume of costs: the graph search behind the segmentation, smooth along frames and columns.

Semi-global matching (Hirschmuller 2008): dynamic programming along four directions, whose costs are summed. A step
costs in proportion to its height, so a steep wall is dear but never forbidden.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float32]  # frames x columns x depth; depth last, because every step runs along it
FORBIDDEN = np.float32(50.0)  # a cost that no surface pays if it can go elsewhere


def find_surface(costs: Costs, *, frame_step: float, column_step: float, reach: int = 8) -> npt.NDArray[np.float32]:
    """Return the sub-pixel row of the cheapest smooth surface, frames x columns.

    The steps are what one row up or down costs from a frame, or a column, to the next; steps beyond `reach` rows
    cost no more than `reach`.
    """
    total = np.zeros_like(costs)
    across = costs.transpose(1, 0, 2)
    into = total.transpose(1, 0, 2)
    for rows, sums, step in ((costs, total, frame_step), (across, into, column_step)):
        _sweep(rows, sums, np.float32(step), reach)
        _sweep(rows[::-1], sums[::-1], np.float32(step), reach)
    return _lowest(total)


def _sweep(costs: Costs, sums: Costs, step: np.float32, reach: int) -> None:
    """Carry costs along the first axis, and add what arrives everywhere to `sums`."""
    arrived = costs[0].copy()
    sums[0] += arrived
    for here in range(1, len(costs)):
        arrived -= arrived.min(axis=-1, keepdims=True)  # only differences matter; else sums would grow without end
        spread = np.minimum(arrived, step * reach)
        shift = 1
        while shift < reach:  # steps of 1, 2, 4: together every height, each at its proportional cost
            lower = spread[..., :-shift] + step * shift
            upper = spread[..., shift:] + step * shift
            np.minimum(spread[..., shift:], lower, out=spread[..., shift:])
            np.minimum(spread[..., :-shift], upper, out=spread[..., :-shift])
            shift *= 2
        arrived = spread + costs[here]
        sums[here] += arrived


def _lowest(costs: Costs) -> npt.NDArray[np.float32]:
    """Return where each column of costs is lowest, between rows where a parabola says so."""
    at = costs.argmin(axis=-1)
    if costs.shape[-1] < 3:
        return np.asarray(at, dtype=np.float32)
    inner = np.clip(at, 1, costs.shape[-1] - 2)
    before, here, after = (np.take_along_axis(costs, (inner + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = before - 2.0 * here + after
    offset = np.where((inner == at) & (bend > 0), 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    return np.asarray(at + np.clip(offset, -0.5, 0.5), dtype=np.float32)
