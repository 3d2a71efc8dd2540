"""The command `oculard-lab import-keras`, from a Keras file to a bundle that can be served."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from keras_samples import FIXTURES, fixture, keras
from PIL import Image
from typer.testing import CliRunner, Result

pytest.importorskip("torch", reason="importing Keras files needs the extra `lab`")
pytest.importorskip("h5py", reason="importing Keras files needs the extra `lab`")

from oculard_models.contract import ImageInput  # after the skips
from oculard_models.lab.importing import import_keras
from oculard_models.registry import Bundle, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3 with numpy 2

MIYAKE = "Jpn J Ophthalmol 2022;66(6):499-503"
THANKS = "was made available through the Japan Ocular Imaging Registry website (http://www.joir.jp/)."
SIDE = 32

app = typer.Typer()
app.command()(import_keras)


def run(*arguments: object) -> Result:
    """Give the command."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def estimator(bundle: Bundle) -> OnnxEstimator:
    """Load a bundle as the daemon does."""
    return OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)


def test_a_file_becomes_a_bundle_that_says_what_keras_said(tmp_path: Path):
    """Raw pixels go in, the probability that Keras gave comes out; identity and rights are in the manifest."""
    done = run(FIXTURES / "mobilenet.h5", "--out", tmp_path / "joir-sex", "--output", "sex", "--classes", "F,M")

    assert done.exit_code == 0, done.output
    bundle, sample = read_bundle(tmp_path / "joir-sex"), fixture("mobilenet")
    assert (bundle.identity, bundle.manifest.demonstration) == ("joir-sex 1.0.0", False)
    assert bundle.manifest.output[0].choices == ("F", "M")
    assert bundle.manifest.output[0].uncertainty is None
    loaded = estimator(bundle)
    loaded.self_test()
    for pixels, said in zip(sample.pictures.astype(np.uint8), sample.said[:, 0], strict=True):
        image = ImageInput(sop_instance_uid="2.25.1", eye="L", pixels=pixels)
        (found,) = loaded.estimate(loaded.prepare(image)[None])
        assert 1 / (1 + np.exp(-found["sex"])) == pytest.approx(said, abs=1e-5)


def test_the_owners_wishes_are_printed_and_kept(tmp_path: Path):
    """Citation and acknowledgement of JOIR stand on the screen, in the card and (the citation) in the manifest."""
    done = run(FIXTURES / "mobilenet.h5", "--out", tmp_path / "b", "--output", "sex", "--classes", "F,M")

    bundle = read_bundle(tmp_path / "b")
    assert MIYAKE in done.stdout
    assert THANKS in done.stdout
    assert MIYAKE in bundle.card
    assert THANKS in bundle.card
    assert MIYAKE in bundle.manifest.citation
    assert "not redistributable by this project" in bundle.manifest.licence


def test_other_peoples_weights_carry_their_own_rights(tmp_path: Path):
    """Somebody else's file is not said to be JOIR's."""
    rights = ("--citation", "Nobody 2026", "--licence", "MIT", "--manufacturer", "Nobody")
    done = run(FIXTURES / "mobilenet.h5", "--out", tmp_path / "b", "--output", "sex", "--classes", "F,M", *rights)

    assert done.exit_code == 0, done.output
    bundle = read_bundle(tmp_path / "b")
    assert (bundle.manifest.licence, bundle.manifest.citation) == ("MIT", "Nobody 2026")
    assert "JOIR" not in bundle.card + done.stdout
    assert "Japan Ocular" not in bundle.card + done.stdout


def test_what_was_decided_is_written_down_with_who_said_so(tmp_path: Path):
    """The table on the screen is in the card and in metrics.json, beside file, digest and command."""
    out = tmp_path / "b"
    done = run(FIXTURES / "nested.h5", "--out", out, "--output", "sex", "--classes", "M,F", "--range", "0-1")

    assert done.exit_code == 0, done.output
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    decided = {row["what"]: (row["value"], row["who"]) for row in metrics["decisions"]}
    assert decided["pixel range"] == ("0-1", "you")
    assert decided["colour order"] == ("RGB", "ours")
    assert decided["crop"] == ("whole", "ours")
    assert decided["classes in the file"] == ("M, F", "you")
    assert metrics["command"] == "oculard-lab import-keras nested.h5 --out b --output sex --classes M,F --range 0-1"
    assert metrics["data"]["weights"]["keras"] == "2.15.0"
    assert "| crop | whole | ours |" in read_bundle(out).card


