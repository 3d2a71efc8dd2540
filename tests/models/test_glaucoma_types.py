"""Does the study of disc types keep persons apart, stack what it should, and end in bundles that serve?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

import torch
from sklearn.ensemble import RandomForestClassifier

from oculard_models.data.disc_eyes import Eyes, EyesWrong, as_strip, read_eyes
from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.oct_views import paint_views
from oculard_models.data.paint_oct import paint_volume
from oculard_models.data.painted_study import Visit, write_study
from oculard_models.data.painted_volume import volume_study
from oculard_models.evaluate.kappa import Trial, accuracy, balanced_accuracy, confusion, difference, figures, kappa
from oculard_models.lab import app
from oculard_models.nets.forest import Forest
from oculard_models.nets.sixteen import NetWrong
from oculard_models.nets.stacked import Machines, Stacked
from oculard_models.nets.vgg import VGGS, begin_with, build_vgg
from oculard_models.registry import read_bundle
from oculard_models.runners.golden import golden_input
from oculard_models.runners.onnx import OnnxEstimator, choose_providers
from oculard_models.runners.torch_runner import TorchEstimator
from oculard_models.train.glaucoma_cell import TAUGHT, Cell, Plan, features_of, read_told, work
from oculard_models.train.glaucoma_fit import Course, learn, told
from oculard_models.train.glaucoma_parts import folds_of, fraction_of, must_have_all, parts_of
from oculard_models.train.glaucoma_stack import fit_stack, platt
from oculard_models.train.glaucoma_words import verdicts
from oculard_models.train.settings import TrainingWrong
from oculard_models.volumes.types import DISC_TYPES, short_names
from oculard_models.volumes.volume import Scan

VIEWS = ("rnfl-thickness", "bscan-disc")
SHORT = [
    *("--count", "90", "--test", "20", "--size-px", "32", "--epochs", "1", "--folds", "2", "--views", ",".join(VIEWS)),
    *("--splits", "1", "--shares", "1,0.6", "--workers", "1"),
]


def lab(*arguments: object) -> tuple[int, str]:
    """Run `oculard-lab`; return its exit status and all that it said."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def people(eyes: int = 300, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Invent persons of one or two eyes, and labels."""
    rng = np.random.default_rng(seed)
    persons = np.asarray([f"p{number // 2 if number < eyes // 2 else number}" for number in range(eyes)])
    return persons, rng.integers(0, 5, eyes)


def lit(eyes: int, seed: int = 1, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Views whose class is where the light is; and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(eyes) % 5
    views = rng.integers(0, 60, (eyes, 1, side, side), dtype=np.uint8)
    for view, label in zip(views, labels, strict=True):
        view[0, 6 * label : 6 * label + 6, 8:24] += 150
    return views, labels.astype(np.int64)


# --- agreement ------------------------------------------------------------------------------------------------------


def test_agreement_is_what_the_textbook_says():
    """Kappa and both accuracies of a known table."""
    table = np.array([[20.0, 5.0], [10.0, 15.0]])

    assert kappa(table) == pytest.approx(0.4)
    assert accuracy(table) == pytest.approx(0.7)
    assert balanced_accuracy(np.array([[90.0, 0.0], [10.0, 0.0]])) == pytest.approx(0.5)
    assert np.isnan(kappa(np.array([[9.0, 0.0], [0.0, 0.0]])))


def test_intervals_are_by_person():
    """Eyes that come twice from one person do not make an interval narrower."""
    truth, said = np.arange(100) % 2, (np.arange(100) % 2) ^ (np.arange(100) % 7 == 0)
    alone = np.asarray([f"p{number}" for number in range(100)])
    twice = Trial(rows=np.arange(200), truth=np.tile(truth, 2), said=np.tile(said, 2))
    once = figures([Trial(rows=np.arange(100), truth=truth, said=said)], alone, 2, seed=1)["kappa"]
    doubled = figures([twice], np.tile(alone, 2), 2, seed=1)["kappa"]

    assert doubled.value == once.value
    assert doubled.high - doubled.low == pytest.approx(once.high - once.low, abs=0.02)


def test_a_difference_is_paired():
    """An arm has no difference to itself, and other eyes cannot be compared."""
    persons, truth = people()
    one = Trial(rows=np.arange(300), truth=truth, said=(truth + (np.arange(300) % 3 == 0)) % 5)
    same = difference([one], [one], persons, 5, seed=1)

    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="the same eyes"):
        difference([one], [Trial(rows=np.arange(1, 301), truth=truth, said=truth)], persons, 5, seed=1)


