"""One HTML page with the figures and pictures of an evaluation. It needs nothing beside itself and runs no script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from oculard_models.evaluate import plots, release
from oculard_models.evaluate.about import DISCLAIMER, DISCLAIMER_JAPANESE, About
from oculard_models.evaluate.classes import Threshold
from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.measures import CannotMeasure
from oculard_models.evaluate.report import Part
from oculard_models.evaluate.targets import DESCRIBED, Target
from oculard_models.evaluate.wording import figure_cell, figure_words, ordered, plural

TEMPLATES = Path(__file__).parent
CALLED = {"eye": ("eye", "eyes"), "person": ("person", "persons")}
OPERATING = ("sensitivity", "specificity", "positive_value", "negative_value", "accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A picture inside the page, or the words why there is none."""

    source: str  # a data URI, or nothing
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table: what it is in two languages, and its cells."""

    english: str
    japanese: str = ""
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Everything about one target. Pictures, subgroups and thresholds are of the part that the daemon reports."""

    target: Target
    main: Part
    columns: tuple[str, ...]
    counts: tuple[str, ...]
    figures: tuple[Row, ...]
    plots: tuple[Plot, ...]
    group_columns: tuple[str, ...]
    groups: tuple[Row, ...]
    operating: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A published figure with ours."""

    words: str
    published: str
    network: str
    ours: str
    baseline: str
    source: str
    data: str


def page_of(about: About, parts: Sequence[Part]) -> str:
    """Write the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = dict.fromkeys(part.target for part in parts)
    sections = [_section([part for part in parts if part.target == name], about) for name in names]
    return environment.get_template("page.html").render(
        about=about,
        sections=sections,
        summary=[_summary(part) for part in parts],
        origin=_origin(about),
        beside=[line for section in sections for line in _beside(section.main)],
        why=(*(release.PAINTED if about.demonstration else ()), *release.OTHERS),
        disclaimer=DISCLAIMER,
        disclaimer_japanese=DISCLAIMER_JAPANESE,
    )


def _summary(part: Part) -> Row:
    """Write the few figures that most readers want."""
    words = DESCRIBED[part.target]
    names = ("accuracy", "accuracy_of_share", "auc") if part.target == "sex" else ("mae", "mae_of_median", "r2")
    cells = tuple(figure_cell(part.figures[name], name, part.target) for name in names)
    return Row(english=words.english, japanese=words.japanese, cells=(part.per, f"{part.persons:,}", *cells))


def _origin(about: About) -> list[tuple[str, str]]:
    """Say where the figures come from."""
    photographs = (
        f"{plural(about.photographs, 'photograph', 'photographs')} of {plural(about.persons, 'person', 'persons')}"
    )
    lines = [
        ("Table", f"{about.table}, SHA-256 {about.table_sha256}"),
        ("Measured on", f"{photographs} ({about.part})"),
        ("Bundle", about.bundle or "not known: only its predictions were read"),
        ("Weights, SHA-256", about.weights_sha256),
        ("Run by", about.runner),
        ("The daemon reports", f"one finding per {about.combine}" if about.combine else ""),
        ("Stated intervals promise", f"{about.interval:.0%}" if about.interval is not None else ""),
        ("Median and straight line from", about.baselines),
        ("Command", about.command),
        ("Version", about.version),
        ("Seed", str(about.seed)),
        ("Date", about.date),
    ]
    return [(name, text) for name, text in lines if text]


def _section(parts: Sequence[Part], about: About) -> Section:
    """Arrange one target's parts."""
    main = next((part for part in parts if part.per == about.combine), parts[0])
    names = ordered(main.figures)
    group_names = list(main.groups[0].figures) if main.groups else []
    return Section(
        target=DESCRIBED[main.target],
        main=main,
        columns=tuple(f"per {part.per}" for part in parts),
        counts=tuple(_counts(part) for part in parts),
        figures=tuple(_figure_row(name, parts) for name in names),
        plots=_plots(main),
        group_columns=tuple(figure_words(name, main.target)[0] for name in group_names),
        groups=tuple(
            Row(
                english=f"{group.by}: {group.words}",
                cells=(
                    f"{group.persons:,}",
                    f"{group.rows:,}",
                    *(figure_cell(group.figures[name], name, main.target) for name in group_names),
                ),
            )
            for group in main.groups
        ),
        operating=tuple(_operating_row(row) for row in main.operating),
    )


def _figure_row(name: str, parts: Sequence[Part]) -> Row:
    """Write one figure, part by part."""
    english, japanese = figure_words(name, parts[0].target)
    cells = tuple(figure_cell(part.figures[name], name, part.target) if name in part.figures else "-" for part in parts)
    return Row(english=english, japanese=japanese, cells=cells)


def _counts(part: Part) -> str:
    """Say how many cases there were, and how many were left out and why."""
    rows = plural(part.rows, *CALLED[part.per])
    words = f"Per {part.per}: {rows}" + (
        f" of {plural(part.persons, 'person', 'persons')}" if part.per == "eye" else ""
    )
    left = [
        f"{count:,} {why}"
        for count, why in (
            (part.unknown, "left out because the true value is not known"),
            (part.failed, "left out because the network gave no number"),
            (part.outside, "outside what the bundle calls valid: counted here, but the daemon reports no value"),
        )
        if count
    ]
    return "; ".join([words, *left]) + "."


def _operating_row(row: Threshold) -> Row:
    """Write what happens at one threshold."""
    figures: list[Figure] = [getattr(row, name) for name in OPERATING]
    return Row(english=f"{row.threshold:.1f}", cells=tuple(figure_cell(one, "accuracy", "sex") for one in figures))


def _plots(part: Part) -> tuple[Plot, ...]:
    """Draw the pictures of a target."""
    truth, estimate = part.truth, part.estimate
    if part.target == "sex":
        return (
            _plot("ROC curve", lambda: plots.roc_curve(truth, estimate)),
            _plot(
                "Reliability: men among those with about the same probability",
                lambda: plots.reliability_curve(part.reliability),
            ),
        )
    words = f"{DESCRIBED[part.target].english.lower()} ({DESCRIBED[part.target].unit})"
    return (
        _plot("Estimates and truth", lambda: plots.scatter(truth, estimate, words)),
        _plot("Bland-Altman", lambda: plots.bland_altman(truth, estimate, words)),
    )


def _plot(words: str, draw: Callable[[], bytes]) -> Plot:
    """Draw one picture, or say why there is none."""
    try:
        picture = draw()
    except CannotMeasure as why:
        return Plot(source="", words=f"{words}: cannot be drawn: {why}")
    return Plot(source="data:image/png;base64," + b64encode(picture).decode("ascii"), words=words)


def _beside(part: Part) -> list[Beside]:
    """Put the published figures of a target beside ours."""
    baselines = {"mae": "mae_of_median", "accuracy": "accuracy_of_share"}
    lines = []
    for one in release.published_for(part.target):
        unit = DESCRIBED[part.target].unit if one.figure == "mae" else ""
        baseline = baselines.get(one.figure, "")
        lines.append(
            Beside(
                words=f"{DESCRIBED[part.target].english}: {figure_words(one.figure, part.target)[0]}",
                published=f"{figure_cell(Figure(value=one.value), one.figure, part.target)} {unit}".strip(),
                network=one.network,
                ours=figure_cell(part.figures[one.figure], one.figure, part.target),
                baseline=figure_cell(part.figures[baseline], baseline, part.target) if baseline else "-",
                source=one.source,
                data=one.data,
            )
        )
    return lines
