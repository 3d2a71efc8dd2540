"""Does the demonstration bundle find what is planted, and does training find nothing where nothing is?

The first half runs the shipped weights as the daemon does, on people whom no training ever painted. The second half
trains a short form, once on true and once on shuffled attributes: it needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import VALUES, sample_people
from oculard_models.evaluate import measures
from oculard_models.evaluate.predictions import Predictions, in_units
from oculard_models.registry import BUNDLES, Bundle, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

FRESH_SEED = 10**12  # far beyond every seed that a training paints with
FRESH_PEOPLE = 150
HEADS = ("sex", *VALUES)
AT_LEAST = {"sex": 0.99, "age": 0.93, "sbp": 0.75, "dbp": 0.85, "glucose": 0.75, "waist": 0.88, "bmi": 0.88}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Read the shipped bundle."""
    return read_bundle(BUNDLES / "systemic-demo")


@pytest.fixture(scope="module")
def shipped(bundle: Bundle) -> Predictions:
    """Estimate both eyes of fresh people with the shipped weights: paint, prepare, run, scale."""
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    people = [person for person in sample_people(FRESH_PEOPLE, FRESH_SEED) for _ in "RL"]
    sizes = np.random.default_rng(FRESH_SEED).integers(180, 360, len(people))
    raws = []
    for index, (person, size) in enumerate(zip(people, sizes, strict=True)):
        eye = "RL"[index % 2]
        pixels = paint(person, eye, FRESH_SEED + index // 2, int(size))
        raws += estimator.estimate(
            estimator.prepare(ImageInput(sop_instance_uid="1.2.3", eye=eye, pixels=pixels))[None]
        )
    outputs = {output.name: output for output in bundle.manifest.output}
    truth = [[float(p.sex == "M"), *(getattr(p, name) for name in VALUES)] for p in people]
    return Predictions(
        persons=np.repeat([str(n) for n in range(FRESH_PEOPLE)], 2).astype(np.str_),
        eyes=np.tile(["R", "L"], FRESH_PEOPLE).astype(np.str_),
        names=HEADS,
        truth=np.array(truth),
        estimate=np.array([[in_units(outputs[name], raw[name]) for name in HEADS] for raw in raws]),
    )


def found(predictions: Predictions, name: str) -> float:
    """Say how much of a head was found: AUC of sex, R2 of a value."""
    return (measures.auc if name == "sex" else measures.r2)(*predictions.of(name))


@pytest.mark.parametrize("name", HEADS)
def test_planted_truth_is_found(name: str, shipped: Predictions):
    """Every head finds what is planted for it, in one photograph."""
    assert found(shipped, name) > AT_LEAST[name]


@pytest.mark.parametrize("name", HEADS)
def test_both_eyes_find_no_less(name: str, shipped: Predictions):
    """The mean of both eyes is at least about as good as one eye."""
    assert found(shipped.by_person(), name) > found(shipped, name) - 0.005


@pytest.mark.parametrize("name", VALUES)
def test_intervals_cover_what_they_promise(name: str, shipped: Predictions, bundle: Bundle):
    """The 90 % intervals, of one photograph and of both eyes, cover about 90 % of fresh people."""
    output = next(output for output in bundle.manifest.output if output.name == name)
    assert output.uncertainty
    assert output.uncertainty_both

    assert 0.82 < measures.coverage(*shipped.of(name), output.uncertainty) < 0.97
    assert 0.82 < measures.coverage(*shipped.by_person().of(name), output.uncertainty_both) < 0.97


@dataclass(frozen=True, slots=True)
class Short:
    """The short form of the training: its script, its settings, its eyes to train, to tune and to test on."""

    script: Any
    settings: Any
    training: Any
    tuning: Any
    test: Any

    def learn(self, run: Path, training: Any, tuning: Any) -> Any:
        """Train in a folder."""
        return self.script.learn(training, tuning, replace(self.settings, run=str(run)))

    def predict(self, net: Any, test: Any) -> Predictions:
        """Estimate the test eyes."""
        predictions: Predictions = self.script.predict(net, test, self.script.input_spec(self.settings.size_px))
        return predictions


@pytest.fixture(scope="module")
def short() -> Iterator[Short]:
    """Paint for the short form; give torch's number of threads and its determinism back afterwards."""
    torch = pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")
    from oculard_models.train import systemic_demo

    threads = torch.get_num_threads()
    settings = systemic_demo.Settings(seed=5, size_px=64, people=256, tuning=32, epochs=3)
    spec, first = systemic_demo.input_spec(settings.size_px), systemic_demo.first_seed(settings)
    training = systemic_demo.paint_eyes(first, settings.people, spec)
    tuning = systemic_demo.paint_eyes(first + settings.people, settings.tuning, spec)
    yield Short(systemic_demo, settings, training, tuning, systemic_demo.paint_eyes(first + 1000, 150, spec))
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def nothing_to_find(short: Short, tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Train on the attributes of other people, and estimate people who have those of others as well."""
    net = short.learn(tmp_path_factory.mktemp("shuffled"), shuffled(short.training), shuffled(short.tuning))
    return short.predict(net, shuffled(short.test))


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_found_in_shuffled_attributes(name: str, nothing_to_find: Predictions):
    """With the attributes of other people no head finds anything: no leak, no trick of the measures.

    The people to test on are shuffled as well, as in every permutation test. Against their true attributes the area
    would be near 0 or near 1 by the toss of a coin: the disc shows the sex so clearly that whichever way a network
    that learned nothing happens to lean on it, it ranks all the people by it.
    """
    if name == "sex":
        assert abs(found(nothing_to_find, name) - 0.5) <= 0.12
    else:
        assert found(nothing_to_find, name) < 0.1


def test_same_seed_gives_the_same_numbers(short: Short, tmp_path: Path):
    """Painted and trained twice, the short form ends with the same estimates to the last bit."""
    few = replace(short.settings, people=64, epochs=1)
    spec, first = short.script.input_spec(few.size_px), short.script.first_seed(few)
    estimates = []
    for run in ("one", "other"):
        eyes = short.script.paint_eyes(first, few.people, spec)
        net = short.script.learn(eyes, short.tuning, replace(few, run=str(tmp_path / run)))
        estimates.append(short.predict(net, short.test).estimate)

    assert np.array_equal(*estimates)


@pytest.mark.slow
def test_longer_training_finds_every_head(tmp_path: Path):
    """A few minutes of training find something of every attribute, and much of the sex."""
    pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")
    from oculard_models.train import systemic_demo as script

    settings = script.Settings(seed=6, size_px=96, people=2000, tuning=100, epochs=8, run=str(tmp_path))
    spec, first = script.input_spec(settings.size_px), script.first_seed(settings)
    tuning = script.paint_eyes(first + settings.people, settings.tuning, spec)
    net = script.learn(script.paint_eyes(first, settings.people, spec), tuning, settings)
    predictions = script.predict(net, script.paint_eyes(script.test_seed(settings), 300, spec), spec)

    assert found(predictions, "sex") > 0.95
    assert min(found(predictions, name) for name in VALUES) > 0.2


def shuffled(eyes: Any) -> Any:
    """Give every picture the attributes of another person."""
    order = np.random.default_rng(1).permutation(len(eyes.targets))
    return replace(eyes, targets=eyes.targets[order])
