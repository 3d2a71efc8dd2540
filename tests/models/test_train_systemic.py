"""From a table to a bundle: does `train systemic` train, calibrate, measure and write what the daemon can run?"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from oculard_models.data.painted_table import paint_table  # noqa: E402  # after the skip
from oculard_models.data.split import split_persons, write_split  # noqa: E402
from oculard_models.data.table import read_table  # noqa: E402
from oculard_models.evaluate.predictions import Predictions, predict  # noqa: E402
from oculard_models.lab import training  # noqa: E402
from oculard_models.registry import read_bundle  # noqa: E402
from oculard_models.runners.onnx import OnnxEstimator, choose_providers  # noqa: E402
from oculard_models.train import systemic  # noqa: E402
from oculard_models.train.checkpoint import read_checkpoint  # noqa: E402
from oculard_models.train.estimating import estimate  # noqa: E402
from oculard_models.train.intervals import half_widths  # noqa: E402

SHORT = [
    "--net",
    "oculard-small",
    "--size-px",
    "48",
    "--epochs",
    "1",
    "--batch",
    "8",
    "--accelerator",
    "cpu",
    "--demonstration",
    "yes",
]
PEOPLE = 52


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    """Give torch's number of threads and its determinism back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paint a study with both eyes of everyone; some values are missing. Its split has enough people to calibrate."""
    table = paint_table(tmp_path_factory.mktemp("study"), PEOPLE, 3, size_px=64)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::5]:
        row["age"] = ""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    content = read_table(table)
    write_split(split_persons(content.persons, 1, (0.4, 0.1, 0.25, 0.25)), content, table.with_name("split.json"))
    return table


@pytest.fixture(scope="module")
def made(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, two heads on one trunk; return the bundle's folder."""
    out = tmp_path_factory.mktemp("made") / "bundle"
    words = ["--data-words", "painted eyes", "--licence", "CC0", "--citation", "nobody", "--name", "tiny"]
    files = ["--table", str(study), "--split", str(study.with_name("split.json")), "--out", str(out)]
    systemic.main([*SHORT, "--targets", "sex,age", *files, *words])
    return out


def test_bundle_is_what_was_asked_for(made: Path):
    """The bundle passes its self-test; names, licence, heads and both intervals are in the manifest."""
    bundle = read_bundle(made)
    OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
    sex, age = bundle.manifest.output

    assert (bundle.identity, bundle.manifest.licence, bundle.manifest.demonstration) == ("tiny 1.0.0", "CC0", True)
    assert (sex.choices, sex.uncertainty) == (("F", "M"), None)
    assert age.uncertainty
    assert age.uncertainty_both
    assert age.valid
    assert 20.0 <= age.valid[0] < age.valid[1] <= 90.0


def test_bundle_estimates_what_the_network_does(made: Path, study: Path):
    """The exported bundle, run as the daemon runs it, gives what the checkpoint gives, in the table's units."""
    bundle, photographs = read_bundle(made), read_table(study).photographs[:4]
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    trained = read_checkpoint(made.with_name("_bundle-run") / "trained.pt")

    ours = estimate(trained.net, photographs, trained.spec, trained.scaling, batch=4)
    theirs = predict(estimator, bundle.manifest, photographs)

    assert np.allclose(ours.estimate, theirs.estimate, atol=1e-3)


def test_card_and_figures_say_where_they_come_from(made: Path, study: Path):
    """Card and metrics name command, data, licence and people, and no place of this machine."""
    card, metrics = (made / "card.md").read_text(encoding="utf-8"), json.loads((made / "metrics.json").read_bytes())

    for words in ("painted eyes", "CC0", "nobody", "oculard-lab train systemic", "mean nothing"):
        assert words in card
    assert metrics["table_sha256"] == read_table(study).sha256
    assert metrics["people"] == {"training": 21, "tuning": 5, "calibration": 13, "test": 13}
    assert {"eye", "person"} <= set(metrics["age"])
    assert str(study.parent) not in card + json.dumps(metrics)


def test_run_keeps_split_and_metrics(made: Path):
    """The run's folder has the split, the metrics and the checkpoints."""
    names = {path.name for path in made.with_name("_bundle-run").iterdir()}

    assert {"split.json", "metrics.csv", "best.ckpt", "last.ckpt", "trained.pt"} <= names


def test_separate_networks_make_one_bundle(study: Path, tmp_path: Path):
    """One network a target is one bundle, too; a run that is resumed trains only what is not finished."""
    out, run = tmp_path / "bundle", tmp_path / "run"
    command = [*SHORT, "--trunk", "separate", "--targets", "sex,bmi", "--table", str(study), "--run", str(run)]
    systemic.main([*command, "--out", str(out)])
    (run / "bmi" / "trained.pt").unlink()
    before = (run / "sex" / "trained.pt").stat().st_mtime_ns

    systemic.main([*command, "--out", str(tmp_path / "again"), "--resume", str(run)])

    assert [output.name for output in read_bundle(out).manifest.output] == ["sex", "bmi"]
    assert read_bundle(out).load() == read_bundle(tmp_path / "again").load()
    assert (run / "sex" / "trained.pt").stat().st_mtime_ns == before
    assert read_checkpoint(run / "trained.pt").heads == ("sex", "bmi")


def app() -> typer.Typer:
    """Wrap the command as `oculard-lab` does."""
    made = typer.Typer()
    made.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})(
        training.train_systemic
    )
    return made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--net", "resnet-50"], "there is no network `resnet-50`"),
        (["--targets", "sex,shoe"], "shoe"),
        (["--targets", "sex,sex"], "each once"),
        (["--trunk", "forked"], "one of shared, separate"),
        (["--size-px", "8"], "takes 32 to 4096 pixels"),
        (["--epochs", "0"], "at least 1"),
        (["--table", "nothing.csv"], "nothing.csv"),
        (["--split", "nothing.json"], "nothing.json"),
        (["--initial", "nothing.pt"], "there are no weights"),
        (["--resume", "nothing.ckpt"], "there is no checkpoint"),
        (["--batch", "500"], "too few for batches of 500"),
        (["--colour", "blue"], "--colour"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_asked_wrongly_is_said(options: list[str], words: str, study: Path, tmp_path: Path):
    """Misuse leaves with 2 and one clear message, before anything is trained."""
    command = [*SHORT, "--table", str(study), "--out", str(tmp_path / "bundle"), "--targets", "sex", *options]

    done = CliRunner().invoke(app(), command)

    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "bundle").exists()


