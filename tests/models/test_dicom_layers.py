"""Layers that a device found: surfaces in millimetres and height maps in pixels, as layers of the volume as read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import FileDataset

from oculard_models.data.oct_eye import draw_eye
from oculard_models.data.paint_oct import PaintedVolume, paint_volume
from oculard_models.data.painted_layers import wrap_height_map, wrap_surfaces
from oculard_models.data.painted_study import Visit
from oculard_models.data.painted_volume import wrap_volume
from oculard_models.dicom_geometry import Geometry, Unfit, read_geometry
from oculard_models.dicom_layers import NAMES, read_layers
from oculard_models.dicom_pixels import Undecodable
from oculard_models.volumes.volume import Layers

VISIT = Visit(study_uid="2.25.11", series_uid="2.25.12")
WRAPS = pytest.mark.parametrize("wrap", [wrap_surfaces, wrap_height_map])
Wrap = Callable[..., FileDataset]


@pytest.fixture(scope="module")
def painted() -> PaintedVolume:
    """A small left eye's volume, without layers in one corner."""
    found = paint_volume(draw_eye(5, "normal"), frames=32, depth=220, columns=64, seed=1)
    for name in NAMES:
        getattr(found.layers, name)[:3, :10] = np.nan
    return found


@pytest.fixture(scope="module")
def volume(painted: PaintedVolume) -> FileDataset:
    """The same, as DICOM."""
    return wrap_volume(painted, VISIT, uid="2.25.13")


def read(ds: FileDataset, volume: FileDataset, path: Path, known: Geometry | None = None) -> Layers:
    """The layers of an object, written and read."""
    ds.save_as(path, enforce_file_format=True)
    return read_layers(
        path,
        known or read_geometry(volume),
        volume_uid=volume.SOPInstanceUID,
        frame_of_reference_uid=volume.FrameOfReferenceUID,
    )


def reason_of(ds: FileDataset, volume: FileDataset, path: Path) -> str:
    """Why they are not read."""
    with pytest.raises((Unfit, Undecodable)) as caught:
        read(ds, volume, path)
    return str(caught.value.reason)  # type: ignore[attr-defined]  # both have one


@WRAPS
def test_layers_come_as_the_device_found_them(
    tmp_path: Path, painted: PaintedVolume, volume: FileDataset, wrap: Wrap
) -> None:
    """To a tenth of a pixel, and nothing where there is nothing."""
    found = read(wrap(painted, volume, VISIT, uid="2.25.14"), volume, tmp_path / "l.dcm")

    whole = np.all([np.isfinite(getattr(painted.layers, name)) for name in NAMES], axis=0)
    for name in NAMES:
        heights, true = getattr(found, name), getattr(painted.layers, name)
        assert heights.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(heights) & whole, whole)
        assert not np.isfinite(heights[:3, :10]).any()
        assert np.abs(heights - true)[whole].max() < 0.1


@WRAPS
def test_layers_turn_with_their_volume(tmp_path: Path, painted: PaintedVolume, volume: FileDataset, wrap: Wrap) -> None:
    """Where the geometry turns frames and columns round, height maps turn; surfaces lie in the patient, and do not."""
    known = read_geometry(volume)
    ds = wrap(painted, volume, VISIT, uid="2.25.14")
    turned = read(
        ds, volume, tmp_path / "l.dcm", replace(known, order=known.order[::-1], mirrored=True, corner_mm=None)
    )

    plain = read(ds, volume, tmp_path / "l.dcm")
    expected = plain.ilm[::-1, ::-1] if wrap is wrap_height_map else plain.ilm
    np.testing.assert_allclose(turned.ilm, expected, atol=1e-3)


