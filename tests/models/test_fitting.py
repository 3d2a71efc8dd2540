"""Does a training repeat itself, continue where it stopped, and refuse what is not its own?"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from oculard_models.data.scaling import Scaling  # noqa: E402  # after the skip
from oculard_models.manifest import InputSpec  # noqa: E402
from oculard_models.nets.sixteen import build  # noqa: E402
from oculard_models.train.checkpoint import About, CheckpointWrong, read_about, read_checkpoint  # noqa: E402
from oculard_models.train.fitting import BEST, LAST, TRAINED, Job, fit, take_finished  # noqa: E402
from oculard_models.train.learner import Shuffled, rate_share  # noqa: E402
from oculard_models.train.losses import masked_loss  # noqa: E402
from oculard_models.train.settings import Fit, TrainingWrong, as_options, asked  # noqa: E402

HEADS = ("sex", "age")
SIDE = 32
FIT = Fit(epochs=3, batch=8, rate=3e-3, patience=3, accelerator="cpu")


class Stopped(Exception):
    """Somebody pulled the plug."""


class Planted(torch.utils.data.Dataset[Any]):  # type: ignore[misc, unused-ignore]
    """Noise whose brightness is the age and whose colour is the sex; it may stop at an epoch."""

    def __init__(self, count: int, *, stops_at: int = 99, known: bool = True) -> None:
        rng = np.random.default_rng(count)
        self.targets = np.stack([rng.integers(0, 2, count), rng.standard_normal(count)], axis=1).astype(np.float32)
        self.images = rng.standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)
        self.images += self.targets[:, 1, None, None, None]
        self.images[:, 0] += 2 * self.targets[:, 0, None, None]
        self.stops_at, self.epoch = stops_at, 0
        if not known:
            self.targets[:] = np.nan

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.epoch >= self.stops_at:
            raise Stopped
        return {"image": torch.from_numpy(self.images[index]), "target": torch.from_numpy(self.targets[index])}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give torch's number of threads and its determinism back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def about() -> About:
    """Describe the small network of these tests."""
    spec = InputSpec(kind="fundus", tensor="image", size_px=(SIDE, SIDE))
    scaling = Scaling(HEADS, (0.0, 50.0), (1.0, 10.0))
    return About(
        architecture="oculard-small", trunk="shared", heads=HEADS, spec=spec, scaling=scaling, settings={"task": "test"}
    )


def job(training: Any = None, tuning: Any = None) -> Job:
    """Make a job with a freshly drawn network."""
    torch.manual_seed(7)
    return Job(
        net=build("oculard-small", HEADS),
        about=about(),
        training=training or Planted(32),
        tuning=tuning or Planted(9),
    )


def weights(net: Any) -> list[Any]:
    """Return everything that a network learned."""
    return [value.clone() for value in net.state_dict().values()]


def same(one: Any, other: Any) -> bool:
    """Say whether two networks are the same to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def rows(run: Path) -> list[dict[str, str]]:
    """Read a run's metrics."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Train once without any trouble; return the network and the run's folder."""
    run, done = tmp_path_factory.mktemp("whole"), job()
    fit(done, FIT, run)
    return done.net, run


def test_same_seed_gives_the_same_network(whole: tuple[Any, Path], tmp_path: Path):
    """Two trainings with one seed are equal to the last bit; another seed gives another network."""
    again, other = job(), job()
    fit(again, FIT, tmp_path / "again")
    fit(other, replace(FIT, seed=2), tmp_path / "other")

    assert same(whole[0], again.net)
    assert not same(whole[0], other.net)


def test_interrupted_training_continues_as_if_nothing_had_happened(whole: tuple[Any, Path], tmp_path: Path):
    """Stopped in its second epoch and continued, a training ends with the same network and the same metrics."""
    with pytest.raises(Stopped):
        fit(job(Planted(32, stops_at=1)), FIT, tmp_path)
    assert len(rows(tmp_path)) == 1
    assert not (tmp_path / TRAINED).exists()

    continued = job()
    fit(continued, FIT, tmp_path, resume=tmp_path / LAST)

    assert same(whole[0], continued.net)
    assert rows(tmp_path) == rows(whole[1])


