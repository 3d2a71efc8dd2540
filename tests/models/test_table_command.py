"""The command `oculard-lab table`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from studies import people, write_table
from typer.testing import CliRunner

from oculard_models.lab.tables import table_check

pytest.importorskip("polars", reason="polars is not installed (extra `lab`)")

LAB = CliRunner()
app = typer.Typer()
app.command()(table_check)


def test_table_prints_what_is_known(tmp_path: Path):
    """Photographs, persons, eyes, and each target with how many know it."""
    path = write_table(tmp_path, [*people(4), "x.png,p0,R,,NA"])
    done = LAB.invoke(app, [str(path), "--json"])
    said = json.loads(done.stdout)
    known = {row["target"]: row for row in said["known"]}

    assert done.exit_code == 0
    assert (said["photographs"], said["persons"], said["right"], said["left"]) == (9, 4, 5, 4)
    assert (known["sex"]["photographs"], known["sex"]["female"], known["sex"]["male"]) == (8, 4, 4)
    assert (known["age"]["mean"], known["age"]["median"], known["age"]["persons"]) == (31.5, 31.5, 4)
    assert known["bmi"] == {"target": "bmi", "unit": "kg/m2", "photographs": 0, "persons": 0}


def test_split_is_written_once_and_then_checked(tmp_path: Path):
    """A split that is there is never made anew; one of another table is refused."""
    path = write_table(tmp_path, people(10))
    first = LAB.invoke(app, [str(path), "--split", str(tmp_path / "split.json"), "--seed", "3"])
    written = (tmp_path / "split.json").read_bytes()
    second = LAB.invoke(app, [str(path), "--split", str(tmp_path / "split.json"), "--seed", "4"])
    write_table(tmp_path, people(11))
    third = LAB.invoke(app, [str(path), "--split", str(tmp_path / "split.json")])

    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 0, 2)
    assert "training     6        12" in first.stdout
    assert (tmp_path / "split.json").read_bytes() == written
    assert "seed 3" in second.stderr
    assert "splits another table" in third.stderr


@pytest.mark.parametrize(("row", "said"), [("a.png,ann,X,F,51", "row 1, column `eye`"), ("a.png,ann,R,F,999", "`age`")])
def test_wrong_table_exits_with_two(tmp_path: Path, row: str, said: str):
    """The message stands on stderr, and nothing on stdout."""
    done = LAB.invoke(app, [str(write_table(tmp_path, [row]))])

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_unreadable_photographs_are_all_named(tmp_path: Path):
    """With --read every photograph is read, and exit 1 says that some cannot be."""
    path = write_table(tmp_path, ["a.png,ann,R,F,51", "b.png,ann,L,F,51", "c.png,bob,L,F,51"])
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    done = LAB.invoke(app, [str(path), "--read"])

    assert done.exit_code == 1
    assert "a.png is no colour photograph" in done.stderr
    assert "c.png is no JPEG" in done.stderr
    assert "2 of 3 photographs cannot be read" in done.stderr