def test_a_corner_without_points_shifts_nothing(tmp_path: Path, painted: PaintedVolume, volume: FileDataset) -> None:
    """The uppermost frame has no points at all: the volume's own corner says where the others lie."""
    ds = wrap_surfaces(painted, volume, VISIT, uid="2.25.14")
    for surface in ds.SurfaceSequence:
        points = np.frombuffer(surface.SurfacePointsSequence[0].PointCoordinatesData, "<f4").reshape(-1, 3)
        points = points[(points[:, 2] < points[:, 2].max() - 0.5) & (points[:, 0] > points[:, 0].min() + 0.5)]
        surface.SurfacePointsSequence[0].PointCoordinatesData = points.tobytes()

    found = read(ds, volume, tmp_path / "l.dcm")

    both = np.isfinite(found.bm) & np.isfinite(painted.layers.bm)
    assert both.any()
    assert np.abs(found.bm - painted.layers.bm)[both].max() < 0.1


@WRAPS
@pytest.mark.parametrize("coded", [True, False])
def test_surfaces_are_known_by_code_or_by_label(
    tmp_path: Path, painted: PaintedVolume, volume: FileDataset, wrap: Wrap, coded: bool
) -> None:
    """A standard code is enough, and so are the device's own words."""
    ds = wrap(painted, volume, VISIT, uid="2.25.14")
    for segment in ds.SegmentSequence:
        if coded:
            segment.SegmentLabel = "x"
        else:
            segment.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator = "99TOPCON"
    for surface in ds.get("SurfaceSequence", []):
        surface.SurfaceComments = "x"

    assert np.isfinite(read(ds, volume, tmp_path / "l.dcm").ilm).any()


@WRAPS
def test_of_another_volume(tmp_path: Path, painted: PaintedVolume, volume: FileDataset, wrap: Wrap) -> None:
    """Layers that refer to another volume are never used, though patient, study and space are the same."""
    ds = wrap(painted, volume, VISIT, uid="2.25.14")
    other = wrap_volume(painted, VISIT, uid="2.25.99")

    assert reason_of(ds, other, tmp_path / "l.dcm") == "layers-of-another"


def test_the_same_space_is_enough_where_no_volume_is_named(
    tmp_path: Path, painted: PaintedVolume, volume: FileDataset
) -> None:
    """Without any reference the frame of reference decides, and an empty one is none."""
    ds = wrap_surfaces(painted, volume, VISIT, uid="2.25.14")
    del ds.ReferencedSeriesSequence
    for segment in ds.SegmentSequence:
        del segment.ReferencedSurfaceSequence[0].SegmentSurfaceSourceInstanceSequence
    assert np.isfinite(read(ds, volume, tmp_path / "l.dcm").ilm).any()

    ds.FrameOfReferenceUID = "2.25.98"
    assert reason_of(ds, volume, tmp_path / "l.dcm") == "layers-of-another"


def only_two(ds: FileDataset) -> None:
    ds.SegmentSequence[1].SegmentLabel = ds.SegmentSequence[2].SegmentLabel = "x"
    for segment in ds.SegmentSequence[1:3]:
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "1"
    for surface in ds.get("SurfaceSequence", []):
        surface.SurfaceComments = "x"


def swapped(ds: FileDataset) -> None:
    first, last = (ds.SegmentSequence[at].SegmentedPropertyTypeCodeSequence for at in (0, 3))
    ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence = last
    ds.SegmentSequence[3].SegmentedPropertyTypeCodeSequence = first


def no_segments(ds: FileDataset) -> None:
    del ds.SegmentSequence
    for surface in ds.get("SurfaceSequence", []):
        surface.SurfaceComments = ""


def too_many_segments(ds: FileDataset) -> None:
    ds.SegmentSequence = [ds.SegmentSequence[0]] * 65


@WRAPS
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (only_two, "layers-incomplete"),
        (swapped, "layers-implausible"),
        (no_segments, "layers-incomplete"),
        (too_many_segments, "pixels-unsupported"),
    ],
)
def test_what_is_not_whole(
    tmp_path: Path,
    painted: PaintedVolume,
    volume: FileDataset,
    wrap: Wrap,
    broken: Callable[[FileDataset], None],
    reason: str,
) -> None:
    """Missing and crossing surfaces have their reasons."""
    ds = wrap(painted, volume, VISIT, uid="2.25.14")
    broken(ds)

    assert reason_of(ds, volume, tmp_path / "l.dcm") == reason


