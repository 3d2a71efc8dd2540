"""`oculard-lab export`: what it writes, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="exporting needs the extra `lab`")
pytest.importorskip("onnx", reason="exporting needs the extra `lab`")

from export_samples import SPEC, exported  # noqa: E402  # after the skips

from oculard_models.data.painted_table import paint_table  # noqa: E402
from oculard_models.data.scaling import Scaling  # noqa: E402
from oculard_models.data.split import split_persons, write_split  # noqa: E402
from oculard_models.data.table import read_table  # noqa: E402
from oculard_models.lab.exporting import export  # noqa: E402
from oculard_models.registry import read_bundle  # noqa: E402
from oculard_models.train.checkpoint import About, build_for, write_checkpoint  # noqa: E402

APP = typer.Typer()
APP.command()(export)
HEADS = ("sex", "age")


def run(*words: object) -> tuple[int, str, str]:
    """Run the command; return its exit code, stdout and stderr."""
    result = CliRunner().invoke(APP, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painted study of thirty people, with a split beside it."""
    table = paint_table(tmp_path_factory.mktemp("study"), 30, 1, size_px=96)
    content = read_table(table)
    write_split(split_persons(content.persons, 1, (0.2, 0.1, 0.6, 0.1)), content, table.with_name("split.json"))
    return table


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network with weights by chance."""
    torch.manual_seed(1)
    scaling = Scaling(names=HEADS, mean=(0.0, 55.0), std=(1.0, 15.0))
    about = About(
        architecture="oculard-small", trunk="shared", heads=HEADS, spec=SPEC, scaling=scaling, settings={"seed": 1}
    )
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    write_checkpoint(path, build_for(about), about)
    return path


def test_checkpoint_becomes_a_bundle(checkpoint: Path, tmp_path: Path):
    """Without a table there are no intervals, and the card says that nothing was measured."""
    code, out, _ = run(checkpoint, "--out", tmp_path, "--name", "mine", "--json")
    bundle = read_bundle(tmp_path / "mine")

    assert code == 0
    assert json.loads(out)[0]["bundle"] == "mine 1.0.0"
    assert [output.uncertainty for output in bundle.manifest.output] == [None, None]
    assert "Nothing here was measured on people" in bundle.card
    figures = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert figures["command"] == "oculard-lab export best.ckpt --seed 1"
    assert figures["checkpoint"] == {"seed": 1}


def test_split_of_the_training_calibrates(checkpoint: Path, study: Path, tmp_path: Path):
    """With the training's split the calibration people give the interval, of one eye and of both."""
    split = study.with_name("split.json")
    code, _, _ = run(checkpoint, "--out", tmp_path, "--table", study, "--split", split)
    age = read_bundle(tmp_path / "systemic").manifest.output[1]

    assert code == 0
    assert age.uncertainty is not None
    assert age.uncertainty > 5  # a network that learnt nothing is not sure of an age
    assert age.valid is not None


def test_variant_is_written_and_its_drift_printed(study: Path, tmp_path: Path):
    """A variant of a bundle says mean, largest and share for every output."""
    source = exported(tmp_path / "source")
    code, out, _ = run(source.folder, "--out", tmp_path, "--fp16", "--table", study, "--json")
    rows = json.loads(out)

    assert code == 0
    assert read_bundle(tmp_path / "tried-fp16").identity == "tried-fp16 1.0.0"
    assert [row["output"] for row in rows] == ["age", "sex"]
    assert rows[0]["images"] == 30  # half of the people, both eyes
    assert 0 < rows[0]["largest"] < 0.5


def test_bundle_that_is_there_is_not_overwritten(checkpoint: Path, tmp_path: Path):
    """A second run fails, and says how to replace."""
    run(checkpoint, "--out", tmp_path)
    code, _, words = run(checkpoint, "--out", tmp_path)

    assert code == 1
    assert "is already there; hint: name another folder" in words
    assert run(checkpoint, "--out", tmp_path, "--replace")[0] == 0


def test_misuse_leaves_with_two(checkpoint: Path, study: Path, tmp_path: Path):
    """What was asked wrongly is said, with what to ask instead."""
    bundle = exported(tmp_path / "source").folder
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"PK\x03\x04 no checkpoint")
    for words, said in (
        ((checkpoint, "--int8"), "a variant needs photographs"),
        ((bundle,), "is a bundle already; hint: ask for a variant"),
        ((checkpoint, "--split", study), "a split and photographs are of a table"),
        ((checkpoint, "--name", "../mine"), "`../mine` is no name of a bundle"),
        ((checkpoint, "--table", study, "--split", study), "is no split"),
        ((broken,), "cannot be read as a checkpoint"),
    ):
        code, _, err = run(*words, "--out", tmp_path / "out")
        assert (code, said in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_broken_bundle_and_broken_photograph_leave_with_one(study: Path, tmp_path: Path):
    """What turns out to be broken is named."""
    (tmp_path / "empty").mkdir()
    code, _, err = run(tmp_path / "empty", "--out", tmp_path, "--fp16", "--table", study)
    assert (code, "has no manifest.toml" in err) == (1, True)

    table = paint_table(tmp_path / "study", 6, 2, size_px=96)
    for picture in table.parent.glob("*.png"):
        picture.write_bytes(picture.read_bytes()[:99])
    code, _, err = run(exported(tmp_path / "source").folder, "--out", tmp_path, "--fp16", "--table", table)
    assert (code, "cannot be read as PNG" in err) == (1, True)
