"""En face instances made of painted angiographies are valid, repeatable, and say what they show."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from test_painted_study import VISIT, errors_in
from typer.testing import CliRunner

from oculard_models.data.paint_octa import paint_octa
from oculard_models.data.painted_enface import octa_study, wrap_en_face
from oculard_models.data.painted_study import write_study
from oculard_models.lab import app

LAB = CliRunner()
REAL_COLUMNS = ["id", "image", "mask", "plexus", "faz_area_px", "same_scan_as"]


def rows_of(table: Path) -> list[dict[str, str]]:
    """Read a table."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_study_is_valid_dicom(tmp_path: Path):
    """The validator finds no error in any instance, also where the number of pixels is odd."""
    study = octa_study(3, size_px=129)

    assert [errors_in(path) for path in write_study(tmp_path, [scan.ds for scan in study])] == [[], [], [], []]


def test_study_says_eye_slab_and_spacing(tmp_path: Path):
    """Right before left, superficial before deep, each coded; spacing is the field over the pixels."""
    paths = write_study(tmp_path, [scan.ds for scan in octa_study(3, size_px=96)])
    study = [pydicom.dcmread(path) for path in paths]
    slabs = [ds.OphthalmicImageTypeCodeSequence[0] for ds in study]

    assert [ds.ImageLaterality for ds in study] == ["R", "R", "L", "L"]
    assert [(slab.CodeValue, slab.CodingSchemeDesignator) for slab in slabs] == 2 * [
        ("128265", "DCM"),
        ("128269", "DCM"),
    ]
    assert {ds.SOPClassUID for ds in study} == {"1.2.840.10008.5.1.4.1.1.77.1.5.7"}
    assert {ds.Modality for ds in study} == {"OPTENF"}
    assert {tuple(ds.PixelSpacing) for ds in study} == {(3.0 / 96, 3.0 / 96)}
    assert len({ds.SOPInstanceUID for ds in study}) == 4
    assert len({ds.StudyInstanceUID for ds in study}) == len({ds.SeriesInstanceUID for ds in study}) == 1


def test_pixels_come_out_as_they_went_in(tmp_path: Path):
    """Nothing is compressed on the way."""
    scan = octa_study(3, size_px=97)[0]
    path = write_study(tmp_path, [scan.ds])[0]

    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, scan.octa.pixels)


def test_same_seed_gives_the_same_bytes(tmp_path: Path):
    """A study that is made twice is the same study, so that it can be sent twice."""
    twice = [write_study(tmp_path / name, [scan.ds for scan in octa_study(4, size_px=64)]) for name in ("a", "b")]

    assert [path.name for path in twice[0]] == [path.name for path in twice[1]]
    assert [path.read_bytes() for path in twice[0]] == [path.read_bytes() for path in twice[1]]


def test_spacing_may_be_left_out():
    """An instance without Pixel Spacing can be made for tests: no device's is believed to have none."""
    ds = wrap_en_face(paint_octa(1, 64).pixels, VISIT, eye="", uid="2.25.1", plexus="deep", side_mm=None)

    assert "PixelSpacing" not in ds
    assert ds.ImageLaterality == ""


def test_colour_pixels_cannot_be_wrapped():
    """An en face image is grey."""
    with pytest.raises(ValueError, match="expected rows x columns of uint8"):
        wrap_en_face(np.zeros((8, 8, 3), dtype=np.uint8), VISIT, eye="R", uid="1.2", plexus="deep", side_mm=3.0)


def test_paint_writes_pictures_masks_and_labels(tmp_path: Path):
    """The table has the real one's columns first, and its masks and areas are the painted ones."""
    done = LAB.invoke(app, ["paint", str(tmp_path), "--octa", "--count", "2", "--size", "96"])
    rows = rows_of(tmp_path / "labels.csv")

    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [*(str(tmp_path / row["image"]) for row in rows), str(tmp_path / "labels.csv")]
    assert len(rows) == 8
    assert list(rows[0])[:6] == REAL_COLUMNS
    octa = paint_octa(2 * 1_000_001 + 1, 96, plexus="deep")
    last = rows[-1]
    assert (last["plexus"], last["person"], last["eye"]) == ("deep", "painted-1000001", "L")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / last["image"])), octa.pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / last["mask"])) > 127, octa.mask)
    assert int(last["faz_area_px"]) == octa.mask.sum()
    assert float(last["side_mm"]) == 3.0


def test_paint_writes_studies_with_masks(tmp_path: Path):
    """With --dicom every person is a folder, and the table names the instances."""
    table = tmp_path / "t.csv"
    done = LAB.invoke(
        app, ["paint", str(tmp_path / "o"), "--octa", "--dicom", "--count", "1", "--size", "96", "--csv", str(table)]
    )
    rows = rows_of(table)

    assert done.exit_code == 0, done.output
    assert len(rows) == 4
    for row in rows:
        ds = pydicom.dcmread(tmp_path / "o" / row["image"])
        mask = np.asarray(Image.open(tmp_path / "o" / row["mask"])) > 127
        assert ds.ImageLaterality == row["eye"]
        assert ds.pixel_array[mask].mean() < ds.pixel_array[~mask].mean()


def test_glaucoma_without_angiographies_is_refused(tmp_path: Path):
    """Photographs have no planted glaucoma; the words say what to do."""
    done = LAB.invoke(app, ["paint", str(tmp_path), "--glaucoma"])

    assert done.exit_code == 2
    assert "hint: oculard-lab paint FOLDER --octa --glaucoma" in done.stderr
    assert not list(tmp_path.iterdir())
