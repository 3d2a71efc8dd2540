"""The study of glaucoma finds what is planted, nothing where labels are dealt anew; its bundle says what it found."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the study needs the extra `lab` (scikit-learn)")

from faz_samples import MEASURED, faz_bundle, rows_of, write_eyes
from PIL import Image
from test_paint_octa import measured
from typer.testing import CliRunner

from oculard_models.contract import Measured
from oculard_models.data.octa_cohort import painted_faz_cohort, planted_aucs
from oculard_models.evaluate.measures import auc
from oculard_models.export import ExportWrong
from oculard_models.findings import of_measures
from oculard_models.lab import app
from oculard_models.lab.painting_octa import paint_eye
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.train.faz_glaucoma_bundle import can_take
from oculard_models.train.faz_glaucoma_study import MODEL, SIGNS, fitted, held_out_logits, study_of
from oculard_models.train.faz_glaucoma_table import MEASURES, Eyes

LAB = CliRunner()
PEOPLE = 200


def eyes_of(seed: int, people: int = PEOPLE, *, shuffled: bool = False) -> Eyes:
    """Return a painted cohort; shuffled, its labels are dealt to its people anew."""
    cohort = painted_faz_cohort(seed, people)
    truth = np.array([float(one.glaucoma) for one in cohort])
    if shuffled:
        truth = np.repeat(np.random.default_rng(seed).permutation(truth[::2]), 2)
    return Eyes(
        persons=np.array([one.person for one in cohort]),
        truth=truth,
        values={name: np.array([getattr(one, name) for one in cohort]) for name in (*MEASURES, "age")},
        name="cohort",
        sha256="",
        ignored=(),
    )


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    """A small table that is right."""
    return rows_of(painted_faz_cohort(1, 60))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> Path:
    """A bundle that the command has made."""
    folder = tmp_path_factory.mktemp("made")
    bundle = faz_bundle(folder)
    table = write_eyes(folder / "eyes.csv", rows)
    words = ["--table", str(table), "--bundle", str(bundle), "--out", str(folder / "new")]
    done = LAB.invoke(app, ["train", "faz-glaucoma", *words, "--data-words", "invented people", "--demonstration"])
    assert done.exit_code == 0, done.output
    assert "AUC of area alone" in done.stdout
    return folder / "new"


@pytest.mark.parametrize("name", MEASURES)
def test_cohort_has_the_planted_areas(name: str):
    """Over 40 cohorts of 100 people the mean area under the curve is the planted one, within 4 standard errors."""
    found = []
    for seed in range(40):
        eyes = eyes_of(seed, 100)
        found.append(auc(eyes.truth, SIGNS[name] * eyes.values[name]))

    assert abs(np.mean(found) - planted_aucs()[name]) < 4.0 * np.std(found, ddof=1) / sqrt(len(found))


def test_eyes_of_a_person_are_alike():
    """Within a group the logarithms of the areas of both eyes correlate as planted: 0.7 within 4 / sqrt(n)."""
    healthy = [one for one in painted_faz_cohort(5, 800) if not one.glaucoma]
    right, left = (np.log([one.area for one in healthy if one.eye == eye]) for eye in "RL")

    assert abs(np.corrcoef(right, left)[0, 1] - 0.7) < 4.0 * (1.0 - 0.7**2) / sqrt(len(right))


def test_study_finds_what_is_planted():
    """Each measure's interval over persons holds the planted area; the model is better than the area alone."""
    study = study_of(eyes_of(0), seed=1, folds=5)

    for name in MEASURES:
        figure = study.curves[name].by_person
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= planted_aucs()[name] <= figure.high
    model = study.curves[MODEL].by_person
    assert model.low is not None
    assert model.high is not None
    assert model.low <= planted_aucs()["best"] <= model.high
    assert study.compared[0].delong.p is not None
    assert study.compared[0].delong.p < 0.05
    assert study.compared[0].by_person.low is not None
    assert study.compared[0].by_person.low > 0.0
    slope = study.figures["calibration_slope"]
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low < 1.0 < slope.high