def test_last_checkpoint_is_of_the_last_epoch(whole: tuple[Any, Path]):
    """What to continue from is written after every epoch, better or not."""
    last = torch.load(whole[1] / LAST, map_location="cpu", weights_only=True)

    assert last["epoch"] == FIT.epochs - 1


def test_checkpoint_holds_the_network_and_how_it_was_made(whole: tuple[Any, Path]):
    """The checkpoint gives the same network again, with every setting, and its file holds plain values only."""
    trained = read_checkpoint(whole[1] / TRAINED)
    images = torch.rand(2, 3, SIDE, SIDE)

    assert same(trained.net, whole[0])
    assert torch.allclose(trained.net(images), whole[0](images), atol=1e-5)
    assert trained.heads == HEADS
    assert trained.scaling == about().scaling
    assert trained.settings["fit"]["rate"] == FIT.rate  # type: ignore[index]
    assert read_about(whole[1] / BEST) == read_about(whole[1] / TRAINED)


def test_finished_training_is_taken_as_it_is(whole: tuple[Any, Path]):
    """A network that was trained is loaded instead of trained again."""
    net = build("oculard-small", HEADS)

    assert take_finished(net, about(), FIT, whole[1])
    assert same(net, whole[0])


def test_metrics_are_a_table_and_a_board(whole: tuple[Any, Path]):
    """There is a row an epoch with the losses of all heads, and TensorBoard's events."""
    assert [row["epoch"] for row in rows(whole[1])] == ["1", "2", "3"]
    assert {"training_loss", "tuning_loss", "tuning_sex", "tuning_age", "rate"} <= set(rows(whole[1])[0])
    assert list((whole[1] / "tensorboard").glob("events.*"))


def test_another_trainings_checkpoint_is_refused(whole: tuple[Any, Path], tmp_path: Path):
    """Continuing with another rate is refused, and the setting is named."""
    with pytest.raises(TrainingWrong, match=r"settings\.fit\.rate"):
        fit(job(), replace(FIT, rate=1e-3), tmp_path, resume=whole[1] / LAST)


def test_training_stops_early(tmp_path: Path):
    """Without a better tuning loss for `patience` epochs the training ends."""
    fit(job(tuning=Planted(9, known=True)), replace(FIT, epochs=12, patience=1, rate=1.0), tmp_path)

    assert len(rows(tmp_path)) < 12


@pytest.mark.parametrize("change", [{"ema": 0.9}, {"precision": "bf16-mixed"}], ids=["ema", "bf16"])
def test_training_has_other_ways(change: dict[str, Any], whole: tuple[Any, Path], tmp_path: Path):
    """Averaged weights and mixed precision train another network, and its checkpoint is as good."""
    done = job()
    path = fit(done, replace(FIT, epochs=1, patience=1, **change), tmp_path)

    assert same(read_checkpoint(path).net, done.net)
    assert not same(whole[0], done.net)


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        (lambda: job(Planted(5)), FIT, "too few"),
        (lambda: job(tuning=Planted(9, known=False)), FIT, "nothing is known of the tuning people"),
        (job, replace(FIT, accelerator="abacus"), "this machine cannot train so"),
    ],
    ids=["few", "unknown", "device"],
)
def test_training_that_cannot_be_is_refused(made: Callable[[], Job], settings: Fit, words: str, tmp_path: Path):
    """Too few people, nobody to tune on, a device that is not there: each is said."""
    with pytest.raises(TrainingWrong, match=words):
        fit(made(), settings, tmp_path)


def test_loss_that_is_no_number_is_said(tmp_path: Path):
    """A training that ran away leaves no network, but a hint."""
    wild = Planted(32)
    wild.images[:] = np.nan

    with pytest.raises(TrainingWrong, match="lower --rate"):
        fit(job(wild), FIT, tmp_path)


