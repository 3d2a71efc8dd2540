"""The gate's rule: what becomes of a network's numbers, whatever the network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from oculard_models.contract import EstimateFailed, ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.manifest import BundleRefused, Limits, Manifest
from oculard_models.quality import REASONS, SHIPPED_GATE, Gate, Grade, grade
from oculard_models.registry import BUNDLES, read_bundle

EYE = paint(sample_people(1, seed=4)[0], "L", 1, 256)
FINE = {
    "fundus": 6.0, "dark": 0.1, "bright": 0.0, "blur": 0.2, "cut": 0.0, "haze": 1.5,
    "disc": 5.0, "eye": 4.0, "centred": -4.0,
}  # fmt: skip


class FakeEstimator:
    """Gives the numbers that a test wants."""

    def __init__(self, raw: Mapping[str, float]) -> None:
        self.raw = raw

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """The eye is never told to a gate."""
        return np.zeros((3, 16, 16), np.float32)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[Mapping[str, float]]:
        """The same for every image."""
        return [self.raw] * len(batch)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """The shipped gate's rule."""
    return read_bundle(BUNDLES / SHIPPED_GATE).manifest


def gate(manifest: Manifest, **raw: float) -> Gate:
    """A gate whose network gives fine numbers but for some."""
    return Gate(FakeEstimator(FINE | raw), manifest)


def test_reasons_are_a_fixed_list():
    """The slugs appear in reports and metrics, and do not change."""
    assert REASONS == (
        "no-field", "not-fundus", "too-dark", "too-bright", "blurred", "hazy", "no-disc", "field-cut",
    )  # fmt: skip


def test_every_reason_of_the_shipped_gate_is_in_the_list(manifest: Manifest):
    """What can be reported is documented; no-field is the code's own."""
    assert {output.limits.reason for output in manifest.output if output.limits} | {"no-field"} == set(REASONS)


def test_fine_numbers_are_good_with_an_eye_and_a_centre(manifest: Manifest):
    """Nothing against it: good, and what it shows is suggested with its probability."""
    found = gate(manifest).assess(EYE)

    assert (found.grade, found.reasons) == (Grade.GOOD, ())
    assert (found.suggested_eye, found.suggested_eye_probability, found.centred) == ("R", 0.982, "macula")
    assert found.measures["eye"] == 98.2
    assert found.measures["haze"] == 1.5


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"dark": 3.0}, "too-dark"),
        ({"bright": 3.0}, "too-bright"),
        ({"blur": 3.0}, "blurred"),
        ({"haze": 9.5}, "hazy"),
        ({"cut": 3.0}, "field-cut"),
        ({"disc": -9.0}, "no-disc"),
        ({"fundus": -6.0}, "not-fundus"),
    ],
)
def test_each_output_alone_makes_ungradable_with_its_reason(manifest: Manifest, raw: dict[str, float], reason: str):
    """One thing too bad is enough, and nothing is suggested of such a photograph."""
    found = gate(manifest, **raw).assess(EYE)

    assert (found.grade, found.reasons) == (Grade.UNGRADABLE, (reason,))
    assert (found.suggested_eye, found.suggested_eye_probability, found.centred) == (None, None, None)


def test_limited_names_every_reason(manifest: Manifest):
    """Two things that are not so bad are both said, and the photograph is used."""
    found = gate(manifest, blur=1.5, haze=6.0).assess(EYE)

    assert (found.grade, found.reasons) == (Grade.LIMITED, ("blurred", "hazy"))
    assert found.suggested_eye == "R"


def test_what_is_no_fundus_has_no_other_reason(manifest: Manifest):
    """How sharp a page of text is means nothing."""
    assert gate(manifest, fundus=-6.0, blur=3.0, dark=3.0).assess(EYE).reasons == ("not-fundus",)


def test_picture_without_a_field_never_passes(manifest: Manifest):
    """Whatever the network says: nothing can be cropped to a circle that is not there."""
    found = gate(manifest).assess(np.full((300, 400, 3), 120, np.uint8))

    assert (found.grade, found.reasons) == (Grade.UNGRADABLE, ("no-field",))


@pytest.mark.parametrize(
    ("raw", "eye"), [({"eye": -4.0}, "L"), ({"eye": 1.0}, None), ({"centred": 4.0}, None), ({"disc": -1.0}, None)]
)
def test_eye_is_suggested_only_when_it_is_sure(manifest: Manifest, raw: dict[str, float], eye: str | None):
    """Not when it is a toss-up, aimed at the disc, or no disc is seen."""
    assert gate(manifest, **raw).assess(EYE).suggested_eye == eye


def test_number_that_is_none_is_a_failure_and_no_grade(manifest: Manifest):
    """A broken network must not pass as a good photograph."""
    with pytest.raises(EstimateFailed, match="`haze` is not finite"):
        gate(manifest, haze=float("nan")).assess(EYE)


@pytest.mark.parametrize(
    ("limits", "values"),
    [
        (Limits(reason="hazy", limited=4.0, ungradable=8.0), (4.0, 8.0, 8.1)),
        (Limits(reason="no-disc", limited=50.0, ungradable=1.0), (50.0, 1.0, 0.9)),
    ],
)
def test_limits_read_in_the_order_they_are_written(limits: Limits, values: tuple[float, float, float]):
    """A value at a limit is still on its better side, upwards and downwards."""
    assert [grade(value, limits) for value in values] == [Grade.GOOD, Grade.LIMITED, Grade.UNGRADABLE]


def test_bundle_that_is_no_gate_is_refused(manifest: Manifest):
    """Each with what is wrong."""
    demo = read_bundle(BUNDLES / "systemic-demo").manifest
    mirrors = manifest.model_copy(update={"input": manifest.input.model_copy(update={"mirror_left": True})})
    unlimited = manifest.model_copy(update={"output": manifest.output[-2:]})
    other_eyes = tuple(o.model_copy(update={"choices": ("R", "L")}) if o.name == "eye" else o for o in manifest.output)
    swapped = manifest.model_copy(update={"output": other_eyes})
    for wrong, words in (
        (demo, "family `systemic`"),
        (mirrors, "before anyone knows which"),
        (unlimited, "no output with `limits`"),
        (swapped, r"a gate's are \('L', 'R'\)"),
    ):
        with pytest.raises(BundleRefused, match=words):
            Gate(FakeEstimator(FINE), wrong)