def test_interval_over_persons_is_the_wider_one():
    """Two eyes that are alike are less than two cases."""
    for curve in study_of(eyes_of(0), seed=1, folds=5).curves.values():
        widths = [figure.high - figure.low for figure in (curve.by_person, curve.delong) if figure.low and figure.high]

        assert widths[0] > 1.1 * widths[1]


def test_shuffled_labels_have_nothing_to_find():
    """Over 12 shuffles the mean held-out area lies near 0.5.

    A score that is fixed before it meets a fold of 40 persons, 20 of them with glaucoma, has a standard deviation of at
    most sqrt(41 / (12 x 20 x 20)) = 0.092 (both eyes one case). Folds of one shuffle may all err alike; shuffles do
    not: 3 x 0.092 / sqrt(12) = 0.080. What is planted lies 0.28 away.
    """
    found = []
    for seed in range(12):
        eyes = eyes_of(seed, shuffled=True)
        found.append(auc(eyes.truth, held_out_logits(eyes, MEASURES, seed=1, folds=5)))

    assert abs(np.mean(found) - 0.5) < 0.080


def test_both_eyes_of_a_person_are_held_out_together():
    """Two eyes that measure alike get one logit: one model, which knew neither of them."""
    rng = np.random.default_rng(3)
    areas = np.repeat(rng.uniform(0.2, 0.6, 80), 2)
    eyes = Eyes(
        persons=np.repeat(np.arange(80), 2).astype(str),
        truth=np.repeat(rng.permutation(np.repeat([0.0, 1.0], 40)), 2),
        values=dict.fromkeys(MEASURES, areas),
        name="",
        sha256="",
        ignored=(),
    )
    logits = held_out_logits(eyes, MEASURES, seed=1, folds=4)

    np.testing.assert_array_equal(logits[::2], logits[1::2])


def test_same_seed_gives_the_same_numbers():
    """Folds and bootstrap are seeded."""
    first, again, other = (study_of(eyes_of(0, 60), seed=seed, folds=5) for seed in (1, 1, 2))

    assert first.curves == again.curves
    assert first.figures == again.figures
    assert first.curves[MODEL] != other.curves[MODEL]


def test_pictures_lead_to_the_same_areas():
    """From painted pictures over their true masks to the measures: the areas under the curve are those of the table.

    Only 16 people: what is compared is the same eyes, before and after the picture, not the planted effect.
    """
    cohort = painted_faz_cohort(2, 16)
    seen = [measured(paint_eye(one, 192)).values for one in cohort]
    truth = np.array([float(one.glaucoma) for one in cohort])

    for name, tolerance in (("area", 0.01), ("perimeter", 0.03), ("circularity", 0.05)):
        stated = np.array([getattr(one, name) for one in cohort])
        found = np.array([values[name] for values in seen])
        assert np.corrcoef(stated, found)[0, 1] > 0.9
        assert abs(auc(truth, SIGNS[name] * stated) - auc(truth, SIGNS[name] * found)) < tolerance


def test_bundle_computes_the_fitted_probability(made: Path, rows: list[dict[str, object]]):
    """What the daemon says of an eye is what the regression says of it."""
    bundle = read_bundle(made)
    cohort = painted_faz_cohort(1, 60)
    logistic = fitted(eyes_of(1, 60))
    for row, one in zip(rows[:5] + rows[-5:], cohort[:5] + cohort[-5:], strict=True):
        values: dict[str, Any] = {name: row[name] for name in MEASURES}
        finding = of_measures(bundle.manifest, "1.2", Measured(values=values))[-1]
        logit = logistic.intercept + sum(b * getattr(one, name) for name, b in logistic.coefficients.items())
        probability = 100.0 / (1.0 + np.exp(-logit))

        assert finding.choice == ("glaucoma" if probability >= 50.0 else "normal")
        assert finding.value == pytest.approx(max(probability, 100.0 - probability), abs=0.01)


def test_model_does_not_depend_on_the_units_of_its_table():
    """Standardised inside, written in natural units: areas in other units give other coefficients, the same logits."""
    eyes = eyes_of(1, 60)
    other = replace(eyes, values=dict(eyes.values) | {"area": 1000.0 * eyes.values["area"]})
    logits = [
        model.intercept + some.matrix(MEASURES) @ np.array([model.coefficients[name] for name in MEASURES])
        for some, model in ((some, fitted(some)) for some in (eyes, other))
    ]

    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)
    mean = np.mean(1.0 / (1.0 + np.exp(-logits[0])))
    assert mean == pytest.approx(eyes.truth.mean(), rel=1e-3)  # as every logistic fit with a free intercept


