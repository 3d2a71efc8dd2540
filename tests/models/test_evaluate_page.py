"""Reports: figures beside what can be said without a picture, and the page that shows them."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="pages need the extra `lab` (matplotlib)")

from oculard_models.data.table import TARGETS
from oculard_models.evaluate import measures
from oculard_models.evaluate.about import DISCLAIMER, About
from oculard_models.evaluate.baselines import line_of, median_of, others_of
from oculard_models.evaluate.figures import figures_of
from oculard_models.evaluate.page import page_of
from oculard_models.evaluate.predictions import Predictions
from oculard_models.evaluate.release import PAINTED, PUBLISHED
from oculard_models.evaluate.report import Part, metrics_of, report_of
from oculard_models.evaluate.results import write_results
from oculard_models.evaluate.targets import DESCRIBED
from oculard_models.evaluate.wording import figure_words
from oculard_models.manifest import Output, OutputKind

NAN = float("nan")
SBP = Output(
    name="sbp",
    concept="EST-SBP",
    tensor="sbp",
    kind=OutputKind.VALUE,
    uncertainty=13.0,
    uncertainty_both=1.0,
    valid=(80, 150),
)


def study(people: int, names: tuple[str, ...] = ("sex", "sbp"), seed: int = 3) -> Predictions:
    """Invent both eyes of some people: blood pressure goes with age and sex, and the estimates know more than that."""
    rng = np.random.default_rng(seed)
    sex, age = np.arange(people) % 2 * 1.0, rng.uniform(20, 80, people)
    sbp = 90 + 0.5 * age + 6 * sex + rng.normal(0, 8, people)
    two = np.repeat(np.arange(people), 2)
    truth = {"sex": sex[two], "sbp": sbp[two], "age": age[two]}
    guess = {
        "sex": np.clip(truth["sex"] * 0.4 + 0.3 + rng.normal(0, 0.25, 2 * people), 0.01, 0.99),
        "sbp": truth["sbp"] + rng.normal(0, 5, 2 * people),
        "age": truth["age"] + rng.normal(0, 3, 2 * people),
    }
    return Predictions(
        persons=np.array([f"p{k:03d}" for k in two]),
        eyes=np.array(["R", "L"] * people),
        names=names,
        truth=np.stack([truth[name] for name in names], axis=1),
        estimate=np.stack([guess[name] for name in names], axis=1),
        beside={name: truth[name] for name in ("sex", "age") if name not in names},
    )


@pytest.fixture(scope="module")
def parts() -> tuple[Part, ...]:
    """Report on forty people once: the bootstrap takes its time."""
    return report_of(study(40), outputs=[SBP], seed=1)


def about(**more: object) -> About:
    """Say where invented figures come from."""
    known = {
        "table": "table.csv",
        "table_sha256": "0" * 64,
        "persons": 40,
        "photographs": 80,
        "part": "all of the file",
        "bundle": "tiny 1.0.0",
        "weights_sha256": "1" * 64,
        "runner": "onnxruntime",
        "demonstration": False,
        "combine": "eye",
        "interval": 0.9,
        "baselines": "the same persons",
        "command": "oculard-lab evaluate tiny",
        "version": "oculard 0",
        "seed": 1,
        "date": "2026-01-01",
    }
    return About(**(known | more))  # type: ignore[arg-type]


def test_line_through_sex_and_age_is_better_than_the_median_and_worse_than_the_estimates(parts):
    """The baselines put an error into proportion."""
    part = parts[2]
    mae = {name: part.figures[name].value for name in ("mae", "mae_of_line", "mae_of_median")}

    assert (part.target, part.per, part.rows, part.persons) == ("sbp", "eye", 80, 40)
    assert mae["mae"] < mae["mae_of_line"] < mae["mae_of_median"]
    assert part.figures["r2_of_line"].value == pytest.approx(0.55, abs=0.2)
    assert part.figures["mae"].low < part.figures["mae"].value < part.figures["mae"].high


def test_guess_about_a_person_never_knows_her_own_value():
    """When one person's values change, no guess about her changes, and others' do."""
    cases = study(30)
    truth, covariates = cases.of("sbp")[0], cases.known("age")[:, None]
    hers = cases.persons == "p007"
    changed = np.where(hers, 1e4, truth)
    for guess in (
        lambda values: median_of(values, cases.persons, "sbp", None, seed=1),
        lambda values: line_of(values, covariates, cases.persons, "sbp", None, seed=1),
    ):
        before, after = guess(truth), guess(changed)
        np.testing.assert_array_equal(before[hers], after[hers])
        assert (before != after).any()


def test_median_and_line_come_from_those_who_trained_where_they_are_known():
    """Other people's values decide, one a person however often she was photographed."""
    rows = [("a", {"sbp": 100.0, "sex": 0.0, "age": 30.0})] * 9
    rows += [(f"q{k}", {"sbp": 120.0 + k, "sex": 1.0, "age": 40.0 + k}) for k in range(11)]
    others = others_of(rows, TARGETS, "those who trained")
    cases = study(5)

    assert set(median_of(cases.of("sbp")[0], cases.persons, "sbp", others, seed=1)) == {124.5}
    assert report_of(cases, others=others, seed=1)[2].figures["mae_of_line"].value is not None


