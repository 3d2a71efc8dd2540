"""What the quality gate learns from: labels that say how much was spoiled, nobody on both sides, and clear refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import fundus_folder

pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

import torch

from oculard_models.nets.gate import HEADS, MEASURES, GateNet, Measures
from oculard_models.quality import Grade, load_gate
from oculard_models.registry import read_bundle
from oculard_models.runners.onnx import choose_providers
from oculard_models.train import quality_gate
from oculard_models.train.quality_case import Case, measured_case
from oculard_models.train.quality_cases import KINDS, LABELS, as_mirrored, as_taken, case_of, other_case
from oculard_models.train.quality_figures import interval, ranks, spearman
from oculard_models.train.quality_learning import Cases, learn_readings, place_loss
from oculard_models.train.quality_sources import DataWrong, Source, painted_source, real_sources


@pytest.fixture(scope="module")
def source() -> Source:
    """A painted right eye."""
    return painted_source(2)


def cases(source: Source, kind: str, count: int = 4) -> list[Case]:
    """Some cases of one kind."""
    return [case_of(source, kind, np.random.default_rng([9, k])) for k in range(count)]


def test_every_kind_labels_what_it_spoils(source: Source):
    """The strong forms are beyond `ungradable` in their own severity, clean ones below `limited` in all."""
    for case in cases(source, "clean"):
        assert max(case.labels[name] for name in ("dark", "bright", "blur", "cut")) < 1.0
        assert case.labels["fundus"] == 1.0
    for kind, name in (("defocused!", "blur"), ("darkened!", "dark"), ("brightened!", "bright"), ("cut!", "cut")):
        assert min(case.labels[name] for case in cases(source, kind)) >= 2.0, kind


def test_place_of_the_disc_follows_the_new_field(source: Source):
    """Aimed at the disc it is near the middle; aimed away from it there is none."""
    for case in cases(source, "disc-centred"):
        assert np.hypot(case.labels["disc_x"], case.labels["disc_y"]) < 0.28
    assert {case.labels["disc"] for case in cases(source, "no-disc")} <= {0.0, None}


def test_same_random_numbers_make_the_same_case(source: Source):
    """Every kind can be made again, byte by byte."""
    for kind in KINDS:
        one, two = (case_of(source, kind, np.random.default_rng(3)) for _ in range(2))

        assert np.array_equal(one.picture, two.picture), kind
        assert np.array_equal(list(one.labels.values()), list(two.labels.values()), equal_nan=True), kind


def test_mirrored_photograph_is_the_other_eye(source: Source):
    """The picture and the place of the disc change sides together."""
    one, two = as_taken(source), as_mirrored(source)

    assert source.eye == "R"
    assert two.labels["disc_x"] == -one.labels["disc_x"]
    assert np.array_equal(two.picture, one.picture[:, :, ::-1])


def test_other_things_are_drawn_in_every_way(source: Source):
    """A hundred of them: none is a fundus, and no two are the same."""
    drawn = [other_case(source, [], np.random.default_rng([4, k])) for k in range(60)]

    assert {case.labels["fundus"] for case in drawn} == {0.0}
    assert len({case.picture.tobytes() for case in drawn}) == 60


def test_measures_do_not_change_when_a_picture_is_mirrored(source: Source):
    """What is measured knows neither left nor right."""
    x = torch.from_numpy(source.seen)[None].float() / 255.0
    one, two = (Measures()(picture) for picture in (x, x.flip(3)))

    assert one.shape == (1, MEASURES)
    assert torch.allclose(one, two, atol=2e-3)


def test_map_tells_the_other_eye_of_a_mirrored_map():
    """Eye and aim are sums over the map: mirroring it changes the sign of the one and leaves the other."""
    net = GateNet().discs
    cells = torch.randn(3, 20, 20)
    one, two = net.told(cells.flatten(1)), net.told(cells.flip(2).flatten(1))

    assert torch.allclose(one[:, 1], -two[:, 1], atol=1e-4)
    assert torch.allclose(one[:, [0, 2]], two[:, [0, 2]], atol=1e-4)


def test_place_loss_is_least_where_the_disc_is():
    """A map that is sure of the right place costs less than one that is sure of another."""
    here, there = torch.zeros(1, 20, 20), torch.zeros(1, 20, 20)
    here[0, 10, 15], there[0, 10, 4] = 9.0, 9.0
    at = torch.ones(1), torch.tensor([0.55]), torch.tensor([0.05])

    assert place_loss(here.flatten(1), *at) < place_loss(there.flatten(1), *at)


def test_readings_learn_blur_from_painted_eyes(source: Source):
    """Even a few dozen cases are enough to tell how much an eye nobody learnt from is blurred."""
    learnt = table([*cases(source, "clean", 10), *cases(source, "defocused", 20)])
    other = painted_source(11)
    net = learn_readings(learnt, seed=1)
    sharp, blurred = (
        net(table(cases(other, kind)).found)[:, HEADS.index("blur") - 1].mean().item()
        for kind in ("clean", "defocused!")
    )

    assert sharp < 1.0 < 1.6 < blurred


def table(made: list[Case]) -> Cases:
    """Put cases together as the script does."""
    parts = [measured_case(lambda case=case: case) for case in made]  # type: ignore[misc]  # a default is no parameter
    labels = torch.tensor([[part.labels[name] for name in LABELS] for part in parts])
    return Cases(
        torch.from_numpy(np.stack([part.half for part in parts])),
        torch.from_numpy(np.stack([part.found for part in parts])),
        {name: labels[:, k] for k, name in enumerate(LABELS)},
        np.array([part.group for part in parts]),
        np.array([part.kind for part in parts]),
    )


def test_ties_share_their_rank():
    """As in the definition of Spearman's correlation."""
    assert ranks(np.array([3.0, 1.0, 3.0])).tolist() == [1.5, 0.0, 1.5]
    assert spearman(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.1, 0.4, 0.4, 0.5])) == 1.0


