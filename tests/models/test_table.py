"""The table of a study: what it says, and what it may not say."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from studies import HEADER, people, write_photograph, write_table

from oculard_models.data.paint import paint
from oculard_models.data.painted_study import Visit, wrap_fundus, write_study
from oculard_models.data.parquet import ParquetWrong, read_parquet
from oculard_models.data.person import sample_people
from oculard_models.data.table import TableWrong, must_know, read_table

polars = pytest.importorskip("polars", reason="polars is not installed (extra `lab`)")

FATAL_AT = 43  # with another byte there, polars 2.1 asks for 2 EiB and aborts its process
VISIT = Visit(study_uid="2.25.1", series_uid="2.25.2")


def wrap(folder: Path, uid: str, eye: str, seed: int = 1) -> Path:
    """Write one painted DICOM photograph."""
    pixels = paint(sample_people(1, seed=1)[0], "R", seed, 64)
    return write_study(folder, [wrap_fundus(pixels, VISIT, eye=eye, uid=uid)])[0]


def test_table_says_who_which_eye_and_what_is_known(tmp_path: Path):
    """Sex becomes 0 or 1, numbers become numbers, and what nobody knows is left out."""
    rows = ["a.png,ann,R,F,51.5", "b.png,ann,L,F,NaN", "c.png,bob,R,NA,", "d.png,bob,L,M,60"]
    table = read_table(write_table(tmp_path, rows))

    assert [dict(p.values) for p in table.photographs] == [
        {"sex": 0, "age": 51.5},
        {"sex": 0},
        {},
        {"sex": 1, "age": 60},
    ]
    assert [(p.path.name, p.person, p.eye) for p in table.photographs][1] == ("b.png", "ann", "L")
    assert (table.persons, table.name, len(table.sha256)) == (("ann", "bob"), "table.csv", 64)
    assert [p.path.name for p in table.of(["bob"])] == ["c.png", "d.png"]


def test_parquet_and_csv_say_the_same(tmp_path: Path):
    """Numbers of a Parquet file, missing ones too, are read as those of a CSV file."""
    csv = write_table(tmp_path, people(3))
    frame = polars.read_csv(csv).with_columns(polars.col("age").replace(31, None).cast(polars.Float32))
    frame.write_parquet(tmp_path / "table.parquet")
    from_csv, from_parquet = read_table(csv), read_table(tmp_path / "table.parquet")

    assert [p.path for p in from_csv.photographs] == [p.path for p in from_parquet.photographs]
    assert [p.values.get("age") for p in from_parquet.photographs] == [30, 30, None, None, 32, 32]


def test_unread_columns_are_named_and_blank_rows_passed_over(tmp_path: Path):
    """A column that nobody reads is said, and is no mistake; nor is what a spreadsheet leaves below its last row."""
    table = read_table(write_table(tmp_path, ["a.png,ann,R,F,51,x", ",,,,,", "b.png,ann,L,F,51,y"], HEADER + ",Age"))

    assert len(table.photographs) == 2
    assert table.warnings == ("table.csv: columns that nobody reads: Age",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b.png,ann,R,F,151", "row 2, column `age`: expected a number from 0 to 120, got `151`; hint: the unit is a"),
        ("b.png,ann,R,F,-1", "row 2, column `age`"),
        ("b.png,ann,R,F,inf", "got `inf`"),
        ("b.png,ann,R,F,5_1", "got `5_1`"),
        ("b.png,ann,R,F,５１", "got `５１`"),
        ('b.png,ann,R,F,"51,5"', "got `51,5`"),
        ("b.png,ann,R,female,51", "row 2, column `sex`: expected F or M, got `female`"),
        ("b.png,ann,R,M,51", "row 2, column `sex`: row 1 says F of the same person, got `M`"),
        ("b.png,ann,OD,F,51", "row 2, column `eye`: expected R or L, got `OD`"),
        ("b.png,ann,,F,51", "row 2, column `eye`: the eye is not known"),
        ("b.png,,R,F,51", "row 2, column `person`: whose photograph is it?"),
        ("a.png,ann,L,F,51", "row 2, column `path`: row 1 already names this photograph"),
        ("./a.png,ann,L,F,51", "row 1 already names this photograph"),
        ("none.jpg,ann,R,F,51", "row 2, column `path`: there is no such file, got `none.jpg`"),
        (",ann,R,F,51", "row 2, column `path`: there is no such file"),
        ("../secret.png,ann,R,F,51", "the path leads out of the folder"),
        ("{outside}/secret.png,ann,R,F,51", "the path leads out of the folder"),
        ("link.jpg,ann,R,F,51", "the path leads out of the folder"),
        ("x\0.jpg,ann,R,F,51", "the path leads out of the folder"),
        ("b.png,ann,R,F,51,x,y", "cannot be read as CSV: found more fields than defined"),
    ],
)
def test_wrong_row_is_named(tmp_path: Path, row: str, said: str):
    """File, row, column and value are in the message, and what to do."""
    write_photograph(tmp_path / "secret.png")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "link.jpg").symlink_to(tmp_path / "secret.png")
    path = write_table(tmp_path / "study", ["a.png,ann,R,F,51", row.format(outside=tmp_path)])

    with pytest.raises(TableWrong) as caught:
        read_table(path)

    assert str(caught.value).startswith("table.csv")
    assert said in str(caught.value)
    assert "; hint: " in str(caught.value)


def test_short_row_knows_less(tmp_path: Path):
    """Cells that a row leaves out at its end are values that nobody knows."""
    table = read_table(write_table(tmp_path, ["a.png,ann,R,F,51", "b.png,ann,L,F"]))

    assert dict(table.photographs[1].values) == {"sex": 0.0}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,eye,sex,age", "there is no column `person`; hint: the columns are path, eye, sex, age"),
        ("path,person,sex,age", "there is no column `eye`"),
        ("file,person,eye,age", "there is no column `path` or `sop_instance_uid`; hint: the columns are person"),
        ("path,person,eye,age,age", "column `age`: the column is there twice"),
    ],
)
def test_wrong_header_is_named(tmp_path: Path, header: str, said: str):
    """A missing column is named beside those that are there."""
    with pytest.raises(TableWrong) as caught:
        read_table(write_table(tmp_path, [], header))

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "cannot be read as CSV: empty"),
        ("t.csv", b"path,person,eye\n", "there is no row below the header"),
        ("t.csv", "path,person,eye\na.png,山田,R\n".encode("cp932"), "cannot be read as CSV: invalid utf-8"),
        ("t.parquet", b"PAR1" + b"\xff" * 60 + b"PAR1", "cannot be read as Parquet"),
        ("t.parquet", b"", "cannot be read as Parquet"),
        ("t.xlsx", b"PK", "is no kind of table that is read; hint: one of .csv .parquet"),
        ("none.csv", None, "there is no such file"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes | None, said: str):
    """What is no table is refused in one line."""
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(TableWrong) as caught:
        read_table(tmp_path / name)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [FATAL_AT, 60, 200, 400])
def test_damaged_parquet_never_escapes(tmp_path: Path, at: int):
    """A damaged Parquet file is read or refused; one that takes its reader down leaves us standing."""
    polars.DataFrame({"path": ["a.png", "b.png"]}).write_parquet(tmp_path / "t.parquet", compression="uncompressed")
    whole = (tmp_path / "t.parquet").read_bytes()
    damaged = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]

    with contextlib.suppress(ParquetWrong):
        assert read_parquet(damaged, ["path"], rows_max=10).rows >= 0


def test_instances_are_found_by_their_uid(tmp_path: Path):
    """A table may name instances of the daemon's vault; an eye that it leaves out is read from the header."""
    first = wrap(tmp_path / "vault" / "ab", "2.25.11", "R")
    second = wrap(tmp_path / "vault" / "cd", "2.25.12", "L")
    path = write_table(tmp_path, ["2.25.12,ann,,F,51", "2.25.11,ann,R,F,51"], "sop_instance_uid,person,eye,sex,age")
    table = read_table(path, images=tmp_path / "vault")

    assert [(p.path, p.eye) for p in table.photographs] == [(second.resolve(), "L"), (first.resolve(), "R")]