# --- who trains and who tests ---------------------------------------------------------------------------------------


def test_nobody_trains_and_tests():
    """Parts, shares and folds divide persons; smaller shares lie in larger ones; the number of eyes is as asked."""
    persons, labels = people()
    for split in range(3):
        parts = parts_of(persons, 71, seed=1, split=split)
        half, quarter = (fraction_of(parts.training, persons, share, seed=1, split=split) for share in (0.5, 0.25))
        assert len(parts.test) == 71
        assert len(parts.training) == 229
        assert not set(persons[parts.training]) & set(persons[parts.test])
        assert set(quarter) <= set(half) <= set(parts.training)
        assert len(half) in (114, 115)
        folds = folds_of(half, persons, labels, 3, seed=1)
        assert sorted(np.concatenate(folds).tolist()) == half.tolist()
        for fold in folds:
            assert not set(persons[fold]) & set(persons[np.setdiff1d(half, fold)])
    assert parts_of(persons, 71, seed=1, split=0).test.tolist() != parts_of(persons, 71, seed=1, split=1).test.tolist()


def test_folds_have_their_share_of_every_class():
    """With 60 persons of each class, each of three folds has about 20 of each."""
    labels = np.repeat(np.arange(5), 60)
    folds = folds_of(np.arange(300), np.asarray([f"p{k}" for k in range(300)]), labels, 3, seed=1)

    assert all(np.bincount(labels[fold], minlength=5).tolist() == [20] * 5 for fold in folds)
    with pytest.raises(TrainingWrong, match="lack 1 of 5"):
        must_have_all(labels, [np.flatnonzero(labels < 4)], 5)


# --- networks -------------------------------------------------------------------------------------------------------


def test_full_networks_take_torchvisions_weights(tmp_path: Path):
    """The thirteen convolutions are numbered and shaped as torchvision's; another file is refused."""
    vgg = pytest.importorskip("torchvision.models.vgg", reason="torchvision belongs to the extra `lab`")
    for name, normalised in (("vgg16", False), ("vgg16-bn", True)):
        theirs = vgg.make_layers(vgg.cfgs["D"], batch_norm=normalised).state_dict()
        net = build_vgg(name, 2)
        assert {key: value.shape for key, value in net.features.state_dict().items()} == {
            key: value.shape for key, value in theirs.items()
        }
    torch.save({f"features.{key}": value for key, value in theirs.items()}, tmp_path / "bn.pt")
    begun = build_vgg("vgg16-bn", 2, initial=tmp_path / "bn.pt")
    assert torch.equal(begun.features.state_dict()["0.weight"], theirs["0.weight"])
    views, labels = lit(5)
    course = Course(net="vgg16-bn", epochs=1, seed=1, batch=5, initial=tmp_path / "bn.pt")
    learnt = learn(course, views[:, 0], labels, 5).features.state_dict()
    assert torch.equal(learnt["17.weight"], theirs["17.weight"]), "ImageNet's first three blocks stay"
    assert not torch.equal(learnt["24.weight"], theirs["24.weight"])
    with pytest.raises(NetWrong, match="does not fit `vgg16-eighth`"):
        build_vgg("vgg16-eighth", 2, initial=tmp_path / "bn.pt")


def test_all_arms_start_alike():
    """Networks of one seed differ in their heads alone; Model 4 takes over all of Model 2 but its head."""
    nets = []
    for classes in (5, 2, 4):
        torch.manual_seed(7)
        nets.append(build_vgg("vgg16-eighth", classes))
    flat, glaucoma, types = (net.state_dict() for net in nets)
    shared = [key for key in flat if not key.startswith("head.")]
    assert all(torch.equal(flat[key], glaucoma[key]) and torch.equal(flat[key], types[key]) for key in shared)
    torch.manual_seed(8)
    taught = build_vgg("vgg16-eighth", 4)
    own_head = taught.head.weight.clone()
    begin_with(taught, nets[1])
    assert all(torch.equal(taught.state_dict()[key], glaucoma[key]) for key in shared)
    assert torch.equal(taught.head.weight, own_head)


@pytest.mark.parametrize("name", ["vgg16-quarter", "vgg16-eighth"])
def test_activation_maps_are_exact(name: str):
    """The mean of a class's map is its logit, but for what all classes share."""
    net = build_vgg(name, 4).eval()
    views = torch.rand(3, 1, 48, 48)
    with torch.inference_mode():
        maps = net.maps(views)
        evidence = net.evidence(maps).mean((2, 3))
        logits = net(views) - net.head.bias
        assert torch.allclose(net(views), net.told(maps), atol=1e-5)
    assert torch.allclose(evidence, logits - logits.mean(1, keepdim=True), atol=1e-4)
    assert maps.shape == (3, 256, 6, 6)


