"""The pictures of the study of disc types, as PNG bytes: kappa by data, confusion, what each view adds, some eyes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from PIL import Image

from oculard_models.volumes.types import short_names

DPI, SMALL, INK = 110, 8, "#333333"
COLOURS = {"flat": "#8a8a8a", "hierarchical": "#1f6f8b", "transfer": "#c1440e"}
CALLED = {"flat": "flat", "hierarchical": "hierarchical, no transfer", "transfer": "hierarchical transfer"}
METADATA = {"Software": None}


def kappa_bars(figures: Mapping[str, Any], published: Sequence[tuple[str, str, float]]) -> bytes:
    """Draw the arms' kappa at every share with intervals, and published figures (words, arm, kappa) as lines beside."""
    shares = list(figures["arms"]["flat"])
    picture, axes = _axes(6.4, 4.0)
    for number, (arm, of_shares) in enumerate(figures["arms"].items()):
        values = [of_shares[share]["kappa"] for share in shares]
        at = np.arange(len(shares)) + 0.26 * (number - 1)
        heights = np.asarray([one.get("value", 0.0) for one in values])
        ends = np.asarray(
            [[one.get("low", one.get("value", 0.0)), one.get("high", one.get("value", 0.0))] for one in values]
        )
        axes.bar(at, heights, 0.24, color=COLOURS[arm], label=CALLED[arm])
        axes.errorbar(at, heights, np.abs(ends.T - heights), fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
        for x, height in zip(at, heights, strict=True):
            axes.annotate(f"{height:.2f}", (x, 0.02), ha="center", fontsize=SMALL - 1, color="white")
    for words, arm, kappa in published:
        axes.axhline(kappa, color=COLOURS.get(arm, INK), linestyle=":", linewidth=1.0)
        axes.annotate(words, (1.0, kappa), xycoords=("axes fraction", "data"), fontsize=SMALL - 1, va="center")
    axes.set_xticks(np.arange(len(shares)), [str(share) for share in shares], fontsize=SMALL)
    axes.set_xlabel("share of the training eyes", fontsize=SMALL)
    axes.set_ylabel("Cohen's kappa (95 % interval by person)", fontsize=SMALL + 1, color=INK)
    axes.set_ylim(0.0, 1.0)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    return _png(picture)


def confusion_map(table: Sequence[Sequence[int]], words: str) -> bytes:
    """Draw a confusion matrix: rows what is so, columns what was said; shade is the share of the row."""
    counts = np.asarray(table, dtype=np.float64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    picture, axes = _axes(3.4, 3.4)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), count in np.ndenumerate(counts):
        dark = share[row, column] > 0.5
        axes.annotate(
            f"{count:.0f}", (column, row), ha="center", va="center", fontsize=SMALL + 1, color="white" if dark else INK
        )
    names = short_names()
    axes.set_xticks(range(len(names)), names, fontsize=SMALL)
    axes.set_yticks(range(len(names)), names, fontsize=SMALL)
    axes.set_xlabel("said", fontsize=SMALL + 1)
    axes.set_ylabel("label", fontsize=SMALL + 1)
    axes.set_title(words, fontsize=SMALL + 1, color=INK)
    axes.grid(visible=False)
    return _png(picture)


def ablation_bars(figures: Mapping[str, Any], arm: str) -> bytes:
    """Draw what each view alone reaches, and all but it."""
    found = figures["ablation"][arm]
    whole = next(iter(figures["arms"][arm].values()))["kappa"].get("value", 0.0)
    picture, axes = _axes(5.2, 0.9 + 0.55 * len(found))
    for key, shift, colour in (("alone", -0.2, COLOURS[arm]), ("without", 0.2, "#bbbbbb")):
        values = [one.get(key, {}).get("value", 0.0) for one in found.values()]
        axes.barh(
            np.arange(len(found)) + shift, values, 0.36, color=colour, label=f"{key} it" if key == "without" else key
        )
    axes.axvline(whole, color=INK, linewidth=1.0, linestyle="--", label="all views")
    axes.set_yticks(range(len(found)), list(found), fontsize=SMALL)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("Cohen's kappa", fontsize=SMALL + 1)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    return _png(picture)


def eye_rows(
    views: npt.NDArray[np.uint8], maps: npt.NDArray[np.float32], words: Sequence[str], names: Sequence[str]
) -> bytes:
    """Draw eyes, one a row: their views with what spoke for the class that won, laid over in warm colours."""
    rows, columns = views.shape[:2]
    picture = Picture(figsize=(1.55 * columns + 1.9, 1.6 * rows + 0.3), dpi=DPI, layout="constrained")
    FigureCanvasAgg(picture)
    grid = picture.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column in range(columns):
            axes: Axes = grid[row, column]
            side = views.shape[-1]
            axes.imshow(views[row, column], cmap="gray", vmin=0, vmax=255)
            heat = _as_large(maps[row, column], side)
            axes.imshow(heat, cmap="autumn_r", alpha=0.55 * heat, vmin=0.0, vmax=1.0)
            axes.set(xticks=[], yticks=[])
            if not row:
                axes.set_title(names[column], fontsize=SMALL, color=INK)
        grid[row, 0].set_ylabel(words[row], fontsize=SMALL, color=INK, rotation=0, ha="right", va="center", labelpad=6)
    return _png(picture)


def _as_large(heat: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.float32]:
    """A map as large as its view."""
    large = Image.fromarray(heat).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(np.clip(np.asarray(large), 0.0, 1.0), dtype=np.float32)


def _axes(width: float, height: float) -> tuple[Picture, Axes]:
    """Make an empty picture."""
    picture = Picture(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5, axis="both")
    axes.set_axisbelow(True)
    return picture, axes


def _png(picture: Picture) -> bytes:
    """Write a picture as PNG."""
    file = io.BytesIO()
    picture.savefig(file, format="png", metadata=METADATA)
    return file.getvalue()