def test_instance_in_two_files_is_refused_unless_they_are_equal(tmp_path: Path):
    """Of two different files with one UID nobody can say which is meant."""
    first = wrap(tmp_path / "a", "2.25.11", "R")
    (tmp_path / "b").mkdir()
    shutil.copy(first, tmp_path / "b" / "copy.dcm")
    wrap(tmp_path / "c", "2.25.12", "R")
    wrap(tmp_path / "d", "2.25.12", "R", seed=2)
    header = "sop_instance_uid,person,eye"

    assert len(read_table(write_table(tmp_path, ["2.25.11,ann,R"], header)).photographs) == 1
    with pytest.raises(TableWrong, match=r"instance 2\.25\.12 is in two different files"):
        read_table(write_table(tmp_path, ["2.25.12,ann,R"], header))
    with pytest.raises(TableWrong, match="row 1, column `sop_instance_uid`: there is no such instance"):
        read_table(write_table(tmp_path, ["2.25.13,ann,R"], header))


@pytest.mark.parametrize(
    ("image", "frame", "said"),
    [("", "", "the eye is not known"), ("R", "L", "the eye is not known"), ("B", "", "the eye is not known")],
)
def test_eye_is_never_guessed(tmp_path: Path, image: str, frame: str, said: str):
    """A header that is silent, contradicts itself or says both eyes says nothing."""
    from pydicom import dcmread

    path = wrap(tmp_path, "2.25.11", image)
    ds = dcmread(path)
    ds.Laterality = frame
    ds.save_as(path)

    with pytest.raises(TableWrong, match=f"row 1, column `eye`: {said}"):
        read_table(write_table(tmp_path, ["2.25.11.dcm,ann,,F,51"]))


def test_eye_that_contradicts_the_header_is_refused(tmp_path: Path):
    """One of the two is wrong, and nobody here knows which."""
    wrap(tmp_path, "2.25.11", "R")

    with pytest.raises(TableWrong, match="the header of the photograph says R, got `L`"):
        read_table(write_table(tmp_path, ["2.25.11.dcm,ann,L,F,51"]))


def test_targets_that_nobody_knows_are_named(tmp_path: Path):
    """Training for a target needs somebody of whom it is known."""
    table = read_table(write_table(tmp_path, ["a.png,ann,R,F,"]))

    must_know(table, ["sex"])
    with pytest.raises(TableWrong, match="column `age`: is known of nobody; hint: this table knows sex"):
        must_know(table, ["sex", "age"])
    with pytest.raises(TableWrong, match="is no target; targets are sex, age"):
        must_know(table, ["height"])
