"""What is printed about every estimated target: errors, agreement, and the baselines that put them into proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial

import numpy as np

from oculard_models.evaluate import measures
from oculard_models.evaluate.baselines import Others, covariates_for, line_of, median_of
from oculard_models.evaluate.classes import Bin, Threshold, class_figures, operating_table, reliability
from oculard_models.evaluate.figures import Figure, figure_of, figures_of
from oculard_models.evaluate.measures import CannotMeasure, Measure, Numbers
from oculard_models.evaluate.predictions import Predictions
from oculard_models.evaluate.subgroups import Group, groups_of
from oculard_models.evaluate.targets import DESCRIBED
from oculard_models.manifest import Output

PER_EYE, PER_PERSON = "eye", "person"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """One target, per eye or per person. `truth` and `estimate` are what the figures were computed on, for pictures."""

    target: str
    per: str  # eye or person
    rows: int
    persons: int
    unknown: int  # rows without a true value, left out
    failed: int  # rows without an estimate, left out
    outside: int  # rows outside the manifest's `valid`, counted in all figures; the daemon reports no value for them
    figures: Mapping[str, Figure]
    groups: tuple[Group, ...]
    operating: tuple[Threshold, ...] = ()
    reliability: tuple[Bin, ...] = ()
    truth: Numbers
    estimate: Numbers


def report_of(
    predictions: Predictions, *, outputs: Sequence[Output] = (), others: Others | None = None, seed: int
) -> tuple[Part, ...]:
    """Report on every target, per eye and, where anybody has two, per person. `outputs` are those of the bundle."""
    eyes, persons = predictions.by_eye(), predictions.by_person()
    levels = [(PER_EYE, eyes), *([(PER_PERSON, persons)] if len(persons) < len(eyes) else [])]
    stated = {output.name: output for output in outputs}
    names = [name for name in DESCRIBED if name in predictions.names]
    return tuple(_part(rows, name, per, stated.get(name), others, seed=seed) for name in names for per, rows in levels)


def metrics_of(parts: Sequence[Part]) -> list[dict[str, object]]:
    """Write a report as data: every figure with its interval, or the words why there is none."""
    return [
        {
            "target": part.target,
            "per": part.per,
            "rows": part.rows,
            "persons": part.persons,
            "without_truth": part.unknown,
            "without_estimate": part.failed,
            "outside_valid": part.outside,
            **{name: figure.to_json() for name, figure in part.figures.items()},
            "groups": [_group(group) for group in part.groups],
            **({"operating": [_threshold(row) for row in part.operating]} if part.operating else {}),
            **({"reliability": [asdict(row) for row in part.reliability]} if part.reliability else {}),
        }
        for part in parts
    ]


def _group(group: Group) -> dict[str, object]:
    """Write a subgroup as data."""
    figures = {name: figure.to_json() for name, figure in group.figures.items()}
    return {"by": group.by, "who": group.words, "rows": group.rows, "persons": group.persons, **figures}


def _threshold(row: Threshold) -> dict[str, object]:
    """Write a row of the operating table as data."""
    named = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: value.to_json() if isinstance(value, Figure) else value for name, value in named.items()}


def _part(
    predictions: Predictions, name: str, per: str, output: Output | None, others: Others | None, *, seed: int
) -> Part:
    """Report on one target."""
    truth, estimate = predictions.of(name)
    known, given = np.isfinite(truth), np.isfinite(estimate)
    cases = predictions.where(known & given)
    truth, estimate = cases.of(name)
    figures = (class_figures if name == "sex" else value_figures)(cases, name, others, seed=seed)
    if name != "sex":
        figures |= _interval_figures(cases, name, output, seed=seed)
    return Part(
        target=name,
        per=per,
        rows=len(cases),
        persons=len(np.unique(cases.persons)),
        unknown=int((~known).sum()),
        failed=int((known & ~given).sum()),
        outside=_outside(estimate, output),
        figures=figures,
        groups=groups_of(cases, name, seed=seed),
        operating=operating_table(truth, estimate) if name == "sex" else (),
        reliability=reliability(truth, estimate) if name == "sex" else (),
        truth=truth,
        estimate=estimate,
    )


def value_figures(cases: Predictions, name: str, others: Others | None, *, seed: int) -> dict[str, Figure]:
    """Measure one value's estimates, with what the median and a line through sex and age would get."""
    truth, estimate = cases.of(name)
    shares = {f"within_{limit:g}": partial(measures.within, limit=limit) for limit in DESCRIBED[name].within}
    wanted: dict[str, Measure] = {
        "mae": measures.mae,
        "rmse": measures.rmse,
        "r2": measures.r2,
        "pearson": measures.pearson,
        "bias": measures.bias,
        "calibration_slope": measures.calibration_slope,
        **shares,
    }
    return {
        **figures_of(wanted, truth, estimate, cases.persons, seed=seed),
        "calibration_intercept": figure_of(lambda t, e: measures.calibration_line(t, e)[1], truth, estimate),
        "agreement_low": figure_of(lambda t, e: measures.limits_of_agreement(t, e)[0], truth, estimate),
        "agreement_high": figure_of(lambda t, e: measures.limits_of_agreement(t, e)[1], truth, estimate),
        **_median_figures(cases, name, others, seed=seed),
        **_line_figures(cases, name, others, seed=seed),
    }


