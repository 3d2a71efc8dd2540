"""Pieces of painted B-scans with their layers, each a little other than painted: what `train layers` learns from."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.train.layers_looks import Rows3, other_look, pitch
from oculard_models.volumes.grid import Grid, sampled
from oculard_models.volumes.learned import BOUNDARIES, Seen, in_grid, network_grid, seen_frames
from oculard_models.volumes.types import DISC_TYPES
from oculard_models.volumes.volume import Scan

STREAM = 131  # of random numbers
FIRST_SEED = 5_000_000  # of the eyes: `oculard-lab layers --painted` draws those below 1,000,999
SIZES = ((128, 885, 512), (96, 768, 400), (128, 992, 512), (192, 700, 256))  # frames, depth, columns; 6 mm wide
KEPT = 10  # volumes at a time
ROWS, COLUMNS = 288, 64  # of a piece
TOP = (8.0, 96.0)  # rows above the highest place of the retina
DISC_UM = 1500.0  # every second piece comes from frames so near to the disc's centre

Rows = npt.NDArray[np.float32]  # 4 boundaries x columns, in rows of the piece; NaN where there is none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """A painted volume as the network sees it, with its layers in rows of the grid: 4 x frames x columns."""

    grid: Grid
    rows: npt.NDArray[np.float32]
    disc: float | None  # the frame of the disc's centre


@dataclass(slots=True, kw_only=True)
class Pieces:
    """Draws pieces from the newest painted volumes."""

    seed: int
    kept: deque[Kept] = field(default_factory=lambda: deque(maxlen=KEPT))
    painted: int = 0

    def paint(self) -> None:
        """Paint one more volume; the oldest goes."""
        number = self.seed * 10_000 + self.painted
        frames, depth, columns = SIZES[self.painted % len(SIZES)]
        eye = draw_eye(FIRST_SEED + number, DISC_TYPES[self.painted % len(DISC_TYPES)], eye="RL"[self.painted // 5 % 2])
        scan = Scan.MACULA if self.painted % 6 == 5 else Scan.DISC
        painted = paint_volume(eye, frames=frames, depth=depth, columns=columns, scan=scan, seed=number)
        self.kept.append(_kept(painted))
        self.painted += 1

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Seen, npt.NDArray[np.float32]]:
        """Draw so many pieces: what is seen, and pieces x 4 x columns of rows."""
        drawn = [varied(rng, *self._piece(rng)) for _ in range(count)]
        return np.stack([seen for seen, _ in drawn]), np.stack([rows for _, rows in drawn])

    def _piece(self, rng: np.random.Generator) -> tuple[Seen, Rows3]:
        """Cut a piece of a volume as it was painted: three B-scans, and the boundaries in each."""
        kept = self.kept[int(rng.integers(len(self.kept)))]
        count, columns = kept.grid.values.shape[:2]
        frame = int(rng.integers(count))
        if kept.disc is not None and rng.random() < 0.5:
            reach = DISC_UM / kept.grid.side_um[0]
            frame = int(np.clip(round(kept.disc + rng.uniform(-reach, reach)), 0, count - 1))
        left = int(rng.integers(columns - COLUMNS + 1))
        beside = np.clip(frame + np.array([-1, 0, 1]), 0, count - 1)
        seen = seen_frames(kept.grid, np.array([frame]))[0, :, :, left : left + COLUMNS]
        return seen, kept.rows[:, beside, left : left + COLUMNS].transpose(1, 0, 2)


def varied(rng: np.random.Generator, seen: Seen, all_rows: Rows3) -> tuple[Seen, Rows]:
    """A piece from another scan: of another look, mirrored, aslant, dimmer, in shadow, noisier; its rows with it."""
    seen, rows = other_look(rng, seen, all_rows), all_rows[1]
    if rng.random() < 0.5:
        seen, rows = seen[:, :, ::-1], rows[:, ::-1]
    seen, rows = _aslant(rng, seen, rows)
    light = np.float32(rng.uniform(0.5, 1.1)) * _shadows(rng, seen.shape[2])
    if rng.random() < 0.06:
        light = light * np.float32(rng.uniform(0.25, 0.6))
    seen = np.where(seen > 0, np.maximum(seen, 1e-6) ** np.float32(rng.uniform(0.8, 1.25)), seen)
    seen = np.where(seen > 0, seen * light, seen)
    if rng.random() < 0.6:
        seen = seen + np.float32(rng.uniform(0.0, 0.1)) * rng.standard_normal(seen.shape, dtype=np.float32)
    gone = (rows < 0.0) | (rows > seen.shape[1] - 1)
    return seen.astype(np.float32), np.where(gone, np.float32(np.nan), rows)


def _kept(painted: PaintedVolume) -> Kept:
    """Keep of a volume what is needed."""
    grid = network_grid(painted.volume)
    rows = [in_grid(sampled(getattr(painted.layers, name), grid), grid, painted.volume) for name in BOUNDARIES]
    disc = painted.disc_centre
    return Kept(grid=grid, rows=np.stack(rows), disc=None if disc is None else disc[0] / grid.frames)


def _aslant(rng: np.random.Generator, seen: Seen, rows: Rows) -> tuple[Seen, Rows]:
    """Draw rows out, shift each column by so much more than the one before, and B-scans a little against each other."""
    depth, columns = seen.shape[1:]
    factor = pitch(rng)
    drawn_out = (rows + 0.5) * np.float32(factor) - 0.5
    known = drawn_out[np.isfinite(drawn_out)]
    top = float(known.min()) if known.size else 0.0
    slope = np.linspace(0.0, rng.normal(0.0, 14.0), columns)
    shift = np.rint(slope - slope.min() + rng.uniform(*TOP) - top).astype(np.int64)
    moved = []
    for frame, more in zip(seen, (int(rng.integers(-2, 3)), 0, int(rng.integers(-2, 3))), strict=True):
        at = (np.arange(ROWS)[:, None] - shift - more + 0.5) / factor - 0.5
        low = np.floor(at).astype(np.int64)
        upper, lower = (np.take_along_axis(frame, (low + next_one) % depth, axis=0) for next_one in (0, 1))
        moved.append(upper + (at - low).astype(np.float32) * (lower - upper))
    return np.stack(moved), drawn_out + shift.astype(np.float32)


def _shadows(rng: np.random.Generator, columns: int) -> npt.NDArray[np.float32]:
    """What light comes through by column."""
    light = np.ones(columns, dtype=np.float32)
    for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.5 else 0):
        away = (np.arange(columns) - rng.uniform(-10.0, columns + 10.0)) / rng.uniform(2.0, 22.0)
        light *= 1.0 - rng.uniform(0.2, 0.85) * np.exp(-(away**4)).astype(np.float32)
    return light