def test_interval_is_over_patients():
    """One patient's photographs come and go together, and the same call gives the same interval."""
    truth, groups = np.arange(10.0), np.repeat([f"p{k}" for k in range(5)], 2)
    score = truth + np.random.default_rng(1).normal(0, 2, 10)

    assert interval(truth, score, groups) == interval(truth, score, groups)
    assert interval(truth, score, groups)[0] < spearman(truth, score) < interval(truth, score, groups)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "--data names the folder above fundus/csdi, fundus/hrf, fundus/idrid"),
        (["--copies", "0"], "--copies must be at least 1"),
        (["--folds", "1"], "--folds must be from 2 to 14"),
        (["--epochs", "many"], "invalid int value"),
    ],
)
def test_wrong_settings_exit_with_two(arguments: list[str], words: str, capsys: Any):
    """Before anything is trained, with what to do."""
    with pytest.raises(SystemExit) as left:
        quality_gate.main(arguments)

    assert left.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "old", "new", "words"),
    [
        ("csdi/labels.csv", "csdi_p08_1.jpg,p08,2.0", "csdi_p08_1.jpg,p08,clear", "`clear`, not a number"),
        ("csdi/labels.csv", "csdi_p08_1.jpg", "csdi_p99_1.jpg", "cannot be read as a picture"),
    ],
)
def test_broken_labels_are_named(tmp_path: Path, table: str, old: str, new: str, words: str):
    """With the table, the photograph and the value."""
    for folder in ("csdi", "hrf", "idrid"):
        (tmp_path / folder).mkdir()
        shutil.copy(fundus_folder() / folder / "labels.csv", tmp_path / folder)
    shutil.copy(fundus_folder() / "csdi" / "csdi_p08_1.jpg", tmp_path / "csdi")
    text = (tmp_path / table).read_text(encoding="utf-8")
    (tmp_path / table).write_text(text.replace(old, new), encoding="utf-8")

    with pytest.raises(DataWrong, match=words):
        real_sources(tmp_path)


@pytest.mark.slow
def test_short_training_makes_a_bundle_that_is_a_gate(tmp_path: Path):
    """The whole command on a few cases: a bundle that loads, with every figure of its card."""
    settings = ["--copies", "2", "--painted", "4", "--others", "12", "--epochs", "1", "--folds", "2", "--workers", "2"]
    places = ["--data", str(fundus_folder().parent), "--out", str(tmp_path / "fundus-quality")]
    quality_gate.main([*settings, *places, "--checkpoint", str(tmp_path / "gate.pt")])
    bundle = read_bundle(tmp_path / "fundus-quality")
    gate = load_gate(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), 1)
    metrics = json.loads((tmp_path / "fundus-quality" / "metrics.json").read_text(encoding="utf-8"))

    assert gate.assess(np.zeros((300, 300, 3), np.uint8)).grade is Grade.UNGRADABLE
    assert metrics["haze"]["patients"] == 14
    assert metrics["haze"]["spearman"]["value"] > 0.8
