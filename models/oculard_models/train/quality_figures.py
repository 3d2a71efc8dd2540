"""The figures of the quality gate, all from networks that never saw the patient: haze, grades, degradations, eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.evaluate.measures import auc
from oculard_models.manifest import Output
from oculard_models.nets.gate import HEADS
from oculard_models.quality import Grade, Quality, judged

Numbers = npt.NDArray[np.float64]
Words = npt.NDArray[np.str_]

RESAMPLED = 2000  # times, for the interval of the correlation
PHOTOGRAPH = ("as-taken", "as-taken, mirrored")
STRONG: Mapping[str, tuple[str, str]] = {  # kind of case: the output that must rise, the reason that must be given
    "defocused!": ("blur", "blurred"),
    "veiled!": ("haze", "hazy"),
    "darkened!": ("dark", "too-dark"),
    "brightened!": ("bright", "too-bright"),
    "cut!": ("cut", "field-cut"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Cases that were estimated without their patient: kind, group, labels by name, raw outputs (cases x HEADS)."""

    kinds: Words
    groups: Words
    labels: Mapping[str, Numbers]
    raw: Numbers

    def judged(self, outputs: Sequence[Output]) -> list[Quality]:
        """Grade every case by the manifest's rule."""
        rows = (dict(zip(HEADS, map(float, row), strict=True)) for row in self.raw)
        return [judged(outputs, row, shows_field=True) for row in rows]

    def column(self, head: str) -> Numbers:
        """Return one head's raw outputs."""
        return self.raw[:, HEADS.index(head)]


def figures(measured: Measured, outputs: Sequence[Output], sharpness: Mapping[str, float]) -> dict[str, object]:
    """Measure everything that the card says. `sharpness` is the plain measure by photograph, the baseline for haze."""
    found = measured.judged(outputs)
    return {
        "haze": haze_figures(measured, found, sharpness),
        "clear_photographs": clear_figures(measured, found),
        "spoiled": {kind: spoiled_figures(measured, found, kind) for kind in STRONG},
        "uneven_light": shares(found, measured.kinds == "uneven"),
        "eye": eye_figures(measured, found),
        "centred": centred_figures(measured, found),
        "disc": {"auc_no_disc": area(-measured.column("disc"), measured.kinds == "no-disc", clean(measured))},
        "fundus": fundus_figures(measured, found),
    }


def haze_figures(measured: Measured, found: Sequence[Quality], sharpness: Mapping[str, float]) -> dict[str, object]:
    """Compare the haze score with the graders' on the photographs of CSDI, each estimated without its patient."""
    rows = np.flatnonzero((measured.kinds == "as-taken") & np.char.startswith(measured.groups, "csdi"))
    truth, score, groups = measured.labels["haze"][rows], measured.column("haze")[rows], measured.groups[rows]
    plain = np.array(list(sharpness.values()))
    low, high = interval(truth, score, groups)
    return {
        "photographs": len(rows),
        "patients": len(set(groups)),
        "spearman": {"value": spearman(truth, score), "low": low, "high": high},
        "spearman_of_plain_sharpness": spearman(truth, -plain),
        "mae": round(float(np.abs(truth - score).mean()), 3),
        "graders_scores_by_grade": {
            grade.value: sorted(float(truth[k]) for k, row in enumerate(rows.tolist()) if found[row].grade is grade)
            for grade in Grade
        },
    }


def clear_figures(measured: Measured, found: Sequence[Quality]) -> dict[str, object]:
    """What becomes of photographs that nobody would turn away: HRF, IDRiD, skimage, and CSDI up to a score of 2.5."""
    haze = np.nan_to_num(measured.labels["haze"], nan=9.0)
    rows = np.isin(measured.kinds, PHOTOGRAPH) & (haze <= 2.5)
    return shares(found, rows) | {"patients": len(set(measured.groups[rows]))}


def spoiled_figures(measured: Measured, found: Sequence[Quality], kind: str) -> dict[str, object]:
    """How surely one way of spoiling is seen, and named, on photographs of patients never seen."""
    head, reason = STRONG[kind]
    rows = measured.kinds == kind
    named = np.array([reason in quality.reasons for quality in found])
    return shares(found, rows) | {
        "reason": reason,
        "named": round(float(named[rows].mean()), 4),
        "auc": area(measured.column(head), rows, clean(measured)),
    }


