"""A second opinion on the optic disc: it is said where it contradicts the gate, and turns nothing away."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.discs import DiscFinder
from oculard_models.manifest import BundleRefused, InputSpec, Manifest, Mask, Structure
from oculard_models.preprocess import Pixels, prepare
from oculard_models.quality import (
    DISC_FOUND,
    DISC_NOT_FOUND,
    NO_DISC,
    SHIPPED_GATE,
    Gate,
    Grade,
    Quality,
    with_second_opinion,
)
from oculard_models.registry import BUNDLES, read_bundle

EYE = paint(sample_people(1, seed=4)[0], "L", 1, 256)
FINE = {
    "fundus": 6.0, "dark": 0.1, "bright": 0.0, "blur": 0.2, "cut": 0.0, "haze": 1.5,
    "disc": 5.0, "eye": 4.0, "centred": -4.0,
}  # fmt: skip
GATE = read_bundle(BUNDLES / SHIPPED_GATE).manifest
MASK = Mask(structure=Structure.OPTIC_DISC, tensor="mask")
SEEN = InputSpec(kind="fundus", tensor="image", size_px=(64, 64), mirror_left=False)
OUTLINES = GATE.model_copy(update={"name": "discs", "mask": MASK, "input": SEEN})


class FakeEstimator:
    """A gate's network that gives the numbers a test wants."""

    def __init__(self, **raw: float) -> None:
        self.raw = FINE | raw

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Nothing of it matters."""
        return np.zeros((3, 16, 16), np.float32)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        """The same for every image."""
        return [self.raw] * len(batch)


class FakeSegmenter:
    """Outlines whatever is brighter than a share of the brightest."""

    def __init__(self, share: float) -> None:
        self.share, self.asked = share, 0

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """As every bundle does."""
        return prepare(image, SEEN)

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of 0 and 1."""
        self.asked += 1
        return (batch[:, 1] > self.share * batch[:, 1].max()).astype(np.float32)


def assessed(share: float, manifest: Manifest = GATE, **raw: float) -> Quality:
    """What a gate says of a painted eye whose disc a second network finds where `share` is below 1."""
    gate = Gate(FakeEstimator(**raw), manifest, DiscFinder(FakeSegmenter(share), OUTLINES))
    return gate.assess(EYE)


def test_the_brightest_spot_of_a_painted_eye_is_found():
    """A fake network on a painted eye: there is a disc; nothing above everything: there is none."""
    assert DiscFinder(FakeSegmenter(0.6), OUTLINES).finds(EYE)
    assert not DiscFinder(FakeSegmenter(2.0), OUTLINES).finds(EYE)


@pytest.mark.parametrize(
    ("share", "disc", "grade", "reasons"),
    [
        (0.6, 5.0, Grade.GOOD, ()),
        (2.0, 5.0, Grade.LIMITED, (DISC_NOT_FOUND,)),
        (2.0, -2.0, Grade.LIMITED, (NO_DISC,)),
        (0.6, -2.0, Grade.LIMITED, (NO_DISC, DISC_FOUND)),
        (0.6, -9.0, Grade.UNGRADABLE, (NO_DISC,)),
    ],
)
def test_a_contradiction_is_said_and_turns_nothing_away(
    share: float, disc: float, grade: Grade, reasons: tuple[str, ...]
):
    """Agreement changes nothing; a contradiction is a reason, at worst limited; what the gate turns away stays so."""
    found = assessed(share, disc=disc)
    assert (found.grade, found.reasons) == (grade, reasons)


def test_other_reasons_stay():
    """A hazy photograph in which no disc is found is both."""
    found = assessed(2.0, haze=6.0)
    assert (found.grade, found.reasons) == (Grade.LIMITED, ("hazy", DISC_NOT_FOUND))


def test_what_is_turned_away_is_not_looked_at_again():
    """No second opinion makes it usable."""
    segmenter = FakeSegmenter(0.6)
    Gate(FakeEstimator(dark=3.0), GATE, DiscFinder(segmenter, OUTLINES)).assess(EYE)
    assert segmenter.asked == 0
    with pytest.raises(AssertionError):
        with_second_opinion(Quality(grade=Grade.UNGRADABLE, reasons=(NO_DISC,)), finds_disc=True)


def test_a_gate_that_looks_for_no_disc_cannot_be_contradicted():
    """Somebody's own gate may have no such output."""
    outputs = tuple(output for output in GATE.output if output.name != "disc")
    assert assessed(2.0, GATE.model_copy(update={"output": outputs})).grade is Grade.GOOD


def test_another_bundle_is_refused():
    """An estimator of values outlines nothing, nor does one of another structure."""
    zone = OUTLINES.model_copy(update={"mask": MASK.model_copy(update={"structure": Structure.FAZ})})
    for manifest in (GATE, zone):
        with pytest.raises(BundleRefused, match="outlines no optic discs"):
            DiscFinder(FakeSegmenter(0.5), manifest)


def test_the_shipped_demonstration_finds_discs_of_painted_eyes():
    """And none in a picture that is nearly black, or has no retina in it."""
    from oculard_models.discs import load_disc_finder
    from oculard_models.runners.onnx import choose_providers

    finder = load_disc_finder(
        read_bundle(BUNDLES / "disc-demo"), choose_providers(["cpu"], ["CPUExecutionProvider"]), 1
    )
    dark: Pixels = (EYE * 0.02).astype(np.uint8)
    assert finder.finds(EYE)
    assert not finder.finds(dark)
