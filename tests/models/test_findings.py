"""From raw outputs to findings."""

from __future__ import annotations

from math import inf, nan

import pytest

from oculard_models.contract import Finding, Qualifier
from oculard_models.findings import not_made, of_both_eyes, to_findings
from oculard_models.manifest import Golden, InputSpec, Manifest, Output, OutputKind, Weights

AGE = Output(
    name="age", concept="EST-AGE", tensor="age", kind=OutputKind.VALUE, unit="a", scale=10.0, offset=50.0,
    uncertainty=5.0, valid=(20.0, 90.0),
)  # fmt: skip
SEX = Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))
MANIFEST = Manifest(
    name="toy",
    family="systemic",
    version="1.0.0",
    title="Toy",
    manufacturer="oculard tests",
    licence="Apache-2.0",
    demonstration=True,
    weights=Weights(file="model.onnx", sha256="0" * 64),
    input=InputSpec(kind="fundus", tensor="image", size_px=(16, 16)),
    output=(AGE, SEX),
    golden=Golden(image="golden.png", expected={"age": 0.0, "sex": 0.0}),
)


def age_of(*raws: float) -> Finding:
    """Return the finding of the age from raw outputs, one an image."""
    return to_findings(MANIFEST, [(f"1.2.{k}", {"age": raw, "sex": 0.0}) for k, raw in enumerate(raws)])[0]


def sex_of(*raws: float) -> Finding:
    """Return the finding of the sex from logits, one an image."""
    return to_findings(MANIFEST, [(f"1.2.{k}", {"age": 0.0, "sex": raw}) for k, raw in enumerate(raws)])[1]


def test_value_is_the_mean_of_the_images_in_its_unit():
    """Scale and offset are applied to the mean, and every image is a source."""
    assert age_of(1.0, 2.0) == Finding(name="age", unit="a", value=65.0, uncertainty=5.0, sources=("1.2.0", "1.2.1"))


def test_value_keeps_two_decimals():
    """No report shows more digits than mean something."""
    assert age_of(0.123456).value == 51.23


@pytest.mark.parametrize("raw", [-3.01, 4.01, 1e30])
def test_value_outside_its_range_is_said_and_never_clipped(raw: float):
    """An estimate beyond `valid` becomes a qualifier without a value."""
    assert age_of(raw) == Finding(name="age", unit="a", qualifier=Qualifier.OUT_OF_RANGE, sources=("1.2.0",))


@pytest.mark.parametrize("raw", [-3.0, 4.0])
def test_ends_of_the_range_are_inside(raw: float):
    """`valid` includes its ends."""
    assert age_of(raw).qualifier is None


@pytest.mark.parametrize("raw", [nan, inf, -inf])
def test_output_that_is_no_number_has_failed(raw: float):
    """One image without a number makes the whole finding a failure: the others may be wrong as well."""
    assert age_of(1.0, raw).qualifier is Qualifier.FAILURE
    assert sex_of(1.0, raw).qualifier is Qualifier.FAILURE


@pytest.mark.parametrize(("logit", "choice", "percent"), [(2.0, "M", 88.08), (-2.0, "F", 88.08), (0.0, "M", 50.0)])
def test_binary_names_the_more_probable_class(logit: float, choice: str, percent: float):
    """The value of a classification is the probability of its choice in percent."""
    finding = sex_of(logit)

    assert (finding.choice, finding.value, finding.unit) == (choice, percent, "%")


def test_binary_averages_probabilities_not_logits():
    """One very sure image does not outvote the others beyond its probability."""
    finding = sex_of(50.0, -1.0, -1.0)

    assert finding.choice == "M"
    assert finding.value == pytest.approx(100 * (1 + 2 * 0.26894) / 3, abs=0.01)


@pytest.mark.parametrize("logit", [-1e6, 1e6])
def test_extreme_logits_do_not_overflow(logit: float):
    """Even absurd logits are probabilities."""
    assert sex_of(logit).value == 100.0


def test_nothing_to_combine_is_a_bug():
    """Without a gradable image there is nothing to average: the caller must say why instead."""
    with pytest.raises(ValueError, match="use not_made"):
        to_findings(MANIFEST, [])


BOTH = MANIFEST.model_copy(update={"output": (AGE.model_copy(update={"uncertainty_both": 3.5}), SEX)})


def of_both(right: list[float], left: list[float], manifest: Manifest = BOTH) -> tuple[Finding, ...]:
    """Return age and sex of a person from the raw outputs of the images of either eye, the same for both outputs."""
    eyes = [
        [(f"1.{eye}.{k}", {"age": raw, "sex": raw}) for k, raw in enumerate(raws)]
        for eye, raws in enumerate((right, left))
    ]
    return of_both_eyes(manifest, *eyes)


def test_either_eye_counts_as_one_half():
    """Three images of one eye and one of the other: the mean of the eyes, not of the images, and its interval."""
    age, _ = of_both([0.0, 0.3, 0.6], [1.3])

    assert (age.value, age.uncertainty) == (58.0, 3.5)
    assert age.sources == ("1.0.0", "1.0.1", "1.0.2", "1.1.0")


def test_probabilities_of_both_eyes_are_averaged_eye_by_eye():
    """A sure left eye photographed once weighs as much as an unsure right one photographed twice."""
    _, sex = of_both([0.0, 0.0], [50.0])

    assert (sex.choice, sex.value) == ("M", 75.0)


def test_without_an_interval_for_both_eyes_that_of_one_stands():
    """It is wider, so nothing is promised that was not measured."""
    assert of_both([0.0], [0.0], MANIFEST)[0].uncertainty == 5.0


def test_one_eye_that_is_no_number_fails_the_person():
    """The average of a value and of none is none."""
    assert of_both([1.0], [nan])[0].qualifier is Qualifier.FAILURE


@pytest.mark.parametrize(("right", "left"), [([], [1.0]), ([1.0], [])])
def test_both_eyes_need_both_eyes(right: list[float], left: list[float]):
    """With one eye only, the findings are of one eye: the caller must say so."""
    with pytest.raises(ValueError, match="no images"):
        of_both(right, left)


@pytest.mark.parametrize("qualifier", list(Qualifier))
def test_every_output_is_there_when_nothing_was_made(qualifier: Qualifier):
    """What was not estimated is said output by output, with the images that it would have come from."""
    findings = not_made(MANIFEST, qualifier, ["1.2.3"])

    assert [finding.name for finding in findings] == ["age", "sex"]
    assert {(finding.qualifier, finding.value, finding.sources) for finding in findings} == {
        (qualifier, None, ("1.2.3",))
    }
