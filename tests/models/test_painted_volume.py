"""OCT volumes made of painted eyes are valid DICOM, repeatable, and what was painted comes out of them again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from test_painted_study import VISIT, errors_in
from typer.testing import CliRunner

from oculard_models.data.disc_eyes import read_eyes
from oculard_models.data.oct_photograph import paint_photograph
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.data.painted_layers import SURFACES, wrap_height_map
from oculard_models.data.painted_study import write_study
from oculard_models.data.painted_volume import SYNTAXES, Syntax, as_topcon, volume_study, wrap_volume
from oculard_models.dicom_geometry import read_geometry
from oculard_models.dicom_layers import read_layers
from oculard_models.dicom_volume import read_voxels
from oculard_models.lab import app
from oculard_models.volumes.types import DISC_TYPES
from oculard_models.volumes.views import DEFAULT_VIEWS
from oculard_models.volumes.volume import Layers

LAB = CliRunner()
CONTRADICTED = (  # PS3.3 C.8.17.7 wants what the functional groups' module forbids: the validator says both
    "ConcatenationFrameOffsetNumber",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
)


def painted_eye(eye: str = "R", *, depth: int = 500, columns: int = 101) -> PaintedVolume:
    """Paint a small volume, of an odd number of columns."""
    return paint_volume(draw_eye(3, "myopic", eye=eye), frames=33, depth=depth, columns=columns)


@pytest.fixture(scope="module")
def left() -> PaintedVolume:
    """A left eye's volume: where anything is mirrored once too often it shows."""
    return painted_eye("L")


def assert_same_layers(read: Layers, painted: Layers) -> None:
    """What is read is what was painted, to a hundredth of a pixel, and missing where it was."""
    for name in SURFACES:
        np.testing.assert_allclose(getattr(read, name), getattr(painted, name), atol=0.01)


@pytest.mark.parametrize("syntax", ["raw", "rle", "jpeg-ls", "jpeg2000"])
def test_study_is_valid_dicom(syntax: Syntax, left: PaintedVolume, tmp_path: Path):
    """The validator finds no error but the Standard's own contradiction, in the volume."""
    paths = write_study(tmp_path, volume_study(left, VISIT, syntax=syntax, segmented=True))
    errors = [errors_in(path) for path in paths]

    assert errors[1:] == [[], []]
    assert len(errors[0]) == 3
    assert all(any(f"<{name}>" in line for name in CONTRADICTED) for line in errors[0])


@pytest.mark.parametrize("syntax", list(SYNTAXES))
def test_pixels_come_out_as_they_went_in(syntax: Syntax, left: PaintedVolume, tmp_path: Path):
    """Every syntax is lossless."""
    path = write_study(tmp_path, [wrap_volume(left, VISIT, uid="2.25.7", syntax=syntax)])[0]
    geometry = read_geometry(pydicom.dcmread(path))

    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    np.testing.assert_array_equal(read_voxels(path, geometry, voxels_max=10**7).pixels, left.volume.pixels)


def test_geometry_is_the_painted_one(left: PaintedVolume):
    """Spacing, order and extent can be read from the functional groups, with a photograph and without."""
    spacing = left.volume.spacing
    for photograph in (None, volume_study(left, VISIT)[1]):
        geometry = read_geometry(wrap_volume(left, VISIT, uid="2.25.7", photograph=photograph))

        assert geometry.order == tuple(range(33))
        assert not geometry.mirrored
        assert geometry.spacing.frame_um == pytest.approx(spacing.frame_um, rel=1e-4)
        assert geometry.spacing.depth_um == pytest.approx(spacing.depth_um, rel=1e-4)
        assert geometry.spacing.column_um == pytest.approx(spacing.column_um, rel=1e-4)


def test_slices_are_as_thick_as_a_devices():
    """A full scan of 6 mm has the slice thickness by which Topcon's macula and disc protocols are told apart."""
    painted = paint_volume(draw_eye(3, "myopic"), frames=128, depth=64, columns=32)
    shared = wrap_volume(painted, VISIT, uid="2.25.7").SharedFunctionalGroupsSequence[0]

    assert 0.03 <= shared.PixelMeasuresSequence[0].SliceThickness <= 0.05


def test_frames_may_be_stored_from_below(left: PaintedVolume, tmp_path: Path):
    """Stored from inferior to superior, the volume is the same: where frames lie says their position."""
    upwards = list(range(33))[::-1]
    path = write_study(tmp_path, [wrap_volume(left, VISIT, uid="2.25.7", order=upwards)])[0]
    geometry = read_geometry(pydicom.dcmread(path))

    assert geometry.order == tuple(upwards)
    np.testing.assert_array_equal(read_voxels(path, geometry, voxels_max=10**7).pixels, left.volume.pixels)


def test_surfaces_and_height_maps_hold_the_layers(left: PaintedVolume, tmp_path: Path):
    """Both objects give back the true layers of the volume to which they refer."""
    volume, _, surfaces = volume_study(left, VISIT, segmented=True)
    heights = wrap_height_map(left, volume, VISIT, uid="2.25.8")
    geometry = read_geometry(volume)

    for path in write_study(tmp_path, [surfaces, heights]):
        read = read_layers(path, geometry, volume_uid=volume.SOPInstanceUID)
        assert_same_layers(read, left.layers)


def test_height_map_follows_the_stored_order(left: PaintedVolume, tmp_path: Path):
    """The rows of a height map are the frames as they are stored."""
    upwards = list(range(33))[::-1]
    volume = wrap_volume(left, VISIT, uid="2.25.7", order=upwards)
    path = write_study(tmp_path, [wrap_height_map(left, volume, VISIT, uid="2.25.8", order=upwards)])[0]

    assert_same_layers(read_layers(path, read_geometry(volume), volume_uid="2.25.7"), left.layers)