def test_accuracy_stands_beside_that_of_the_more_frequent_sex():
    """Of seven women and five men, always saying F is right for seven in twelve."""
    cases = study(12, ("sex",))
    cases.truth[:, 0] = np.repeat([0.0] * 7 + [1.0] * 5, 2)
    figures = report_of(cases, seed=1)[0].figures

    assert figures["accuracy_of_share"].value == pytest.approx(7 / 12)
    assert figures["brier_of_share"].value == pytest.approx(7 * 5 / 144)


def test_error_beside_the_line_is_of_the_same_rows():
    """Where age is not known of some, our own error stands there without them too."""
    cases = study(40)
    age = np.where(np.arange(80) < 20, NAN, cases.known("age"))
    part = report_of(replace(cases, beside={"age": age}), seed=1)[2]
    truth, estimate = (column[20:] for column in cases.of("sbp"))

    assert part.figures["mae_where_line"].value == pytest.approx(measures.mae(truth, estimate))


def test_stated_intervals_are_judged_eye_by_eye_and_for_both_eyes(parts):
    """The wider interval covers most eyes; the too narrow one of both eyes is found out."""
    eye, person = (part for part in parts if part.target == "sbp")

    assert eye.figures["coverage"].value > 0.95
    assert person.figures["coverage"].value < 0.5
    assert eye.outside == int((study(40).of("sbp")[1] > 150).sum())


def test_rows_that_are_left_out_are_counted():
    """Neither an unknown truth nor a failed estimate disappears in silence."""
    cases = study(20, ("sbp",))
    cases.truth[:4, 0] = NAN
    cases.estimate[10, 0] = NAN
    eye, person = report_of(cases, seed=1)

    assert (eye.rows, eye.unknown, eye.failed) == (35, 4, 1)
    assert (person.rows, person.unknown, person.failed) == (17, 2, 1)


def test_subgroups_part_everybody(parts):
    """Sexes, decades and eyes each hold all the cases."""
    part = parts[2]

    for by in ("sex", "age", "eye"):
        assert sum(group.rows for group in part.groups if group.by == by) == 80


def test_the_same_seed_gives_the_same_figures():
    """Bootstrap and folds are seeded, and another seed gives other intervals."""
    first, second, other = (metrics_of(report_of(study(12, ("sbp",)), seed=seed)) for seed in (4, 4, 5))

    assert first == second
    assert first != other


def one_sex(cases: Predictions) -> Predictions:
    return cases.where(cases.known("sex") == 1.0)


def one_value(cases: Predictions) -> Predictions:
    cases.truth[:, 1] = 120.0
    return cases


