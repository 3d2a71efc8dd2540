"""The figures of a report, as a card and as metrics.json show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.report import PER_EYE, Part
from oculard_models.manifest import Output, OutputKind

UNKNOWN = Figure(why="not measured")
HEAD = "| output | R2 (95 %) | MAE | MAE of the median | MAE of age and sex | interval | covers |"


def figures_json(parts: Sequence[Part]) -> dict[str, object]:
    """Return every figure by target, level (eye, person) and name, with how many eyes and persons it is of."""
    whole: dict[str, dict[str, object]] = {}
    for part in parts:
        figures = {name: figure.to_json() for name, figure in part.figures.items()}
        whole.setdefault(part.target, {})[part.per] = {"rows": part.rows, "persons": part.persons} | figures
    return dict(whole)


def figures_table(parts: Sequence[Part], outputs: Sequence[Output]) -> str:
    """Return the figures that a card shows, one eye at a time, then the mean of both where there are such people."""
    blocks = []
    for per in dict.fromkeys(part.per for part in parts):
        words = "One eye / 片眼" if per == PER_EYE else "Both eyes of a person averaged / 両眼の平均"
        blocks.append("\n".join([f"{words}:", "", *_block([part for part in parts if part.per == per], outputs)]))
    return "\n\n".join(blocks)


def _block(parts: Sequence[Part], outputs: Sequence[Output]) -> list[str]:
    """List the values as a table, and sex as a line."""
    stated = {output.name: output for output in outputs}
    values = [part for part in parts if stated[part.target].kind is OutputKind.VALUE]
    rows = [HEAD, "|" + "---|" * 7, *(_row(part, stated[part.target]) for part in values)] if values else []
    for part in parts:
        if stated[part.target].kind is OutputKind.BINARY:
            auc, right = _text(part.figures, "auc", 3), _text(part.figures, "accuracy", 3)
            rows += ["", f"Sex: AUC {auc}, accuracy {right}."]
    return rows


def _row(part: Part, output: Output) -> str:
    """Write one value's row."""
    width = output.uncertainty if part.per == PER_EYE else output.uncertainty_both
    covers = part.figures.get("coverage", UNKNOWN)
    cells = [
        f"{output.name} ({output.unit})",
        _text(part.figures, "r2", 2),
        _plain(part.figures, "mae"),
        _plain(part.figures, "mae_of_median"),
        _plain(part.figures, "mae_of_line"),
        f"+- {width:g}" if width else "none",
        f"{100 * covers.value:.0f} %" if covers.value is not None and width else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _text(figures: Mapping[str, Figure], name: str, decimals: int) -> str:
    """Write a figure with its interval."""
    return figures.get(name, UNKNOWN).text(decimals)


def _plain(figures: Mapping[str, Figure], name: str) -> str:
    """Write a figure without its interval."""
    value = figures.get(name, UNKNOWN).value
    return "-" if value is None else f"{value:.1f}"
