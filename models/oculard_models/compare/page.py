"""The picture and the page of a comparison: accuracy as bars, with each network's file size at its bar's base."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO

from jinja2 import Environment
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from oculard_models.compare.networks import Row
from oculard_models.evaluate.release import Published, published_for

INK, BAR, LINE = "#333333", "#1f6f8b", "#c1440e"
SMALL, DPI = 8, 130  # points of text; dots an inch
CHANCE = 0.5
BESIDE = 0.24  # of the bar's middle: interval to the right, the release's figure to the left

WHY = (
    "Not the same people, cameras or number of photographs: the release trained on 131,031 photographs, and its figures"
    " are its own internal validation. On other cameras sex networks fall by some ten points.",
    "Painted eyes carry a planted answer: what a network reaches on them says that the comparison works, and nothing"
    " about people.",
    "Trained from nothing unless initial weights were given (`--initial`); networks that begin with ImageNet's weights"
    " learn more from few photographs.",
    "Trained at the size in the table, which need not be the one that the network was made for.",
    "対象者・撮影機器・枚数・画像サイズ・初期値が異なるため、公表値との単純な比較はできません。",
)

PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Comparison of networks for sex</title>
<style>
body { font: 15px/1.5 sans-serif; color: #333; max-width: 72em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ccc; padding: .25em .7em; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
.warning { border-left: .3em solid #c1440e; padding: .2em 1em; }
.scroll { overflow-x: auto; }
</style></head><body>
<h1>Comparison of networks for sex / 性別推定ネットワークの比較</h1>
<p class="warning">Research. Estimates, no measurements; not a medical device. / 研究用。医療機器ではありません。</p>
<p><img alt="Accuracy of each network as a bar, its file size at the base"
src="data:image/png;base64,{{ picture }}"></p>
<div class="scroll"><table><thead><tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for row in table %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p>Intervals: 95 %, bootstrap over persons. MB: ONNX file, float32. ms: one photograph in onnxruntime on this machine's
processor, median, without reading and preparing it. Accuracy: right side of 0.5, photograph by photograph.</p>
<h2>Why ours differ from the release's / 公表値との違い</h2>
<ul>{% for words in why %}<li>{{ words }}</li>{% endfor %}</ul>
<ul>{% for one in published %}<li>{{ one.network }}: {{ one.figure }} {{ one.value }} ({{ one.source }}; {{ one.data }})
</li>{% endfor %}</ul>
<h2>How it was made / 作成方法</h2>
<table><tbody>{% for name, value in made.items() %}<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}</tbody></table>
</body></html>
"""


def release_of(row: Row) -> tuple[Published, ...]:
    """Return what the release says of one network."""
    return tuple(one for one in published_for("sex") if one.network == row.title)


def cells(row: Row) -> dict[str, str]:
    """Return one row as the table shows it, with the release's figures beside."""
    said = {one.figure: one.value for one in release_of(row)}
    return {
        "network": row.title,
        "px": str(row.size_px),
        "accuracy %": _percent(row.accuracy, row.accuracy_low, row.accuracy_high),
        "AUC": _share(row.auc, row.auc_low, row.auc_high),
        "MB": f"{row.file_mb:.1f}",
        "parameters": f"{row.parameters:,}",
        "ms, 1 thread": f"{row.ms_one_thread:.1f}",
        f"ms, {row.threads} threads": f"{row.ms_all_threads:.1f}",
        "release %": f"{100 * said['accuracy']:.1f}" if "accuracy" in said else "",
        "release AUC": f"{said['auc']:.3f}" if "auc" in said else "",
    }


def picture(rows: Sequence[Row]) -> bytes:
    """Draw accuracy as bars with intervals and the release's figures, in the order of the rows; a PNG file."""
    sheet = Picture(figsize=(max(6.0, 1.5 + 0.72 * len(rows)), 5.4), dpi=DPI, layout="constrained")
    FigureCanvasAgg(sheet)
    axes = sheet.add_subplot()
    known = [row.accuracy for row in rows if row.accuracy is not None]
    low = [row.accuracy_low for row in rows if row.accuracy_low is not None]
    bottom = CHANCE if min([*known, *low, 1.0]) > CHANCE else 0.0
    for place, row in enumerate(rows):
        _bar(axes, place, row, bottom)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(100 * bottom, 104)
    axes.set_xticks(range(len(rows)), [f"{row.title}\n{row.size_px} px" for row in rows], rotation=55, ha="right")
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.set_ylabel(f"accuracy for sex, % (axis begins at {100 * bottom:.0f})", fontsize=SMALL + 1, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    if any(release_of(row) for row in rows):
        axes.plot([], [], "D", color=LINE, markersize=5, label="release of 2023, its own validation")
    axes.plot([], [], color=INK, linewidth=1, label="95 % interval over persons")
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left", ncols=2, bbox_to_anchor=(0.0, 1.08))
    file = BytesIO()
    sheet.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def page(rows: Sequence[Row], made: Mapping[str, str]) -> str:
    """Write the whole comparison as one page that needs nothing else; `made` says how."""
    table = [cells(row) for row in rows]
    environment = Environment(autoescape=True)
    return environment.from_string(PAGE).render(
        picture=b64encode(picture(rows)).decode("ascii"),
        columns=list(table[0]) if table else [],
        table=[list(row.values()) for row in table],
        why=WHY,
        published=published_for("sex"),
        made=made,
    )


def _bar(axes: Axes, place: int, row: Row, bottom: float) -> None:
    """Draw one network: its bar, file size at the base, accuracy above, interval, the release's figure."""
    height = 100 * (row.accuracy or 0.0)
    axes.bar(place, height - 100 * bottom, bottom=100 * bottom, width=0.72, color=BAR)
    size = f"{row.file_mb:.0f}" if row.file_mb >= 10 else f"{row.file_mb:.1f}"
    axes.annotate(
        f"{size} MB",
        (place, 100 * bottom),
        (0, 4),
        textcoords="offset points",
        fontsize=SMALL - 1,
        ha="center",
        color="white",
        fontweight="bold",
    )
    if row.accuracy_low is not None and row.accuracy_high is not None:
        beside = place + BESIDE
        axes.plot([beside, beside], [100 * row.accuracy_low, 100 * row.accuracy_high], color=INK, linewidth=1.2)
    for one in release_of(row):
        if one.figure == "accuracy":
            axes.plot(place - BESIDE, 100 * one.value, "D", color=LINE, markersize=5)
    words = "-" if row.accuracy is None else f"{height:.1f}"
    axes.annotate(words, (place, height), (0, 3), textcoords="offset points", fontsize=SMALL, ha="center", color=INK)


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    """Write a share as percent with its interval."""
    if value is None:
        return "cannot be computed"
    return f"{100 * value:.1f}" + (
        f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
    )


def _share(value: float | None, low: float | None, high: float | None) -> str:
    """Write a share with its interval."""
    if value is None:
        return "cannot be computed"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else "")