def few(cases: Predictions) -> Predictions:
    return cases.where(cases.persons < "p004")


def nobody_known(cases: Predictions) -> Predictions:
    return replace(cases, truth=np.full_like(cases.truth, NAN), beside={})


def always_the_same(cases: Predictions) -> Predictions:
    return replace(cases, estimate=np.full_like(cases.estimate, 0.5))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_sex, "cannot be computed: everybody is of one class"),
        (one_value, "cannot be computed: the true value is the same for everybody"),
        (few, "no interval: 4 persons"),
        (nobody_known, "cannot be computed: no case has both a true value and an estimate"),
        (always_the_same, "cannot be computed: the estimate is the same for everybody"),
    ],
)
def test_what_cannot_be_computed_says_why_on_the_page(tmp_path: Path, spoil, words: str):
    """Neither a crash nor a NaN, on the page and in metrics.json."""
    cases = spoil(study(12))
    parts = report_of(cases, seed=1)
    write_results(tmp_path, about(), cases, parts)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")

    assert words in page
    assert not re.search(r"\bnan\b|\binf\b", re.sub(r"data:[^\"]*", "", page), re.IGNORECASE)
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["results"]


def test_measure_that_most_draws_lack_has_no_interval():
    """Of one man among many, most draws have none or only copies of him: no interval is claimed."""
    truth = np.array([1.0, *[0.0] * 19])
    figure = figures_of({"auc": measures.auc}, truth, truth, np.array([f"p{k}" for k in range(20)]), seed=1)["auc"]

    assert (figure.value, figure.low) == (1.0, None)
    assert "too few of the bootstrap's draws" in figure.why


def test_page_needs_nothing_beside_itself(parts):
    """No address, no script, pictures inside, and a policy that forbids the rest."""
    page = page_of(about(), parts)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)

    assert "default-src 'none'" in page
    assert "<script" not in page
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    pictures = [source for source in sources if source.startswith("data:")]
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))) as opened:
            assert min(opened.size) > 300


def test_page_shows_names_as_text(parts):
    """A name out of a file is never markup."""
    evil = '"><script>alert(1)</script>'
    page = page_of(about(table=evil, warnings=(evil,), skipped=(evil,), command=evil), parts[:1])

    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4


def test_page_says_what_it_is_and_where_it_comes_from(parts):
    """Data, digests, seed, command, date, and that it is no medical device, stand on the page."""
    page = page_of(about(warnings=("These persons TRAINED the network.",)), parts)

    for words in (DISCLAIMER, "tiny 1.0.0", "0" * 64, "1" * 64, "80 photographs of 40 persons", "2026-01-01"):
        assert words in page
    for words in ("oculard-lab evaluate tiny", "TRAINED", "No quality gate was applied", "医療機器ではありません"):
        assert words in page
    assert "A demonstration" not in page


def test_demonstration_warns_and_explains_the_published_figures(parts):
    """Figures of painted eyes stand beside the published ones with a word on what that is worth."""
    page = page_of(about(demonstration=True), parts)

    assert "A demonstration: these estimates mean nothing for any person." in page
    assert PAINTED[0].split(":")[0] in page
    for words in ("10.34 mmHg", "92.0 %", "91.2 %", "0.971", "24.4 %", "EfficientNet-B7", "Korot"):
        assert words in page
    assert "7.09" not in page  # of a target that was not estimated


def test_every_published_figure_is_one_of_ours(parts):
    """What stands beside a published figure exists in our report, by the same name and with words for it."""
    ours = {"sex": parts[0].figures, "sbp": parts[2].figures}
    for one in PUBLISHED:
        limits = {f"within_{limit:g}" for limit in DESCRIBED[one.target].within}
        assert one.figure in ours.get(one.target, {"mae", *limits})
        assert figure_words(one.figure, one.target)[0]
    assert tuple(DESCRIBED) == TARGETS
