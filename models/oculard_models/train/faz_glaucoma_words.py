"""How the figures of the study of glaucoma are called and written: terminal, card and page say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.wording import FIGURES, plural
from oculard_models.train.faz_glaucoma_study import Compared, Curve, Study

DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Words:
    """A name in two languages."""

    english: str
    japanese: str


CURVES: Mapping[str, Words] = MappingProxyType(
    {
        "area": Words("area alone", "面積のみ"),
        "perimeter": Words("perimeter alone", "周囲長のみ"),
        "circularity": Words("circularity alone (low: glaucoma)", "円形度のみ（低いほど緑内障）"),
        "age": Words("age alone", "年齢のみ"),
        "logistic": Words("area, perimeter and circularity", "面積・周囲長・円形度"),
        "logistic-age": Words("area, perimeter, circularity and age", "面積・周囲長・円形度・年齢"),
    }
)
MODEL_FIGURES: Mapping[str, Words] = MappingProxyType(
    {
        "accuracy": Words(*FIGURES["accuracy"]),
        "sensitivity": Words("Glaucoma that is called so, at 0.5 (sensitivity)", "感度（緑内障、閾値 0.5）"),
        "specificity": Words("Others that are called normal, at 0.5 (specificity)", "特異度（正常、閾値 0.5）"),
        "brier": Words(*FIGURES["brier"]),
        "calibration_slope": Words(*FIGURES["calibration_slope"]),
        "calibration_intercept": Words("Calibration intercept (0 is best)", "較正の切片（0 が理想）"),
    }
)
CAUTIONS = (
    "Which way each measure points was fixed beforehand: larger, longer, less circular, older means glaucoma.",
    "Intervals and p after DeLong count eyes as independent. Both eyes of a person are not: where the table holds both,"
    " they are too narrow, and p too small. The bootstrap draws persons, with all of their eyes; rely on it.",
    "The model's scores are those of persons that did not fit it, pooled over the folds. Where the zone tells nothing,"
    " such a score lies a little below 0.5 on average and scatters more than its interval says.",
    "Intervals and p take these scores as given: what other people in the folds would have made of the model is not in"
    " them.",
    "The share of glaucoma among these people is part of the model: elsewhere its probabilities are off, even where"
    " its order is right.",
)


def curve_cells(curve: Curve) -> tuple[str, str]:
    """Write an area with both of its intervals."""
    return curve.delong.text(DECIMALS), curve.by_person.text(DECIMALS)


def compared_words(pair: Compared) -> str:
    """Write a paired comparison as a sentence."""
    p = "p cannot be computed" if pair.delong.p is None else f"p {p_words(pair.delong.p)}"
    first, second = CURVES[pair.first].english, CURVES[pair.second].english
    by_eye, by_person = pair.delong.auc.text(DECIMALS), pair.by_person.text(DECIMALS)
    return f"AUC of {first} minus {second}: {by_eye}, {p} (DeLong); by person: {by_person}"


def p_words(p: float) -> str:
    """Write a p."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def people_words(study: Study) -> str:
    """Say on how many people and eyes the figures rest."""
    eyes = study.eyes
    sick, all_eyes = int(eyes.truth.sum()), len(eyes.truth)
    persons = len({*eyes.persons.tolist()})
    return (
        f"{plural(all_eyes, 'eye', 'eyes')} of {plural(persons, 'person', 'persons')}:"
        f" {plural(sick, 'eye', 'eyes')} of {eyes.persons_of(1):,} with glaucoma,"
        f" {plural(all_eyes - sick, 'eye', 'eyes')} of {eyes.persons_of(0):,} without"
    )


def model_words(study: Study) -> str:
    """Write the fitted model."""
    terms = [f"{value:+.6g} x {name}" for name, value in study.logistic.coefficients.items()]
    return f"logit = {study.logistic.intercept:.6g} {' '.join(terms)}"


def figure_rows(figures: Mapping[str, Figure]) -> list[tuple[Words, str]]:
    """Write the figures of the model's probability."""
    return [
        (
            words,
            figures[name].text(1, 100.0, " %")
            if name in ("accuracy", "sensitivity", "specificity")
            else figures[name].text(DECIMALS),
        )
        for name, words in MODEL_FIGURES.items()
    ]
