"""The command `oculard-lab`."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from bundle_samples import edit_manifest, shipped_copy
from PIL import Image
from typer.testing import CliRunner

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_people
from oculard_models.data.table import read_table
from oculard_models.lab import app
from oculard_models.manifest import read_manifest

LAB = CliRunner()


def test_paint_writes_pictures_and_their_attributes(tmp_path: Path):
    """Paths go to stdout, the planted attributes into a table that trains, and both describe the same people."""
    done = LAB.invoke(
        app, ["paint", str(tmp_path / "eyes"), "--count", "2", "--size", "96", "--csv", str(tmp_path / "t.csv")]
    )

    assert done.exit_code == 0
    paths = [Path(line) for line in done.stdout.split()]
    assert [path.name for path in paths] == ["1000000_R.png", "1000000_L.png", "1000001_R.png", "1000001_L.png"]
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    people = sample_people(2, seed=1)
    assert [float(row["age"]) for row in rows] == [person.age for person in people for _ in "RL"]
    np.testing.assert_array_equal(np.asarray(Image.open(paths[3])), paint(people[1], "L", 1_000_001, 96))
    table = read_table(tmp_path / "t.csv", images=tmp_path / "eyes")
    assert [(p.path, p.eye) for p in table.photographs] == list(zip(paths, "RLRL", strict=True))


def test_paint_writes_dicom_studies(tmp_path: Path):
    """With --dicom every person is a folder with a study of both eyes."""
    done = LAB.invoke(app, ["paint", str(tmp_path), "--count", "2", "--size", "96", "--dicom"])

    assert done.exit_code == 0
    assert [len(list(folder.glob("*.dcm"))) for folder in sorted(tmp_path.iterdir())] == [2, 2]


def test_list_shows_the_shipped_bundle_as_ready():
    """Every bundle is loaded and tested before it is called ready."""
    done = LAB.invoke(app, ["list", "--json"])

    assert done.exit_code == 0
    assert [(row["bundle"], row["status"]) for row in json.loads(done.stdout)] == [
        ("disc-demo 1.0.0", "ready"),
        ("faz 1.0.0", "ready"),
        ("faz-int8 1.0.0", "ready"),
        ("fundus-quality 1.0.0", "ready"),
        ("glaucoma-demo 1.0.0", "ready"),
        ("systemic-demo 1.1.0", "ready"),
    ]


def test_list_fails_on_a_refused_bundle_and_says_why(tmp_path: Path):
    """A bundle that fails its self-test is listed with the reason, and the exit code says so."""
    folder = shipped_copy(tmp_path)
    edit_manifest(folder, 'version = "1.1.0"', 'version = "9.0.0"')
    edit_manifest(folder, f"sex = {read_manifest(folder).golden.expected['sex']}", "sex = 77.0")
    done = LAB.invoke(app, ["list", str(tmp_path), "--json"])

    assert done.exit_code == 1
    *shipped, refused = json.loads(done.stdout)
    assert {row["status"] for row in shipped} == {"ready"}
    assert refused["status"] == "refused"
    assert "self-test failed: `sex`" in refused["reason"]


def test_quality_prints_grade_and_measures(tmp_path: Path):
    """One row a photograph."""
    Image.fromarray(paint(sample_people(1, seed=1)[0], "R", 1, 300)).save(tmp_path / "eye.jpg", quality=95)
    Image.new("RGB", (300, 300)).save(tmp_path / "black.jpg")
    done = LAB.invoke(app, ["quality", str(tmp_path), "--json"])

    assert done.exit_code == 0
    rows = {row["file"]: row for row in json.loads(done.stdout)}
    assert rows["eye.jpg"]["grade"] == "good"
    assert rows["black.jpg"]["grade"] == "ungradable"
    assert "no-field" in rows["black.jpg"]["reasons"]


def test_quality_of_nothing_fails_with_a_hint(tmp_path: Path):
    """An empty folder is a mistake."""
    done = LAB.invoke(app, ["quality", str(tmp_path)])

    assert (done.exit_code, done.stdout) == (1, "")
    assert "hint: name others with --pattern" in done.stderr


@pytest.mark.parametrize("arguments", [["paint"], ["paint", "x", "--count", "0"], ["nonsense"], ["train", "nothing"]])
def test_misuse_exits_with_two(arguments: list[str]):
    """Wrong arguments are told from failures."""
    assert LAB.invoke(app, arguments).exit_code == 2


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_training_without_torch_names_the_extra():
    """Without the extra `lab` the command says what to install."""
    done = LAB.invoke(app, ["train", "systemic-demo"])

    assert done.exit_code == 1
    assert "pip install 'oculard[lab]'" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed (extra `lab`)")
def test_training_lists_its_settings():
    """Every setting of the script is an option of the command."""
    done = LAB.invoke(app, ["train", "systemic-demo", "--help"])

    assert done.exit_code == 0
    assert "--people" in done.stdout