def test_a_turned_class_order_turns_the_logit(tmp_path: Path):
    """The bundle's choices stay F, M, whatever the file's order is."""
    raw = []
    for order in ("F,M", "M,F"):
        out = tmp_path / order[0].lower()
        run(FIXTURES / "mobilenet.h5", "--out", out, "--output", "sex", "--classes", order)
        raw.append(read_bundle(out).manifest.golden.expected["sex"])

    assert raw[0] == -raw[1] != 0


def test_a_value_has_its_unit_scale_and_offset(tmp_path: Path):
    """A linear head is a value: raw * scale + offset."""
    numbers = ("--scale", "10", "--offset", "50")
    done = run(FIXTURES / "efficientnet.h5", "--out", tmp_path / "b", "--output", "age", *numbers)

    assert done.exit_code == 0, done.output
    (output,) = read_bundle(tmp_path / "b").manifest.output
    assert (output.name, output.concept, output.unit, output.scale, output.offset) == ("age", "EST-AGE", "a", 10, 50)


def test_two_units_may_be_two_values(tmp_path: Path):
    """A network of several values is named once for each, in order."""
    done = run(FIXTURES / "nested.h5", "--out", tmp_path / "b", "--output", "sbp", "--output", "dbp", "--range", "0-1")

    assert done.exit_code == 0, done.output
    assert [output.name for output in read_bundle(tmp_path / "b").manifest.output] == ["sbp", "dbp"]


@pytest.mark.parametrize(
    ("file", "options", "code", "words"),
    [
        (
            "nested",
            ["--output", "sex", "--classes", "F,M"],
            2,
            "hint: give --range (0-255, 0-1, -1-1, imagenet, caffe)",
        ),
        ("mobilenet", ["--output", "sex"], 2, "hint: give --classes F,M or M,F"),
        ("efficientnet", ["--output", "sex", "--classes", "F,M"], 2, "hint: say --logits"),
        ("mobilenet", ["--output", "sex", "--output", "age"], 2, "--output sex stands alone"),
        ("mobilenet", ["--output", "age", "--output", "age"], 2, "an --output is named twice"),
        ("mobilenet", ["--output", "age", "--classes", "F,M"], 2, "--classes is for --output sex"),
        ("mobilenet", ["--output", "age", "--scale", "1", "--scale", "2"], 2, "--scale is given 2 times for 1 outputs"),
        ("mobilenet", ["--output", "age", "--citation", "me"], 2, "need both --citation and --licence"),
        ("mobilenet", ["--output", "height"], 2, "'height'"),
        ("mobilenet", ["--output", "age", "--output", "bmi"], 1, "the network says 1 numbers, 2 were named"),
        ("mobilenet", ["--output", "age", "--size", "64", "64"], 1, "wants pictures of 48 x 48, not 64 x 64"),
        ("mobilenet", ["--output", "age", "--version", "one"], 2, "--version `one` must be three numbers"),
        ("mobilenet", ["--output", "age", "--name", "My Net"], 2, "--name `My Net` must be small letters and digits"),
        ("with_code", ["--output", "age"], 1, "layer `own_code`, a `Lambda`: it holds code of its own"),
        ("weights_only", ["--output", "age"], 1, "it holds weights only"),
        ("nothing", ["--output", "age"], 2, "does not exist"),
    ],
)
def test_what_is_wrong_or_missing_is_said(file: str, options: list[str], code: int, words: str, tmp_path: Path):
    """1 where the file cannot be imported, 2 where the user must say something else; nothing is left behind."""
    done = run(FIXTURES / f"{file}.h5", "--out", tmp_path / "b", *options)

    assert (done.exit_code, done.stdout) == (code, "")
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path):
    """A folder that is there stays as it is."""
    (tmp_path / "b").mkdir()
    done = run(FIXTURES / "mobilenet.h5", "--out", tmp_path / "b", "--output", "sex", "--classes", "F,M")

    assert done.exit_code == 1
    assert "is already there" in done.stderr
    assert list((tmp_path / "b").iterdir()) == []