def eye_figures(measured: Measured, found: Sequence[Quality]) -> dict[str, object]:
    """Which eye is suggested, on every photograph as it was taken and mirrored, against where the disc lies."""
    rows = np.flatnonzero(np.isin(measured.kinds, PHOTOGRAPH) & ~np.isnan(measured.labels["disc_x"]))
    rows = rows[np.abs(measured.labels["disc_x"][rows]) >= 0.15]
    right = ["R" if x > 0 else "L" for x in measured.labels["disc_x"][rows]]
    said = [found[row].suggested_eye for row in rows.tolist()]
    return {
        "photographs": len(rows),
        "suggested": sum(eye is not None for eye in said),
        "wrong": sum(eye not in (None, truth) for eye, truth in zip(said, right, strict=True)),
        "right_side_of_even": round(float(np.mean((measured.column("eye")[rows] > 0) == (np.array(right) == "R"))), 4),
    }


def centred_figures(measured: Measured, found: Sequence[Quality]) -> dict[str, object]:
    """What was aimed at: photographs as they were taken (the macula), and cut out anew around the disc."""
    haze = np.nan_to_num(measured.labels["haze"], nan=2.0)
    macula, disc = np.isin(measured.kinds, PHOTOGRAPH) & (haze < 8.0), measured.kinds == "disc-centred"
    told = np.array([quality.centred or "" for quality in found])
    return {
        kind: {
            "pictures": int(rows.sum()),
            "told": int((told[rows] != "").sum()),
            "wrong": int(((told[rows] != "") & (told[rows] != kind)).sum()),
        }
        for kind, rows in (("macula", macula), ("disc", disc))
    }


def fundus_figures(measured: Measured, found: Sequence[Quality]) -> dict[str, object]:
    """How surely other pictures are turned away, and photographs of the retina are not."""
    other, retina = measured.kinds == "other", np.isin(measured.kinds, (*PHOTOGRAPH, "clean"))
    refused = np.array(["not-fundus" in q.reasons and q.grade is Grade.UNGRADABLE for q in found])
    return {
        "pictures": int(other.sum()),
        "turned_away": round(float(refused[other].mean()), 4),
        "photographs": int(retina.sum()),
        "photographs_turned_away": round(float(refused[retina].mean()), 4),
        "auc": area(-measured.column("fundus"), other, retina),
    }


def clean(measured: Measured) -> npt.NDArray[np.bool_]:
    """The photographs that were varied and not spoiled, without those that are hazy by themselves."""
    return np.asarray((measured.kinds == "clean") & (np.nan_to_num(measured.labels["haze"], nan=9.0) <= 4.5))


def area(score: Numbers, cases: npt.NDArray[np.bool_], controls: npt.NDArray[np.bool_]) -> float:
    """Return the area under the curve of a score between two kinds of cases."""
    chosen = cases | controls
    return round(auc(cases[chosen].astype(np.float64), score[chosen]), 4)


def shares(found: Sequence[Quality], rows: npt.NDArray[np.bool_]) -> dict[str, object]:
    """Count how often every grade is given."""
    grades = [found[row].grade for row in np.flatnonzero(rows).tolist()]
    return {"pictures": len(grades), **{grade.value: grades.count(grade) for grade in Grade}}


def spearman(one: Numbers, two: Numbers) -> float:
    """Return the correlation of ranks; ties share theirs."""
    return round(float(np.corrcoef(ranks(one), ranks(two))[0, 1]), 4)


def ranks(values: Numbers) -> Numbers:
    """Return ranks from 0; equal values get the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts + 1) / 2.0)[place], dtype=np.float64)


def interval(truth: Numbers, score: Numbers, groups: Words) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of Spearman's correlation over patients."""
    rng = np.random.default_rng(0)
    names = np.unique(groups)
    members = [np.flatnonzero(groups == name) for name in names]
    drawn = []
    for _ in range(RESAMPLED):
        rows = np.concatenate([members[k] for k in rng.integers(len(names), size=len(names))])
        if len(set(truth[rows])) > 1:
            drawn.append(spearman(truth[rows], score[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)