@pytest.mark.parametrize("field", ["epochs", "batch", "rate", "ema", "precision", "seed", "threads"])
def test_settings_out_of_range_are_refused(field: str):
    """Every setting has its limits."""
    wrong: dict[str, Any] = {"precision": "8-bit"}
    with pytest.raises(TrainingWrong, match=field):
        replace(FIT, **{field: wrong.get(field, -1)})


def test_options_give_the_settings_again():
    """The command that is noted makes the same settings; a bad one leaves with 2."""
    settings = replace(FIT, precision="bf16-mixed", warm_up=0.5)

    assert asked(Fit, as_options(settings, without=()).split(), "test", "") == settings
    with pytest.raises(SystemExit) as left:
        asked(Fit, ["--epochs", "0"], "test", "")
    assert left.value.code == 2


def test_missing_target_contributes_nothing():
    """The loss of rows with a gap is that of what is known, and no gradient flows into the gap."""
    out = torch.tensor([[0.3, 1.0], [-0.2, 2.0]], requires_grad=True)
    target = torch.tensor([[1.0, float("nan")], [0.0, 1.5]])

    loss = masked_loss(out, target, HEADS)
    loss.backward()  # type: ignore[no-untyped-call, unused-ignore]

    known = [
        torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], target[:, 0], reduction="sum"),
        2.0 * torch.nn.functional.smooth_l1_loss(out[1, 1], target[1, 1]),
    ]
    assert loss.item() == pytest.approx(float(sum(known).detach()) / 3)
    assert out.grad is not None
    assert out.grad[0, 1] == 0.0


def test_batch_without_any_target_costs_nothing():
    """Nothing known, nothing lost; and no division by nothing."""
    assert masked_loss(torch.ones(2, 2), torch.full((2, 2), float("nan")), HEADS).item() == 0.0


def test_rate_rises_and_falls():
    """The rate starts low, is highest after the warm-up and ends at nothing."""
    shares = [rate_share(step, 10, 100) for step in range(101)]

    assert shares[0] < 0.1
    assert max(shares) == shares[10] == 1.0
    assert shares[100] == pytest.approx(0.0)


def test_order_follows_from_seed_and_epoch():
    """Every epoch has everybody once in an order of its own, the same again for the same epoch; the data hear of it."""
    data = Planted(32)
    one, other = Shuffled(data, 1), Shuffled(Planted(32), 1)
    one.set_epoch(1)
    later = list(one)

    assert sorted(later) == sorted(other) == list(range(32))
    assert later != list(other)
    assert data.epoch == 1
    other.set_epoch(1)
    assert list(other) == later


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_hostile_checkpoint_runs_nothing(tmp_path: Path):
    """A file that would run code when unpickled is refused, and the code does not run."""
    path, sprung = tmp_path / "trap.ckpt", tmp_path / "sprung"
    torch.save({"oculard": Trap(sprung), "state_dict": {}}, path)

    with pytest.raises(CheckpointWrong, match="cannot be read"):
        read_checkpoint(path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no checkpoint of this laboratory"),
        ({"oculard": {}, "state_dict": {}}, "does not say what it is"),
        ({"oculard": about().plain(), "state_dict": {}}, "does not fit its network"),
        ({"oculard": about().plain() | {"architecture": "resnet-50"}, "state_dict": {}}, "resnet-50"),
        ({"oculard": about().plain() | {"trunk": "none"}, "state_dict": {}}, "trunk"),
        ({"oculard": 5, "state_dict": {}}, "does not say what it is"),
    ],
)
def test_wrong_checkpoint_is_refused(content: dict[str, Any], words: str, tmp_path: Path):
    """A file of another kind, or half of one, is refused with what is wrong."""
    path = tmp_path / "wrong.ckpt"
    torch.save(content, path)

    with pytest.raises(CheckpointWrong, match=words):
        read_checkpoint(path)


def test_broken_checkpoint_is_refused(tmp_path: Path):
    """No file, an empty file, and garbage are refused."""
    for content in (None, b"", b"garbage"):
        path = tmp_path / "broken.ckpt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointWrong, match=r"broken\.ckpt"):
            read_checkpoint(path)