def test_device_habits_do_not_hide_the_eye(left: PaintedVolume):
    """With retired codes and attributes missing it is still known which eye and where its frames lie."""
    ds = as_topcon(wrap_volume(left, VISIT, uid="2.25.7"))

    assert (ds.ImageLaterality, ds.Manufacturer) == ("L", "Topcon")
    assert ds.AnatomicRegionSequence[0].CodingSchemeDesignator == "SRT"
    assert "PupilDilated" not in ds
    assert read_geometry(ds).order == tuple(range(33))


@pytest.mark.parametrize("eye", ["R", "L"])
def test_frames_lie_on_the_disc_of_the_photograph(eye: str):
    """The frame and column of the disc's centre, drawn on the photograph, hit its disc."""
    painted = painted_eye(eye, depth=64)
    volume, photograph = volume_study(painted, VISIT)
    assert painted.disc_centre is not None
    frame, column = painted.disc_centre
    groups = volume.PerFrameFunctionalGroupsSequence
    row, first, _, last = groups[round(frame)].OphthalmicFrameLocationSequence[0].ReferenceCoordinates
    at = first + (last - first) * column / 100.0
    pixels = paint_photograph(painted.eye, 1024).astype(np.float32)
    disc = pixels[round(row) - 15 : round(row) + 15, round(at) - 15 : round(at) + 15, 1]

    assert photograph.ImageLaterality == volume.ImageLaterality == eye
    assert first < last
    assert np.percentile(disc, 80) > 1.5 * np.median(pixels[400:600, 400:600, 1])


def test_same_call_gives_the_same_bytes(left: PaintedVolume, tmp_path: Path):
    """A study that is made twice is the same study, so that it can be sent twice."""
    twice = [
        write_study(tmp_path / name, volume_study(left, VISIT, syntax="jpeg-ls", segmented=True)) for name in ("a", "b")
    ]

    assert [path.name for path in twice[0]] == [path.name for path in twice[1]]
    assert [path.read_bytes() for path in twice[0]] == [path.read_bytes() for path in twice[1]]


def test_instances_belong_to_one_study(left: PaintedVolume):
    """Volume, photograph and surfaces share study and patient; each kind has its own series."""
    study = volume_study(left, VISIT, segmented=True)

    assert len({ds.StudyInstanceUID for ds in study}) == len({ds.PatientID for ds in study}) == 1
    assert len({ds.SeriesInstanceUID for ds in study}) == len({ds.SOPInstanceUID for ds in study}) == 3
    assert [ds.Modality for ds in study] == ["OPT", "OP", "SEG"]


def test_paint_writes_views_and_a_table_to_train_with(tmp_path: Path):
    """The pictures and the table are what the training reads."""
    done = LAB.invoke(app, ["paint", str(tmp_path), "--oct", "--count", "5", "--size", "32"])
    eyes = read_eyes(tmp_path / "labels.csv", DEFAULT_VIEWS, 32)

    assert done.exit_code == 0, done.output
    assert len(done.stdout.split()) == 6
    assert sorted(DISC_TYPES[label] for label in eyes.labels) == sorted(DISC_TYPES)
    assert eyes.views.shape == (5, 4, 32, 32)
    assert eyes.views.std(axis=(2, 3)).min() > 5


def test_paint_writes_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With --dicom each eye is a volume with its photograph and surfaces, in a folder of its person."""
    from oculard_models.lab import painting_oct

    monkeypatch.setattr(painting_oct, "FULL_SIZE", (32, 100, 64))
    done = LAB.invoke(app, ["paint", str(tmp_path), "--oct", "--dicom", "--count", "1", "--syntax", "jpeg-ls"])
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert done.exit_code == 0, done.output
    ds = pydicom.dcmread(tmp_path / rows[0]["image"])
    assert (ds.Modality, ds.NumberOfFrames, ds.ImageLaterality) == ("OPT", 32, rows[0]["eye"])
    assert {pydicom.dcmread(path).Modality for path in tmp_path.glob("*/*.dcm")} == {"OPT", "OP", "SEG"}


def test_unknown_syntax_and_two_kinds_of_scan_are_refused(tmp_path: Path):
    """The words say what to do."""
    syntax = LAB.invoke(app, ["paint", str(tmp_path), "--oct", "--dicom", "--syntax", "png"])
    both = LAB.invoke(app, ["paint", str(tmp_path), "--oct", "--octa"])

    assert (syntax.exit_code, both.exit_code) == (2, 2)
    assert "hint: raw, deflated, rle, jpeg-ls, jpeg2000" in syntax.stderr
    assert "hint: oculard-lab paint FOLDER --oct" in both.stderr


def test_photograph_shows_which_eye_it_is():
    """A right eye's disc is right of the middle, a left one's left."""
    eyes = {eye: paint_photograph(draw_eye(3, "normal", eye=eye), 256)[..., 1].astype(int) for eye in "RL"}

    brightest = {eye: int(np.argmax(np.sort(pixels, axis=0)[-8:].mean(axis=0))) for eye, pixels in eyes.items()}
    assert brightest["R"] > 128 > brightest["L"]


def test_uid_depends_on_what_is_shown(left: PaintedVolume):
    """Two eyes of a visit, and two syntaxes of a volume, are two instances."""
    uids = {
        volume_study(painted, VISIT, syntax=syntax)[0].SOPInstanceUID
        for painted in (left, painted_eye("R", depth=64))
        for syntax in ("raw", "rle")
    }

    assert len(uids) == 4
