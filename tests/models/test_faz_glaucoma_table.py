"""The table of the study of glaucoma is read whole, or refused with the row that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the study needs the extra `lab` (scikit-learn)")

from faz_samples import faz_bundle, rows_of, write_eyes
from typer.testing import CliRunner

from oculard_models.data.octa_cohort import painted_faz_cohort
from oculard_models.data.table_file import TableWrong
from oculard_models.lab import app
from oculard_models.train.faz_glaucoma import Settings
from oculard_models.train.faz_glaucoma_table import MEASURES, read_eyes
from oculard_models.train.settings import TrainingWrong

LAB = CliRunner()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    """A small table that is right."""
    return rows_of(painted_faz_cohort(1, 60))


def changed(rows: list[dict[str, object]], **values: object) -> list[dict[str, object]]:
    """Return the rows with the third one changed."""
    return [row | values if at == 2 else row for at, row in enumerate(rows)]


NONSENSE = {
    "one class": (lambda rows: [row | {"glaucoma": 1} for row in rows], "0 persons without are too few"),
    "too few persons": (lambda rows: rows[:40], "persons without are too few"),
    "no number": (lambda rows: changed(rows, area="NaN"), "row 3, column `area`: is no number, got `NaN`"),
    "an empty cell": (lambda rows: changed(rows, perimeter=""), "row 3, column `perimeter`: is no number"),
    "infinite": (lambda rows: changed(rows, age="inf"), "row 3, column `age`: is no number"),
    "an eye twice": (lambda rows: [*rows, rows[0]], "row 121: the same eye of the same person as row 1"),
    "an area in pixels": (lambda rows: changed(rows, area=9800), "is not within 0.02 and 3"),
    "a negative area": (lambda rows: changed(rows, area=-0.3), "is not within 0.02 and 3"),
    "a circularity above 1": (lambda rows: changed(rows, circularity=1.3), "column `circularity`: is not within"),
    "measures that contradict each other": (
        lambda rows: changed(rows, area=0.3, perimeter=4.0, circularity=0.7),
        "make a circularity of 0.236, the table says 0.700",
    ),
    "another label": (lambda rows: changed(rows, glaucoma="2"), "column `glaucoma`: is no label, got `2`"),
    "no eye": (lambda rows: changed(rows, eye="B"), "column `eye`: is no eye, got `B`"),
    "nobody": (lambda rows: changed(rows, person=""), "row 3, column `person`: nobody is named"),
    "two columns of labels": (lambda rows: [row | {"label": 1} for row in rows], "both columns are there"),
    "no measure": (
        lambda rows: [{name: row[name] for name in row if name != "area"} for row in rows],
        "column `area`: the column is not there",
    ),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_its_row(name: str, tmp_path: Path, rows: list[dict[str, object]]):
    """A table that cannot be right ends in words with a hint, never in a figure."""
    spoil, words = NONSENSE[name]
    with pytest.raises(TableWrong, match="hint: ") as caught:
        read_eyes(write_eyes(tmp_path / "eyes.csv", spoil(rows)))

    assert words in str(caught.value)
    assert "painted-1-" not in str(caught.value)  # nobody is named


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": 21}, {"seed": -1}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int]):
    """More folds than persons of a class would leave folds without one."""
    with pytest.raises(TrainingWrong, match="must lie within"):
        Settings(table="t", bundle="b", out="o", **wrong)  # type: ignore[arg-type]


def test_other_names_of_columns_are_read(tmp_path: Path, rows: list[dict[str, object]]):
    """`patient_id` and `label` say the same."""
    named = [
        {"patient_id": row["person"], "label": row["glaucoma"]} | {k: row[k] for k in ("eye", *MEASURES)}
        for row in rows
    ]
    eyes = read_eyes(write_eyes(tmp_path / "eyes.csv", named))

    assert eyes.truth.sum() == 60.0
    assert set(eyes.values) == set(MEASURES)


def test_command_refuses_a_bad_table_with_2(tmp_path: Path, rows: list[dict[str, object]]):
    """What was asked wrongly leaves with 2 and leaves nothing behind."""
    table = write_eyes(tmp_path / "eyes.csv", changed(rows, area="9800"))
    words = ["--table", str(table), "--bundle", str(faz_bundle(tmp_path)), "--out", str(tmp_path / "new")]
    done = LAB.invoke(app, ["train", "faz-glaucoma", *words])

    assert done.exit_code == 2
    assert "wanted in mm2" in done.stderr
    assert not (tmp_path / "new").exists()