def test_a_network_learns_what_is_there_and_the_same_seed_gives_the_same():
    """Light in one of five places is found; a taught network begins where its teacher ended."""
    views, labels = lit(150)
    course = Course(net="vgg16-eighth", epochs=6, seed=1)
    net = learn(course, views[:100, 0], labels[:100], 5)
    again = learn(course, views[:100, 0], labels[:100], 5)
    said = told(net, views[100:, 0])

    assert kappa(confusion(labels[100:], said.argmax(1), 5)) > 0.7
    assert np.array_equal(said, told(again, views[100:, 0]))
    resting = replace(course, epochs=1, rate_taught=1e-12)
    taught = learn(resting, views[:100, 0], (labels[:100] > 2).astype(np.int64), 2, net)
    assert torch.allclose(taught.features[0].weight, net.features[0].weight, atol=1e-6)
    assert np.float32(1e-39) * np.float32(0.5) > 0.0, "a training leaves the process's arithmetic as it was"


# --- stacking -------------------------------------------------------------------------------------------------------


def stacked_problem(rows: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that tell five classes apart, but not wholly."""
    rng = np.random.default_rng(5)
    labels = np.arange(rows) % 5
    features = rng.normal(0.0, 0.6, (rows, 10))
    features[np.arange(rows), labels] += 1.5
    return features, labels, np.asarray([f"p{number // 2}" for number in range(rows)])


def test_machines_say_the_same_as_a_network():
    """The stacking gives probabilities that sum to 1 and agree with the truth; its network file says the same."""
    features, labels, persons = stacked_problem()
    stack = fit_stack(features[:150], labels[:150], persons[:150], 5, seed=1)
    said = stack.probability(features[150:])

    assert np.allclose(said.sum(1), 1.0)
    assert kappa(confusion(labels[150:], said.argmax(1), 5)) > 0.6
    with torch.inference_mode():
        network = Machines(stack)(torch.from_numpy(features[150:]).float()).numpy()
    assert np.abs(network - said).max() < 1e-4


def test_platt_gives_the_share_where_a_decision_says_nothing():
    """Of a decision without meaning the probability is the share of the class."""
    decision = np.random.default_rng(1).normal(size=2000)
    slope, intercept = platt(decision, np.arange(2000) % 4 == 0)

    assert abs(slope) < 0.1
    assert 1.0 / (1.0 + np.exp(-intercept)) == pytest.approx(0.25, abs=0.02)


def test_a_map_is_empty_where_nothing_speaks_for_the_class():
    """What a view shows against the class that won is no activation; the rest reaches 1."""
    pairs = [(build_vgg("vgg16-eighth", 2).eval(), build_vgg("vgg16-eighth", 4).eval()) for _ in VIEWS]
    with torch.no_grad():
        for net in pairs[1]:
            net.head.weight.zero_()
            net.head.weight[1:] = 1.0  # everything it sees speaks against the first class
        pairs[1][1].head.weight[0] = -1.0

    class Normal(torch.nn.Module):
        def forward(self, features):
            return torch.tensor([[0.9, 0.1, 0.0, 0.0, 0.0]]).expand(len(features), 5)

    with torch.inference_mode():
        probability, by_view, activation = Stacked(pairs, Normal())(torch.rand(3, 2, 32, 32))
    assert probability.argmax(1).tolist() == [0, 0, 0]
    assert torch.allclose(by_view.sum(2), torch.ones(3, 2), atol=1e-5)
    assert activation.shape == (3, 2, 4, 4)
    assert torch.all(activation[:, 1] == 0.0)
    assert set(activation.amax((2, 3)).flatten().tolist()) <= {0.0, 1.0}
    assert activation.min() >= 0.0


def test_a_forest_is_a_network():
    """All trees go down as scikit-learn's do."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(300, 12)).astype(np.float32)
    forest = RandomForestClassifier(20, max_depth=6, random_state=1).fit(
        rows, (rows[:, 3] + rows[:, 5] > 0).astype(int)
    )
    with torch.inference_mode():
        said = Forest(forest)(torch.from_numpy(rows)).numpy()

    assert np.abs(said - forest.predict_proba(rows)).max() < 1e-5


# --- cells and the whole --------------------------------------------------------------------------------------------


def test_held_out_answers_come_from_networks_that_did_not_see_the_person(tmp_path: Path, monkeypatch):
    """Whoever answers for an eye learnt neither from it nor from its fellow eye."""
    views, labels = lit(60)
    persons = np.asarray([f"p{number // 5 * 5 + number % 5 if number < 30 else number - 30}" for number in range(60)])
    eyes = Eyes(names=("one",), views=views, persons=persons, labels=labels, truth=labels)
    seen: list[tuple[set[str], set[str]]] = []
    from oculard_models.train import glaucoma_cell

    def remember(_course, some, _labels, classes, _taught=None):
        net = build_vgg("vgg16-eighth", classes)
        net.saw = {persons[int(np.flatnonzero((views[:, 0] == one).all((1, 2)))[0])] for one in some}
        return net

    def answer(net, some):
        asked = {persons[int(np.flatnonzero((views[:, 0] == one).all((1, 2)))[0])] for one in some}
        seen.append((net.saw, asked))
        return np.full((len(some), net.head.out_features), 1.0 / net.head.out_features)

    monkeypatch.setattr(glaucoma_cell, "learn", remember)
    monkeypatch.setattr(glaucoma_cell, "told", answer)
    plan = Plan(seed=1, test=10, folds=2, course=Course(net="vgg16-eighth", epochs=1, seed=1))
    cell = Cell(split=0, share=1.0, view=0)
    work(eyes, cell, plan, tmp_path)

    assert len(seen) == 4 * 3
    assert not any(saw & asked for saw, asked in seen)
    found = read_told(tmp_path, cell)
    assert features_of("transfer", found.held).shape == (len(found.training), 5)
    assert (found.held[TAUGHT] > 0.0).all(), "normal eyes are answered for as well"


def test_a_study_ends_in_bundles_and_goes_on_where_it_was(tmp_path: Path):
    """Figures for every arm, a page, bundles that pass their self-test on both runners; nothing is done twice."""
    run, out = tmp_path / "run", tmp_path / "bundles"
    asked = ("train", "glaucoma", "--run", run, *SHORT, "--out", out / "glaucoma-demo", "--second", out)
    status, said = lab(*asked)
    assert status == 0, said
    found = json.loads((run / "figures.json").read_text())
    assert set(found["arms"]) == {"flat", "hierarchical", "transfer"}
    assert set(found["arms"]["transfer"]) == {"1", "0.6"}
    assert np.sum(found["arms"]["transfer"]["1"]["confusion"]) == 20
    assert set(found["ablation"]["flat"]) == set(found["probes"]) == set(VIEWS)
    assert str(tmp_path) not in json.dumps(found)
    page = (run / "page.html").read_text()
    assert "The data are painted" in page
    assert "An 2021, hierarchical transfer: 0.809" in page
    for name, classes in (("glaucoma-demo", len(DISC_TYPES)), ("glaucoma-forest", 2)):
        bundle = read_bundle(out / name)
        assert bundle.manifest.demonstration
        assert bundle.manifest.input.views == VIEWS
        assert "The data are painted" in bundle.card
        served = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
        served.self_test()
        other = TorchEstimator(bundle, "cpu", threads=1)
        batch = np.stack([golden_input(bundle, served)] * 2)
        ours, theirs = served.classify(batch), other.classify(batch)
        assert all(one.is_sound and one.probability.shape == (classes,) for one in ours)
        assert np.abs(ours[0].probability - theirs[0].probability).max() < 1e-4
        assert np.abs(ours[0].activation - theirs[0].activation).max() < 1e-3
    assert json.loads((out / "glaucoma-nine" / "numbers.json").read_text())["classes"] == list(DISC_TYPES)
    before = {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    status, said = lab("train", "glaucoma", "--run", run, *SHORT)
    assert status == 0, said
    assert {path: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == before
    assert json.loads((run / "figures.json").read_text()) == found
    status, said = lab("train", "glaucoma", "--run", run, *SHORT, "--rate", "0.01")
    assert status == 2
    assert "another study" in said


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--net", "vgg19", "expected one of vgg16"),
        ("--size-px", "50", "multiple of 16"),
        ("--shares", "1,2", "shares"),
        ("--views", "en-face,en-face", "each once"),
        ("--folds", "1", "at least 2"),
    ],
)
def test_what_is_asked_wrongly_is_said(tmp_path: Path, option: str, value: str, words: str, capfd):
    """Each wrong option leaves with 2 and its name."""
    status, said = lab("train", "glaucoma", "--run", tmp_path / "run", option, value)

    assert status == 2
    assert words in said + capfd.readouterr().err


# --- tables ---------------------------------------------------------------------------------------------------------


def test_eyes_come_from_a_table(tmp_path: Path):
    """Views side by side are read in their order, at the size that is asked for; what is wrong is said by row."""
    views = np.arange(2 * 32 * 32, dtype=np.uint32).astype(np.uint8).reshape(2, 32, 32)
    Image.fromarray(as_strip(views)).save(tmp_path / "a.png")
    head = "image,person,label\n"
    (tmp_path / "eyes.csv").write_text(head + "a.png,p1,myopic\n")
    eyes = read_eyes(tmp_path / "eyes.csv", VIEWS, 32)
    assert np.array_equal(eyes.views[0], views)
    assert eyes.labels.tolist() == [DISC_TYPES.index("myopic")]
    assert read_eyes(tmp_path / "eyes.csv", VIEWS, 16).views.shape == (1, 2, 16, 16)
    for row, words in (
        ("a.png,p1,round\n", "row 1: `round` is no type"),
        ("a.png,,myopic\n", "row 1: no person"),
        ("b.png,p1,myopic\n", "row 1: b.png cannot be read"),
    ):
        (tmp_path / "eyes.csv").write_text(head + row)
        with pytest.raises(EyesWrong, match=words):
            read_eyes(tmp_path / "eyes.csv", VIEWS, 32)
    (tmp_path / "eyes.csv").write_text("image,person,label,disc_type\na.png,p1,myopic,normal\n")
    assert read_eyes(tmp_path / "eyes.csv", VIEWS, 32).truth.tolist() == [0]
    with pytest.raises(EyesWrong, match="not 3 grey squares"):
        read_eyes(tmp_path / "eyes.csv", (*VIEWS, "en-face"), 32)


def test_volumes_become_a_table_to_train_on(tmp_path: Path):
    """Views of DICOM volumes, as right eyes, with person and label of the given table; what is no volume is named."""
    one = paint_volume(
        draw_eye(11, "focal-ischemia", eye="L"), frames=48, depth=442, columns=160, side_mm=6.0, scan=Scan.DISC
    )
    visit = Visit(
        study_uid="2.25.11", series_uid="2.25.12", patient_id="1", accession_number="1", birth_date="19600101", sex="F"
    )
    path = write_study(tmp_path / "in", volume_study(one, visit))[0]
    (tmp_path / "who.csv").write_text(f"image,person,label\n{path.relative_to(tmp_path)},p7,focal-ischemia\n")
    asked = ("views", tmp_path / "in", "--out", tmp_path / "out", "--views", ",".join(VIEWS), "--size-px", "32")
    status, said = lab(*asked, "--table", tmp_path / "who.csv")
    assert status == 0, said
    eyes = read_eyes(tmp_path / "out" / "eyes.csv", VIEWS, 32)
    assert eyes.persons.tolist() == ["p7"]
    assert eyes.labels.tolist() == [1]
    painted = paint_views(one.eye, size_px=32, names=VIEWS)
    apart = np.abs(eyes.views[0] / 255.0 - np.stack([painted[name] for name in VIEWS])).mean()
    mirrored = np.abs(eyes.views[0][..., ::-1] / 255.0 - np.stack([painted[name] for name in VIEWS])).mean()
    assert apart < mirrored
    (tmp_path / "in" / "not.dcm").write_bytes(b"no volume")
    status, said = lab("views", tmp_path / "in" / "not.dcm", "--out", tmp_path / "none")
    assert status == 1
    assert "left out" in said
    assert lab("views", tmp_path / "in", "--out", tmp_path / "out", "--views", "en-fase")[0] == 2


def test_a_win_is_only_said_where_the_interval_leaves_0_out():
    """The words follow the interval, not the value."""

    def said(low: float, high: float) -> str:
        return verdicts({"differences": {"transfer - flat": {"1": {"value": 0.1, "low": low, "high": high}}}})[0]

    assert "is better" in said(0.02, 0.2)
    assert "cannot be told" not in said(-0.02, 0.2)
    assert "no difference can be told" in said(-0.02, 0.2)
    assert "is worse" in said(-0.2, -0.02)
    assert short_names() == ("NOR", "FI", "GE", "MY", "SS")
    assert all(0.0 < shape.width <= 1.0 for shape in VGGS.values())