def test_height_maps_of_another_size(tmp_path: Path, painted: PaintedVolume, volume: FileDataset) -> None:
    """Rows and columns must be the volume's frames and columns, and the heights as many as they say."""
    ds = wrap_height_map(painted, volume, VISIT, uid="2.25.14")
    ds.Rows, ds.Columns = ds.Columns, ds.Rows
    assert reason_of(ds, volume, tmp_path / "l.dcm") == "layers-of-another"

    ds.Rows, ds.Columns = ds.Columns, ds.Rows
    ds.FloatPixelData = ds.FloatPixelData[:-4]
    assert reason_of(ds, volume, tmp_path / "l.dcm") == "pixels-inconsistent"


def test_surfaces_beside_the_volume(tmp_path: Path, painted: PaintedVolume, volume: FileDataset) -> None:
    """Points in another unit, or of a deeper scan, are not forced in."""
    for scale, reason in ((1000.0, "layers-of-another"), (1.0, "layers-implausible")):
        ds = wrap_surfaces(painted, volume, VISIT, uid="2.25.14")
        for surface in ds.SurfaceSequence:
            points = np.frombuffer(surface.SurfacePointsSequence[0].PointCoordinatesData, "<f4").reshape(-1, 3) * scale
            points[:, 1] += 3.0
            surface.SurfacePointsSequence[0].PointCoordinatesData = points.astype("<f4").tobytes()

        assert reason_of(ds, volume, tmp_path / "l.dcm") == reason


def test_in_too_few_places(tmp_path: Path, painted: PaintedVolume, volume: FileDataset) -> None:
    """Layers of less than half of the volume are not used."""
    ds = wrap_height_map(painted, volume, VISIT, uid="2.25.14")
    heights = np.frombuffer(ds.FloatPixelData, "<f4").reshape(4, 32, 64).copy()
    heights[1, :, :40] = -1.0
    ds.FloatPixelData = heights.tobytes()

    assert reason_of(ds, volume, tmp_path / "l.dcm") == "layers-incomplete"


def test_other_objects_and_giants(
    tmp_path: Path, painted: PaintedVolume, volume: FileDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another class of objects is not read, nor what is larger than any device's layers."""
    ds = wrap_surfaces(painted, volume, VISIT, uid="2.25.14")
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    assert reason_of(ds, volume, tmp_path / "l.dcm") == "pixels-unsupported"

    monkeypatch.setattr("oculard_models.dicom_layers.OBJECT_BYTES_MAX", 1000)
    assert reason_of(ds, volume, tmp_path / "l.dcm") == "size-implausible"


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([0, 1]), st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(0, 255)), max_size=16))
def test_damage_is_told(
    tmp_path_factory: pytest.TempPathFactory,
    painted: PaintedVolume,
    volume: FileDataset,
    which: int,
    damage: list[tuple[int, int]],
) -> None:
    """Bytes changed anywhere give layers in their order, Unfit or Undecodable, and nothing else."""
    path = tmp_path_factory.mktemp("hurt") / "l.dcm"
    ds = (wrap_surfaces, wrap_height_map)[which](painted, volume, VISIT, uid="2.25.14")
    ds.save_as(path, enforce_file_format=True)
    content = bytearray(path.read_bytes())
    for at, value in damage:
        content[132 + at % (len(content) - 132)] = value
    path.write_bytes(content)

    try:
        found = read_layers(path, read_geometry(volume), volume_uid=volume.SOPInstanceUID)
    except (Unfit, Undecodable):
        return
    assert np.nanmin(np.diff([getattr(found, name) for name in NAMES], axis=0)) >= 0
    assert dcmread(path).SOPClassUID