def test_bundle_keeps_the_source(made: Path):
    """Weights, input, mask and measures are the given bundle's; name and output are new."""
    source, new = read_bundle(made.parent / "faz-tiny"), read_bundle(made)

    assert new.load() == source.load()
    assert new.manifest.output[:-1] == source.manifest.output
    assert new.manifest.mask == source.manifest.mask
    one_slab = {"slabs": source.manifest.input.slabs[:1]}  # zones of another slab have other sizes
    assert new.manifest.input == source.manifest.input.model_copy(update=one_slab)
    assert new.identity == "faz-tiny-glaucoma 1.0.0"
    assert new.manifest.demonstration
    last = new.manifest.output[-1]
    assert (last.name, last.concept, last.choices) == ("glaucoma", "FAZ-GL", ("normal", "glaucoma"))


def test_card_page_and_figures_say_where_they_come_from(made: Path):
    """Data, people, digest, command and the caution about two eyes stand in all of them."""
    card = (made / "card.md").read_text("utf-8")
    page = (made / "page.html").read_text("utf-8")
    figures = json.loads((made / "metrics.json").read_text("utf-8"))

    for text in (card, page):
        assert "120 eyes of 60 persons: 60 eyes of 30 with glaucoma" in text
        assert figures["table_sha256"] in text
        assert "Both eyes of a person are not" in text
        assert "it means nothing for any person" in text
        assert "oculard-lab train faz-glaucoma --table eyes.csv" in text
    assert "invented people" in card
    assert "# faz-tiny\n" in card
    assert figures["data"] == "invented people"
    assert set(figures["auc"]) == {*MEASURES, "age", "logistic", "logistic-age"}
    assert figures["model"]["coefficients"].keys() == set(MEASURES)
    assert "<script" not in page


def test_existing_folder_is_not_replaced(made: Path):
    """A bundle that is there stays."""
    words = ["--table", str(made.parent / "eyes.csv"), "--bundle", str(made.parent / "faz-tiny"), "--out", str(made)]
    done = LAB.invoke(app, ["train", "faz-glaucoma", *words])

    assert done.exit_code == 1
    assert "already there" in done.stderr


def test_bundle_without_the_measures_is_refused(tmp_path: Path, rows: list[dict[str, object]]):
    """A model of three measures needs a bundle that reports them."""
    bundle = faz_bundle(tmp_path, MEASURED[:2])
    table = write_eyes(tmp_path / "eyes.csv", rows)
    words = ["--table", str(table), "--bundle", str(bundle), "--out", str(tmp_path / "new")]
    done = LAB.invoke(app, ["train", "faz-glaucoma", *words])

    assert done.exit_code == 1
    assert "does not report circularity" in done.stderr


def test_bundle_that_measures_no_zone_is_refused():
    """The model is for what measures the avascular zone."""
    with pytest.raises(ExportWrong, match="does not measure the foveal avascular zone"):
        can_take(read_bundle(BUNDLES / "systemic-demo"))


def test_paint_writes_the_cohort_and_its_pictures(tmp_path: Path):
    """`paint --octa --glaucoma` gives the table that the study reads, and a picture and a mask of every eye in it."""
    done = LAB.invoke(app, ["paint", str(tmp_path), "--octa", "--glaucoma", "--count", "2", "--size", "64"])
    with (tmp_path / "glaucoma.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert done.exit_code == 0, done.output
    assert rows == [{name: str(value) for name, value in row.items()} for row in rows_of(painted_faz_cohort(1, 2))]
    assert len(list((tmp_path / "images").iterdir())) == len(list((tmp_path / "masks").iterdir())) == 4
    mask = np.asarray(Image.open(tmp_path / "masks" / "superficial_1000000_R.png")) > 127
    assert mask.mean() * 9.0 == pytest.approx(float(rows[0]["area"]), rel=0.05)
