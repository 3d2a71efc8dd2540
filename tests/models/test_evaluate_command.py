"""The command `oculard-lab evaluate`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from bundle_samples import edit_manifest, mean_model, tiny_bundle
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("matplotlib", reason="evaluating needs the extra `lab` (matplotlib)")

from oculard_models.data.split import split_persons, write_split
from oculard_models.data.table import read_table
from oculard_models.lab.evaluating import evaluate

LAB = CliRunner()
APP = typer.Typer()
APP.command()(evaluate)


def grey_study(folder: Path, people: int = 15) -> Path:
    """Write people whose age is how bright their photographs are, so that the tiny bundle nearly knows it."""
    rng = np.random.default_rng(8)
    rows = []
    for k in range(people):
        age = int(rng.integers(20, 80))
        for eye in "RL":
            level = np.uint8(np.clip(age * 2.55 + rng.normal(0, 8), 0, 255))
            Image.fromarray(np.full((20, 20, 3), level)).save(folder / f"{k}{eye}.png")
            rows.append({"path": f"{k}{eye}.png", "person": f"p{k:02d}", "eye": eye, "sex": "FM"[k % 2], "age": age})
    path = folder / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path]:
    """Return a bundle whose age is a hundred times the mean of the picture, and a table of such people."""
    bundle = tiny_bundle(tmp_path, mean_model)
    edit_manifest(bundle, 'unit = "a"', 'unit = "a"\nscale = 100.0\nuncertainty = 6.0')
    return bundle, grey_study(tmp_path)


def run(*arguments: object) -> object:
    """Call the command."""
    return LAB.invoke(APP, [str(argument) for argument in arguments])


def test_bundle_is_measured_and_everything_is_written(study, tmp_path: Path):
    """Figures go to stdout and into metrics.json, predictions beside them, and a page."""
    bundle, table = study
    done = run(bundle, "--table", table, "--out", tmp_path / "out")

    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split()[:6] == ["target", "per", "persons", "cases", "mae", "mae_of_median"]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    eye, person = metrics["results"]
    assert (eye["per"], eye["rows"], eye["persons"], person["rows"]) == ("eye", 30, 15, 15)
    assert person["mae"]["value"] < eye["mae"]["value"] < 5.0 < eye["mae_of_median"]["value"]
    assert (metrics["bundle"], metrics["demonstration"], metrics["photographs"]) == ("tiny 1.0.0", True, 30)
    assert metrics["warnings"][0].startswith("No split was given")
    assert "A demonstration" in (tmp_path / "out" / "page.html").read_text(encoding="utf-8")


def test_predictions_of_a_run_give_the_same_figures_again(study, tmp_path: Path):
    """Reading predictions.csv needs no bundle; the same seed gives the same numbers."""
    bundle, table = study
    first = run(bundle, "--table", table, "--out", tmp_path / "out", "--json")
    again = run("--from", tmp_path / "out" / "predictions.csv", "--out", tmp_path / "again", "--json")

    assert again.exit_code == 0, again.output
    ours, theirs = (json.loads(done.stdout)["results"] for done in (first, again))
    for one, other in zip(ours, theirs, strict=True):
        assert one.pop("coverage") != other.pop("coverage")  # without a bundle no interval is stated
        assert one == other


def test_both_runners_agree(study, tmp_path: Path):
    """onnxruntime and torch give the same figures."""
    pytest.importorskip("torch", reason="the torch runner needs the extra `lab` (torch)")
    bundle, table = study
    both = [
        run(bundle, "--table", table, "--out", tmp_path / name, "--runner", name, "--json")
        for name in ("onnx", "torch")
    ]

    onnx, torch = (json.loads(done.stdout) for done in both)
    assert onnx["results"][0]["mae"]["value"] == pytest.approx(torch["results"][0]["mae"]["value"], abs=1e-3)
    assert (onnx["runner"], torch["runner"]) == ("onnxruntime", "torch")


def test_split_decides_whom_to_measure_on_and_where_the_median_comes_from(study, tmp_path: Path):
    """Only the test persons are measured; those who trained give the baselines; training needs a clear word."""
    bundle, table = study
    split = tmp_path / "split.json"
    content = read_table(table)
    write_split(split_persons(content.persons, 1), content, split)
    test = run(bundle, "--table", table, "--split", split, "--out", tmp_path / "a", "--json")
    refused = run(bundle, "--table", table, "--split", split, "--part", "training", "--out", tmp_path / "b")
    training = run(
        bundle, "--table", table, "--split", split, "--part", "training", "--allow-training", "--out", tmp_path / "c"
    )

    said = json.loads(test.stdout)
    assert (said["persons"], said["part"]) == (3, "`test` of split.json")
    assert said["baselines"] == "the persons of `training` in split.json"
    assert said["warnings"] == []
    assert refused.exit_code == 2
    assert "--allow-training" in refused.stderr
    assert not (tmp_path / "b").exists()
    assert training.exit_code == 0
    assert "TRAINED the network" in (tmp_path / "c" / "page.html").read_text(encoding="utf-8")


def test_unreadable_photograph_stops_or_is_named(study, tmp_path: Path):
    """The file is named on stderr; with --skip-unreadable it is named on the page instead."""
    bundle, table = study
    (tmp_path / "3L.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    stopped = run(bundle, "--table", table, "--out", tmp_path / "a")
    skipped = run(bundle, "--table", table, "--out", tmp_path / "b", "--skip-unreadable", "--json")

    assert (stopped.exit_code, (tmp_path / "a").exists()) == (1, False)
    assert "3L.png" in stopped.stderr
    assert "--skip-unreadable" in stopped.stderr
    said = json.loads(skipped.stdout)
    assert said["photographs"] == 29
    assert "3L.png" in said["skipped"][0]
    assert "3L.png" in (tmp_path / "b" / "page.html").read_text(encoding="utf-8")


def test_no_readable_photograph_is_a_failure(study, tmp_path: Path):
    """Leaving out everything is no evaluation."""
    bundle, table = study
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"")
    done = run(bundle, "--table", table, "--out", tmp_path / "a", "--skip-unreadable")

    assert done.exit_code == 1
    assert "none of 30 photographs can be read" in done.stderr


def test_broken_bundle_is_refused(study, tmp_path: Path):
    """A bundle that fails its self-test measures nothing."""
    bundle, table = study
    edit_manifest(bundle, "age = 0.5", "age = 0.9")
    done = run(bundle, "--table", table, "--out", tmp_path / "a")

    assert done.exit_code == 1
    assert "self-test failed" in done.stderr


def test_person_of_two_sexes_is_refused(tmp_path: Path):
    """Averaging a person's photographs must not invent a third sex."""
    path = tmp_path / "p.csv"
    path.write_text("person,eye,sex,sex_estimate\na,R,0,0.4\na,L,1,0.6\n", encoding="utf-8")
    done = run("--from", path, "--out", tmp_path / "a")

    assert done.exit_code == 2
    assert "has one person two sexes?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "OUT"], "either a bundle's folder or --from"),
        (["BUNDLE", "--out", "OUT"], "needs --table"),
        (["BUNDLE", "--from", "TABLE", "--out", "OUT"], "either a bundle's folder or --from"),
        (["--from", "TABLE", "--table", "TABLE", "--out", "OUT"], "leave --table"),
        (["--from", "TABLE", "--out", "OUT"], "has the columns"),
        (["BUNDLE", "--table", "WRONG", "--out", "OUT"], "column"),
        (["BUNDLE", "--table", "TABLE", "--split", "TABLE", "--out", "OUT"], "is no split"),
        (["BUNDLE", "--table", "missing.csv", "--out", "OUT"], "does not exist"),
        (["BUNDLE", "--table", "TABLE", "--out", "OUT", "--part", "all"], "--part"),
        (["BUNDLE", "--table", "TABLE"], "--out"),
        (["BUNDLE", "--table", "TABLE", "--out", "TABLE"], "--out"),
    ],
)
def test_misuse_says_what_is_wrong(study, tmp_path: Path, arguments: list[str], words: str):
    """Wrong options, missing files and wrong tables exit with 2 and write nothing."""
    bundle, table = study
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("path,eye\n0R.png,R\n", encoding="utf-8")
    paths = {"BUNDLE": bundle, "TABLE": table, "WRONG": wrong, "OUT": tmp_path / "out"}
    done = run(*(paths.get(argument, argument) for argument in arguments))

    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