def test_unreadable_photograph_fails_by_name(study: Path, tmp_path: Path):
    """A photograph that is none leaves with 1 and its name."""
    for path in [study, *study.parent.glob("*.png")]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = next(tmp_path.glob("*.png"))
    broken.write_bytes(b"no picture")

    done = CliRunner().invoke(app(), [*SHORT, "--table", str(tmp_path / study.name), "--out", str(tmp_path / "out")])

    assert done.exit_code == 1
    assert broken.name in done.output


def test_existing_folder_is_left_alone(made: Path, study: Path):
    """A bundle is never trained over another."""
    done = CliRunner().invoke(app(), [*SHORT, "--table", str(study), "--out", str(made)])

    assert done.exit_code == 2
    assert "already there" in done.output


def noisy(people: int, noise: float, seed: int) -> Predictions:
    """Estimate the age of people, both eyes, with errors of the eye's own."""
    rng = np.random.default_rng(seed)
    age = np.repeat(rng.uniform(20, 90, people), 2)[:, None]
    return Predictions(
        persons=np.repeat([f"p{n}" for n in range(people)], 2).astype(np.str_),
        eyes=np.tile(["R", "L"], people).astype(np.str_),
        names=("age",),
        truth=age,
        estimate=age + noise * rng.standard_normal(age.shape),
    )


def test_intervals_cover_one_eye_and_both():
    """The widths cover 90 % of other people, by one eye and by the mean of both; both eyes need less width."""
    width, fresh = half_widths(noisy(2000, 5.0, 1))["age"], noisy(2000, 5.0, 2)
    assert width.one
    assert width.both
    one = np.abs(fresh.estimate - fresh.truth)[:, 0]
    both = fresh.by_person()

    assert np.mean(one <= width.one) == pytest.approx(0.9, abs=0.02)
    assert np.mean(np.abs(both.estimate - both.truth) <= width.both) == pytest.approx(0.9, abs=0.02)
    assert width.both < 0.8 * width.one


def test_too_few_people_give_no_interval():
    """With eight people nothing can be said about 90 %; with one eye each, nothing about both."""
    few, half = half_widths(noisy(8, 5.0, 1))["age"], noisy(20, 5.0, 1)
    rights: Any = half.where(half.eyes == "R")

    assert (few.one, few.both) == (None, None)
    assert half_widths(rights)["age"].both is None
    assert half_widths(rights)["age"].one
