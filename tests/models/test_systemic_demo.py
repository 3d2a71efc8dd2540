"""Does the demonstration bundle find what is planted, and does training find nothing where nothing is?

The first half runs the shipped weights as the daemon does, on people whom no training ever painted. The second half
trains a short form, once on true and once on shuffled attributes: it needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import VALUES, Person, sample_people
from oculard_models.evaluate import measures
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

FRESH_SEED = 10**12  # far beyond every seed that a training paints with
FRESH_PEOPLE = 400


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was estimated for fresh people, in the units of the report."""

    people: list[Person]
    raw: dict[str, npt.NDArray[np.float64]]
    half_width: dict[str, float]

    def truth(self, name: str) -> npt.NDArray[np.float64]:
        """Return what was planted."""
        return np.array([getattr(person, name) for person in self.people])


@pytest.fixture(scope="module")
def shipped() -> Outcome:
    """Estimate fresh people with the shipped weights: paint, prepare, run, scale; one eye each, in turn."""
    bundle = read_bundle(BUNDLES / "systemic-demo")
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    people = sample_people(FRESH_PEOPLE, FRESH_SEED)
    sizes = np.random.default_rng(FRESH_SEED).integers(180, 500, FRESH_PEOPLE)
    results = []
    for index, (person, size) in enumerate(zip(people, sizes, strict=True)):
        eye = "RL"[index % 2]
        pixels = paint(person, eye, FRESH_SEED + index, int(size))
        batch = estimator.prepare(ImageInput(sop_instance_uid="1.2.3", eye=eye, pixels=pixels))[None]
        results += estimator.estimate(batch)
    raw = {
        output.name: np.array([result[output.name] for result in results]) * output.scale + output.offset
        for output in bundle.manifest.output
    }
    widths = {output.name: output.uncertainty or 0.0 for output in bundle.manifest.output}
    return Outcome(people, raw, widths)


def test_sex_is_found(shipped: Outcome):
    """The area under the curve is above 0.95."""
    male = np.array([float(person.sex == "M") for person in shipped.people])

    assert measures.auc(male, shipped.raw["sex"]) > 0.95


@pytest.mark.parametrize("name", VALUES)
def test_value_is_found(name: str, shipped: Outcome):
    """More than half of the variance of every value is explained."""
    assert measures.r2(shipped.truth(name), shipped.raw[name]) > 0.5


@pytest.mark.parametrize("name", VALUES)
def test_interval_covers_what_it_promises(name: str, shipped: Outcome):
    """The 90 % interval covers about 90 % of fresh people."""
    covered = measures.coverage(shipped.truth(name), shipped.raw[name], shipped.half_width[name])

    assert 0.82 < covered < 0.97


@dataclass(frozen=True, slots=True)
class Short:
    """The short form of the training: its script, its eyes to train on, its eyes to test on."""

    script: Any
    settings: Any
    training: Any
    test: Any

    def measured(self, training: Any, test: Any) -> tuple[float, dict[str, float]]:
        """Train and return the AUC of sex and the R2 of every value on the test eyes."""
        net = self.script.learn(training, self.settings)
        raw = self.script.predict(net, test, self.script.input_spec(self.settings.size_px))
        truth = test.targets.double().numpy()
        explained = {name: measures.r2(truth[:, k], raw[:, k]) for k, name in enumerate(VALUES, start=1)}
        return measures.auc(truth[:, 0], raw[:, 0]), explained


@pytest.fixture(scope="module")
def short() -> Iterator[Short]:
    """Paint for the short form; give torch's number of threads back afterwards."""
    torch = pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")
    from oculard_models.train import systemic_demo

    threads = torch.get_num_threads()
    settings = systemic_demo.Settings(seed=5, size_px=96, people=1000, epochs=5)
    spec, first = systemic_demo.input_spec(settings.size_px), systemic_demo.first_seed(settings)
    training = systemic_demo.paint_eyes(first, settings.people, spec)
    yield Short(systemic_demo, settings, training, systemic_demo.paint_eyes(first + settings.people, 400, spec))
    torch.set_num_threads(threads)


def test_short_training_finds_what_is_there(short: Short):
    """Even a minute of training tells the sexes apart."""
    auc, _ = short.measured(short.training, short.test)

    assert auc > 0.7


def test_short_training_finds_nothing_in_shuffled_attributes(short: Short):
    """With the attributes of other people nothing can be found, and nothing is: no leak, no trick of the measures.

    The people to test on are shuffled as well, as in every permutation test. Against their true attributes the area
    would be near 0 or near 1 by the toss of a coin: the disc shows the sex so clearly that whichever way a network
    that learned nothing happens to lean on it, it ranks all the people by it.
    """
    auc, explained = short.measured(shuffled(short.script, short.training), shuffled(short.script, short.test))

    assert abs(auc - 0.5) <= 0.1
    assert max(explained.values()) < 0.1


def shuffled(script: Any, eyes: Any) -> Any:
    """Give every picture the attributes of another person."""
    order = np.random.default_rng(1).permutation(len(eyes.targets))
    return script.Eyes(eyes.pictures, eyes.targets[order])