def red_network(folder: Path, *, units: int) -> Path:
    """Write a network that looks at the mean red of a picture in the range 0 to 1: below 0.35 a man, above a woman.

    With two units it is a softmax of (woman, man); with one a value: 100 * red.
    """
    k = keras()
    activation = "softmax" if units == 2 else "linear"
    model = k.Sequential(
        [k.Input((SIDE, SIDE, 3)), k.layers.GlobalAveragePooling2D(), k.layers.Dense(units, activation=activation)]
    )
    kernel, bias = np.zeros((3, units)), np.zeros(units)
    kernel[0, 0], bias[0] = (40.0, -14.0) if units == 2 else (100.0, 0.0)
    model.layers[-1].set_weights([kernel, bias])
    model.save(folder / "red.h5")
    return folder / "red.h5"


def red_table(folder: Path, people: int, *, grey: bool = False) -> Path:
    """Write pictures of which only red says something, and their table."""
    rng, rows = np.random.default_rng(1), []
    for number in range(people):
        red = 0.2 + 0.3 * (number + 0.5) / people
        colour = np.array([red, red, red] if grey else [red, *rng.uniform(0.3, 0.7, 2)])
        pixels = np.clip((colour + rng.normal(0, 0.05, (SIDE, SIDE, 3))) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append((f"{number}.png", f"p{number}", "R", "F" if red > 0.35 else "M", round(100 * red, 1)))
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "person", "eye", "sex", "age"), *rows])
    return folder / "table.csv"


def test_a_probe_finds_range_colours_and_classes(tmp_path: Path):
    """Labelled photographs say what the file does not: all of it is tried, printed and stored."""
    file, table = red_network(tmp_path, units=2), red_table(tmp_path, 30)
    done = run(file, "--out", tmp_path / "b", "--output", "sex", "--probe", table)

    assert done.exit_code == 0, done.output
    bundle = read_bundle(tmp_path / "b")
    assert (bundle.manifest.input.colour, bundle.manifest.input.std) == ("RGB", (1.0, 1.0, 1.0))
    metrics = json.loads((tmp_path / "b" / "metrics.json").read_text(encoding="utf-8"))
    rows = metrics["probe"]["rows"]
    assert len(rows) == 2 * (4 * 2 + 1)
    assert {key: rows[0][key] for key in ("range", "colour", "classes")} == {
        "range": "0-1",
        "colour": "RGB",
        "classes": "F,M",
    }
    assert rows[0]["right"] > 0.9
    assert {row["what"]: row["who"] for row in metrics["decisions"]}["pixel range"] == "the probe"
    assert "30 photographs of 30 persons" in done.stderr


def test_a_probe_finds_the_range_of_a_value(tmp_path: Path):
    """For values it is the mean error that decides."""
    file, table = red_network(tmp_path, units=1), red_table(tmp_path, 30)
    done = run(file, "--out", tmp_path / "b", "--output", "age", "--probe", table)

    assert done.exit_code == 0, done.output
    assert read_bundle(tmp_path / "b").manifest.input.mean == (0.0, 0.0, 0.0)


def test_a_probe_that_is_not_clear_takes_nothing(tmp_path: Path):
    """Grey pictures do not tell the colour order: the user must."""
    file, table = red_network(tmp_path, units=2), red_table(tmp_path, 30, grey=True)
    done = run(file, "--out", tmp_path / "b", "--output", "sex", "--probe", table)

    assert done.exit_code == 2
    assert "no candidate is clearly best; hint: say --range, --colour and --classes" in done.stderr
    assert not (tmp_path / "b").exists()
    again = run(file, "--out", tmp_path / "b", "--output", "sex", "--probe", table, "--colour", "RGB")
    assert again.exit_code == 0, again.output


def test_a_probe_needs_people(tmp_path: Path):
    """A handful of photographs says nothing."""
    file, table = red_network(tmp_path, units=2), red_table(tmp_path, 6)
    done = run(file, "--out", tmp_path / "b", "--output", "sex", "--probe", table)

    assert done.exit_code == 2
    assert "the table has 6 persons with sex; hint: a probe needs 10 or more" in done.stderr


def test_a_probe_with_a_wrong_table_is_misuse(tmp_path: Path):
    """What is wrong with the table is said as everywhere."""
    (tmp_path / "table.csv").write_text("path,person\n")
    done = run(FIXTURES / "nested.h5", "--out", tmp_path / "b", "--output", "sex", "--probe", tmp_path / "table.csv")

    assert done.exit_code == 2
    assert "there is no column `eye`" in done.stderr
