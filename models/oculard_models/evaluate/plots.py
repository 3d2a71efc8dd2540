"""The pictures of a report, as PNG bytes, without global state. CannotMeasure where there is nothing to draw."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from oculard_models.evaluate.classes import Bin
from oculard_models.evaluate.measures import CannotMeasure, Numbers, bias, limits_of_agreement, roc

SIDE_INCHES, DPI = 4.2, 110
INK, POINTS, LINE = "#333333", "#1f6f8b", "#c1440e"
SMALL = 8  # points of text
METADATA = {"Software": None}  # no version in the file: the same numbers give the same bytes on one installation


def scatter(truth: Numbers, estimate: Numbers, words: str) -> bytes:
    """Draw estimates over truth with the line on which they would be right."""
    if not len(truth):
        raise CannotMeasure("no case has both a true value and an estimate")
    picture, axes = _axes(f"true {words}", f"estimated {words}")
    _points(axes, truth, estimate)
    ends = [min(truth.min(), estimate.min()), max(truth.max(), estimate.max())]
    axes.plot(ends, ends, color=LINE, linewidth=1.2, label="estimate = truth")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
    return _png(picture)


def bland_altman(truth: Numbers, estimate: Numbers, words: str) -> bytes:
    """Draw the differences over the means, with bias and limits of agreement."""
    low, high = limits_of_agreement(truth, estimate)
    picture, axes = _axes(f"mean of truth and estimate, {words}", "estimate - truth")
    _points(axes, (truth + estimate) / 2.0, estimate - truth)
    for height, style, name in ((bias(truth, estimate), "-", "bias"), (low, "--", "95 % limits"), (high, "--", None)):
        axes.axhline(height, color=LINE, linestyle=style, linewidth=1.2, label=name)
        axes.annotate(f"{height:.1f}", (1.0, height), xycoords=("axes fraction", "data"), fontsize=SMALL, color=LINE)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return _png(picture)


def roc_curve(truth: Numbers, probability: Numbers) -> bytes:
    """Draw sensitivity over 1 - specificity."""
    picture, axes = _axes("women called M (1 - specificity)", "men called M (sensitivity)")
    wrongly, rightly = roc(truth, probability)
    axes.plot(wrongly, rightly, color=POINTS, linewidth=1.6)
    _square(axes, "chance")
    return _png(picture)


def roc_curves(truth: Numbers, scores: Mapping[str, Numbers], across: str, up: str) -> bytes:
    """Draw sensitivity over 1 - specificity of several scores, each called by its name; the last most clearly."""
    picture, axes = _axes(across, up)
    for at, (name, score) in enumerate(scores.items()):
        last = at == len(scores) - 1
        axes.plot(*roc(truth, score), linewidth=2.0 if last else 1.0, color=POINTS if last else None, label=name)
    _square(axes, "chance")
    return _png(picture)


def reliability_curve(bins: Sequence[Bin]) -> bytes:
    """Draw the share of men over what was said, tenth by tenth, with the number of cases."""
    if not bins:
        raise CannotMeasure("no case has both a true value and an estimate")
    picture, axes = _axes("said probability of male", "share of men")
    axes.plot([b.probability for b in bins], [b.share for b in bins], "o-", color=POINTS, linewidth=1.2, markersize=4)
    for one in bins:
        place, above = (one.probability, one.share), -12 if one.share > 0.9 else 6
        axes.annotate(str(one.rows), place, (0, above), textcoords="offset points", fontsize=SMALL, ha="center")
    _square(axes, "share = probability")
    return _png(picture)


def _axes(across: str, up: str) -> tuple[Picture, Axes]:
    """Make an empty picture with the names of its axes."""
    picture = Picture(figsize=(SIDE_INCHES, SIDE_INCHES), dpi=DPI, layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    axes.set_xlabel(across, fontsize=SMALL + 1, color=INK)
    axes.set_ylabel(up, fontsize=SMALL + 1, color=INK)
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    return picture, axes


def _points(axes: Axes, x: Numbers, y: Numbers) -> None:
    """Draw cases, the fainter the more there are."""
    opacity = float(np.clip(60.0 / np.sqrt(max(len(x), 1)) / 10.0, 0.05, 0.7))
    axes.scatter(x, y, s=9, color=POINTS, alpha=opacity, linewidths=0, rasterized=True)


def _square(axes: Axes, words: str) -> None:
    """Draw the diagonal between 0 and 1."""
    axes.plot([0, 1], [0, 1], color=LINE, linestyle="--", linewidth=1.0, label=words)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(fontsize=SMALL, frameon=False, loc="lower right")


def _png(picture: Picture) -> bytes:
    """Write a picture as PNG."""
    file = io.BytesIO()
    picture.savefig(file, format="png", metadata=METADATA)
    return file.getvalue()
