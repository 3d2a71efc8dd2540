"""Truth and estimates: averaged, written, read, and made by running a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundle_samples import mean_model, tiny_bundle
from PIL import Image

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.data.photographs import Unreadable
from oculard_models.data.table import Photograph
from oculard_models.evaluate.prediction_table import read_csv, write_csv
from oculard_models.evaluate.predictions import (
    Predictions,
    PredictionsWrong,
    in_units,
    predict,
    predict_readable,
)
from oculard_models.manifest import Output, OutputKind
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import Choice, OnnxEstimator

CPU = Choice(("CPUExecutionProvider",), ())
NAN = float("nan")


def predictions(rows: list[tuple[str, str, float, float]], **more: object) -> Predictions:
    """Make predictions of age out of (person, eye, truth, estimate)."""
    persons, eyes, truth, estimate = zip(*rows, strict=True)
    return Predictions(
        persons=np.array(persons),
        eyes=np.array(eyes),
        names=("age",),
        truth=np.array(truth, dtype=float)[:, None],
        estimate=np.array(estimate, dtype=float)[:, None],
        **more,  # type: ignore[arg-type]
    )


def painted(folder: Path, count: int) -> list[Photograph]:
    """Paint right eyes of invented people."""
    photographs = []
    for index, person in enumerate(sample_people(count, seed=5)):
        path = folder / f"{index}.png"
        Image.fromarray(paint(person, "R", index, 200)).save(path)
        values = {"age": person.age, "sex": float(person.sex == "M")}
        photographs.append(Photograph(path=path, person=f"p{index}", eye="R", values=values))
    return photographs


def test_an_eye_photographed_more_often_counts_no_more():
    """First the photographs of an eye are averaged, then both eyes, as the daemon does."""
    seen = predictions([("a", "R", 50, 40), ("a", "R", 50, 60), ("a", "L", 50, 70), ("b", "L", 30, 31)])
    eyes, persons = seen.by_eye(), seen.by_person()

    assert eyes.estimate[:, 0].tolist() == [50.0, 70.0, 31.0]
    assert persons.persons.tolist() == ["a", "b"]
    assert persons.eyes.tolist() == ["RL", "L"]
    assert persons.estimate[:, 0].tolist() == [60.0, 31.0]


def test_a_failed_estimate_fails_its_eye_and_an_unknown_truth_does_not():
    """A photograph without a number is never left out in silence; a value that one row lacks may stand in another."""
    seen = predictions([("a", "R", 50, NAN), ("a", "R", NAN, 60), ("b", "L", NAN, 31)])
    eyes = seen.by_eye()

    np.testing.assert_array_equal(eyes.estimate[:, 0], [NAN, 31.0])
    np.testing.assert_array_equal(eyes.truth[:, 0], [50.0, NAN])


@pytest.mark.parametrize(
    ("names", "truth", "estimate", "why"),
    [
        (("height",), 1.0, 1.0, "some of sex, age"),
        (("age", "age"), 1.0, 1.0, "each once"),
        (("sex",), 0.5, 0.5, "neither 0 .F. nor 1 .M."),
        (("sex",), 1.0, 1.5, "no probability"),
        (("age",), float("inf"), 1.0, "infinite"),
    ],
)
def test_predictions_that_cannot_be_are_refused(names, truth, estimate, why):
    """What was made wrong raises where it is made."""
    shape = (1, len(names))
    with pytest.raises(PredictionsWrong, match=why):
        Predictions(
            persons=np.array(["a"]),
            eyes=np.array(["R"]),
            names=names,
            truth=np.full(shape, truth),
            estimate=np.full(shape, estimate),
        )


def test_file_reads_back_to_the_bit(tmp_path: Path):
    """Written and read again nothing has changed: unknown values, odd names, sex beside the estimates."""
    seen = predictions(
        [("Ann, the 1st", "R", 50.1, 0.1 + 0.2), ("山田", "L", NAN, NAN)], beside={"sex": np.array([1.0, NAN])}
    )
    write_csv(seen, tmp_path / "p.csv")
    again = read_csv(tmp_path / "p.csv")

    assert (again.persons.tolist(), again.eyes.tolist()) == (seen.persons.tolist(), seen.eyes.tolist())
    np.testing.assert_array_equal(again.truth, seen.truth)
    np.testing.assert_array_equal(again.estimate, seen.estimate)
    np.testing.assert_array_equal(again.known("sex"), seen.known("sex"))


HEADER = "person,eye,age,age_estimate\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no rows"),
        (HEADER.encode(), "has no rows"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"who,eye,age,age_estimate\na,R,1,2\n", "has the columns who, eye"),
        (b"person,eye,age\na,R,1\n", "has the columns"),
        (b"person,eye,height,height_estimate\na,R,1,2\n", "has the columns"),
        (b"person,eye,sbp,age,age_estimate\na,R,1,2,3\n", "has the columns"),
        (b"person,eye,age_estimate\na,R,1\n", "has the columns"),
        (b"person,eye,age,age_estimate,age\na,R,1,2,3\n", "has the columns"),
        (HEADER.encode() + b"a,R,1\n", "row 1: 3 cells under 4"),
        (HEADER.encode() + b"a,R,1,2\n,R,1,2\n", "row 2, column `person`"),
        (HEADER.encode() + b"a,X,1,2\n", "row 1, column `eye`: `X`; hint: R or L"),
        (HEADER.encode() + b"a,R,old,2\n", "row 1, column `age`: `old` is no number"),
        (HEADER.encode() + b"a,R,1,inf\n", "column `age_estimate`: `inf` is no number"),
        (HEADER.encode() + b'a,R,"1,2\n', "no CSV file"),
        (b"person,eye,sex,sex_estimate\na,R,2,0.5\n", "neither 0"),
        (b"person,eye,sex,sex_estimate\na,R,1,97\n", "no probability of male"),
    ],
)
def test_broken_files_say_where_and_what(tmp_path: Path, content: bytes, why: str):
    """The message names the file, the row, the column and the value."""
    path = tmp_path / "p.csv"
    path.write_bytes(content)

    with pytest.raises(PredictionsWrong, match=why) as caught:
        read_csv(path)
    assert str(path) in str(caught.value)


def test_probability_is_that_of_male_whatever_the_order_of_classes():
    """A network whose first class is M gives the same column."""
    one = {"name": "sex", "concept": "EST-SEX", "tensor": "sex", "kind": OutputKind.BINARY}
    women_first, men_first = Output(**one, choices=("F", "M")), Output(**one, choices=("M", "F"))

    assert in_units(women_first, 2.0) == pytest.approx(0.8808, abs=1e-4)
    assert in_units(men_first, 2.0) == pytest.approx(0.1192, abs=1e-4)
    assert np.isnan(in_units(women_first, float("nan")))
    assert in_units(women_first, -1e9) == pytest.approx(0.0)


def test_a_bundle_is_run_as_the_daemon_runs_it(tmp_path: Path):
    """Batches of two give what one photograph at a time gives, in units, beside what is true of its person."""
    bundle = read_bundle(BUNDLES / "systemic-demo")
    estimator = OnnxEstimator(bundle, CPU, threads=1)
    photographs = painted(tmp_path, 3)
    made = predict(estimator, bundle.manifest, photographs, batch=2)

    assert set(made.names) == {"sex", "age", "sbp", "dbp", "glucose", "waist", "bmi"}
    assert made.persons.tolist() == ["p0", "p1", "p2"]
    assert np.isnan(made.of("sbp")[0]).all()  # the table did not know it
    assert made.of("age")[0].tolist() == [photograph.values["age"] for photograph in photographs]
    age = next(output for output in bundle.manifest.output if output.name == "age")
    for row, photograph in enumerate(photographs):
        pixels = np.asarray(Image.open(photograph.path).convert("RGB"))
        plane = estimator.prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels))
        raw = estimator.estimate(plane[None])[0]["age"]
        assert made.of("age")[1][row] == pytest.approx(raw * age.scale + age.offset, abs=1e-3)


def test_a_photograph_that_cannot_be_read_stops_or_is_named(tmp_path: Path):
    """By default it is an error that names the file; asked to, the rest is evaluated and the file is named."""
    bundle = read_bundle(tiny_bundle(tmp_path, mean_model))
    estimator = OnnxEstimator(bundle, CPU, threads=1)
    photographs = painted(tmp_path, 3)
    photographs[1].path.write_bytes(b"no picture")

    with pytest.raises(Unreadable, match=r"1\.png"):
        predict(estimator, bundle.manifest, photographs)
    made, skipped = predict_readable(estimator, bundle.manifest, photographs)
    assert made.persons.tolist() == ["p0", "p2"]
    assert made.known("sex").tolist() == [photographs[0].values["sex"], photographs[2].values["sex"]]
    assert len(skipped) == 1
    assert "1.png" in skipped[0]


def test_a_bundle_of_other_things_is_not_evaluated(tmp_path: Path):
    """A network whose outputs no table can hold is refused with what it gives."""
    bundle = read_bundle(tiny_bundle(tmp_path, mean_model))
    manifest = bundle.manifest.model_copy(
        update={"output": (bundle.manifest.output[0].model_copy(update={"name": "haze"}),)}
    )

    with pytest.raises(PredictionsWrong, match="`tiny` gives haze"):
        predict(OnnxEstimator(bundle, CPU, threads=1), manifest, [])