def _median_figures(cases: Predictions, name: str, others: Others | None, *, seed: int) -> dict[str, Figure]:
    """Measure the median of other people as if it were an estimate."""
    truth, _ = cases.of(name)
    try:
        guess = median_of(truth, cases.persons, name, others, seed=seed)
    except CannotMeasure as why:
        return {"mae_of_median": Figure(why=str(why))}
    return figures_of({"mae_of_median": measures.mae}, truth, guess, cases.persons, seed=seed)


def _line_figures(cases: Predictions, name: str, others: Others | None, *, seed: int) -> dict[str, Figure]:
    """Measure a straight line through sex and age as if it were an estimate, where these are known.

    Beside it stands our own error on the same rows: the two must not be compared on different people.
    """
    covariates = np.column_stack([cases.known(known) for known in covariates_for(name)])
    complete = np.asarray(np.isfinite(covariates).all(axis=1))
    some = cases.where(complete)
    truth, estimate = some.of(name)
    try:
        if not complete.any():
            raise CannotMeasure(f"{' and '.join(covariates_for(name))} are known of nobody")
        guess = line_of(truth, covariates[complete], some.persons, name, others, seed=seed)
    except CannotMeasure as why:
        return {key: Figure(why=str(why)) for key in ("mae_of_line", "r2_of_line")}
    line = figures_of({"mae_of_line": measures.mae, "r2_of_line": measures.r2}, truth, guess, some.persons, seed=seed)
    if complete.all():
        return line
    ours = figures_of({"mae_where_line": measures.mae}, truth, estimate, some.persons, seed=seed)
    return line | ours


def _interval_figures(cases: Predictions, name: str, output: Output | None, *, seed: int) -> dict[str, Figure]:
    """Say how often the truth lies within the interval that the bundle states."""
    if output is None or output.uncertainty is None:
        return {"coverage": Figure(why="no interval is stated for this value")}
    both = output.uncertainty_both or output.uncertainty
    widths = np.where(cases.eyes == "RL", both, output.uncertainty)
    truth, estimate = cases.of(name)
    covered = (np.abs(estimate - truth) <= widths).astype(np.float64)
    return figures_of({"coverage": lambda hit, _: _share(hit)}, covered, covered, cases.persons, seed=seed)


def _share(hit: Numbers) -> float:
    """Average hits."""
    if not len(hit):
        raise CannotMeasure("no case has both a true value and an estimate")
    return float(hit.mean())


def _outside(estimate: Numbers, output: Output | None) -> int:
    """Count estimates outside what the manifest calls valid."""
    if output is None or output.valid is None:
        return 0
    return int(((estimate < output.valid[0]) | (estimate > output.valid[1])).sum())
