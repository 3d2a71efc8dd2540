"""The layers of OCT volumes are found where they are painted, and nowhere else."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from typer.testing import CliRunner

from oculard_models.data.harder_volume import BOUNDARIES, noisy, shadowed, tilted
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.data.volumes import VolumeUnusable, read_volume_file
from oculard_models.evaluate.layer_errors import CENTRE, compare_layers, layer_errors
from oculard_models.evaluate.layer_study import Finder
from oculard_models.lab import app
from oculard_models.layer_manifest import NETWORKS, SHIPPED
from oculard_models.runners.layer_network import LayerNetwork, load_layer_folder
from oculard_models.volumes import normative as normative_sets
from oculard_models.volumes.centres import Centres, find_centres
from oculard_models.volumes.grid import Grid, fine_grid, means, resampled
from oculard_models.volumes.learned import learned_layers
from oculard_models.volumes.segment import segment_layers
from oculard_models.volumes.sequence import usual_sequence
from oculard_models.volumes.sweep import find_surface
from oculard_models.volumes.types import DISC_TYPES
from oculard_models.volumes.volume import Layers, Scan, Spacing, Volume

LAB = CliRunner()
MOST_PX = {"ILM": 1.2, "RNFL/GCL": 2.5, "IPL/INL": 2.0, "BM": 2.0}  # of 5.2 um; a whole volume's rows are half of that
CENTRE_UM = 150.0


@cache
def painted(disc_type: str = "generalized-enlargement", seed: int = 3, eye: str = "R", scan: Scan = Scan.DISC):
    """Paint a volume of a half of the frames, rows and columns; each once in this file."""
    side_mm = 12.0 if scan is Scan.WIDE else 6.0
    drawn = draw_eye(seed, disc_type, eye=eye)
    return paint_volume(drawn, frames=64, depth=443, columns=256, side_mm=side_mm, scan=scan, seed=seed)


@cache
def shipped() -> LayerNetwork:
    """The network that comes with oculard."""
    return load_layer_folder(NETWORKS / SHIPPED)


def by_network(volume: Volume) -> Layers:
    """The layers as the daemon finds them."""
    return learned_layers(volume, shipped())


@pytest.fixture(params=[segment_layers, by_network], ids=["search", "network"])
def find(request: pytest.FixtureRequest) -> Finder:
    """Whoever finds layers must do all of this: the graph search, and the network that comes with oculard."""
    return request.param


@cache
def found(one: PaintedVolume, find: Finder) -> Layers:
    """Find its layers; each once."""
    return find(one.volume)


def errors(layers: Layers, truth: Layers, spacing: Spacing) -> dict[str, float]:
    """Mean absolute error by boundary, in pixels."""
    compared = compare_layers(layers, truth, spacing, (None, None))
    return {row.what: row.mean for row in layer_errors([compared]) if row.unit == "px"}


def off_um(at: tuple[float, float] | None, truth: tuple[float, float] | None, spacing: Spacing) -> float:
    """How far a place is from the truth."""
    assert at is not None
    assert truth is not None
    return float(np.hypot((at[0] - truth[0]) * spacing.frame_um, (at[1] - truth[1]) * spacing.column_um))


@pytest.mark.parametrize("disc_type", DISC_TYPES)
def test_boundaries_and_disc_are_found(disc_type: str, find: Finder):
    """On every type of disc each boundary is found to within a few micrometres, and so is the disc's centre."""
    one = painted(disc_type)
    layers = found(one, find)

    for what, mean in errors(layers, one.layers, one.volume.spacing).items():
        assert mean < MOST_PX[what], what
    centre = find_centres(one.volume, layers).disc
    assert off_um(centre, one.disc_centre, one.volume.spacing) < CENTRE_UM


@pytest.mark.parametrize(("harder", "factor"), [(noisy, 1.6), (shadowed, 2.5), (tilted, 1.3)])
def test_noise_shadows_and_tilt_cost_little(harder, factor: float, find: Finder):
    """What a cataract, opacities, blinks and a crooked eye do makes it worse, but not wrong."""
    one = painted()
    volume, truth = harder(one.volume, one.layers, 1)
    layers = find(volume)

    for what, mean in errors(layers, truth, volume.spacing).items():
        assert mean < factor * MOST_PX[what], what


def test_a_crescent_is_not_the_disc(find: Finder):
    """Beside a myopic disc the pigment is missing; centre and size stay those of the opening."""
    eye = draw_eye(11, "myopic")
    eye = replace(eye, disc=replace(eye.disc, crescent_mm=0.7, crescent_round=0.1, crescent_angle=0.0))
    one = paint_volume(eye, frames=64, depth=443, columns=256)
    layers = find(one.volume)

    assert off_um(find_centres(one.volume, layers).disc, one.disc_centre, one.volume.spacing) < CENTRE_UM
    opening = np.isnan(layers.bm).mean()
    assert opening == pytest.approx(np.isnan(one.layers.bm).mean(), rel=0.35)


def test_order_is_kept_and_the_opening_is_empty(find: Finder):
    """Boundaries never cross; in the opening of Bruch's membrane there is ILM alone."""
    layers = found(painted(), find)
    whole = np.isfinite(layers.bm)

    assert np.isfinite(layers.ilm).mean() > 0.99
    assert 0.01 < 1.0 - whole.mean() < 0.15
    np.testing.assert_array_equal(np.isfinite(layers.rnfl_gcl), whole)
    np.testing.assert_array_equal(np.isfinite(layers.ipl_inl), whole)
    for upper, lower in pairwise(BOUNDARIES):
        assert (getattr(layers, upper)[whole] <= getattr(layers, lower)[whole]).all(), (upper, lower)


def test_a_macula_volume_has_a_fovea_and_no_disc(find: Finder):
    """The pit is found; what is not there is not found."""
    one = painted(scan=Scan.MACULA)
    centres = find_centres(one.volume, found(one, find))

    assert centres.disc is None
    assert off_um(centres.fovea, one.fovea_centre, one.volume.spacing) < 2 * CENTRE_UM


def test_a_disc_volume_has_no_fovea(find: Finder):
    """Without the macula in the volume nothing is called its fovea."""
    assert all(find_centres(one.volume, found(one, find)).fovea is None for one in map(painted, DISC_TYPES))


@pytest.mark.parametrize("eye", ["R", "L"])
def test_a_wide_volume_has_both(eye: str, find: Finder):
    """Disc and fovea are found in one, in either eye."""
    one = painted(eye=eye, scan=Scan.WIDE)
    centres = find_centres(one.volume, found(one, find))

    assert off_um(centres.disc, one.disc_centre, one.volume.spacing) < CENTRE_UM
    assert off_um(centres.fovea, one.fovea_centre, one.volume.spacing) < 400.0  # frames are 140 um apart


def test_a_fovea_on_the_wrong_side_is_none(find: Finder):
    """In a volume that is said to be the other eye's, the pit lies on the nasal side, and is not called a fovea."""
    one = painted(scan=Scan.WIDE)
    centres = find_centres(replace(one.volume, eye="L"), found(one, find))

    assert centres.disc is not None
    assert centres.fovea is None


def test_centres_do_not_need_our_segmentation():
    """A device's Bruch's membrane may run through the disc; the disc is found in the pixels all the same."""
    one = painted()
    columns = np.arange(one.layers.bm.shape[1])
    closed = [np.interp(columns, columns[np.isfinite(row)], row[np.isfinite(row)]) for row in one.layers.bm]
    layers = replace(one.layers, bm=np.array(closed, dtype=np.float32))

    assert off_um(find_centres(one.volume, layers).disc, one.disc_centre, one.volume.spacing) < CENTRE_UM


def pixels_of(kind: str) -> np.ndarray:
    """What is no retina."""
    rng = np.random.default_rng(5)
    real = painted().volume.pixels[:40, :, ::2]
    kinds = {
        "black": np.zeros_like(real),
        "white": np.full_like(real, 255),
        "noise": rng.integers(0, 256, real.shape, dtype=np.uint8),
        "dim": rng.integers(20, 40, real.shape, dtype=np.uint8),
        "upside down": real[:, ::-1],
        "vitreous": real[:, :50],
        "tiny": real[:2, :2, :2],
    }
    return np.ascontiguousarray(kinds[kind])


@pytest.mark.parametrize("kind", ["black", "white", "noise", "dim", "upside down", "vitreous", "tiny"])
def test_where_no_retina_is_no_layer_is_found(kind: str, find: Finder):
    """Noise, nothing, and a picture that stands on its head have no layers and no disc."""
    volume = Volume(pixels=pixels_of(kind), spacing=painted().volume.spacing, eye="R")
    layers = find(volume)

    assert all(np.isnan(getattr(layers, name)).all() for name in BOUNDARIES)
    assert find_centres(volume, layers) == Centres()


def test_frames_without_a_retina_have_no_layers(find: Finder):
    """Frames that show noise alone, as behind an eyelid, are empty; the others are as they would be without them."""
    one = painted()
    pixels = one.volume.pixels.copy()
    noise = pixels[:12, :60]  # vitreous
    pixels[:12] = np.tile(noise, (1, 8, 1))[:, : pixels.shape[1]]
    layers = find(replace(one.volume, pixels=pixels))

    assert np.isnan(layers.ilm[:9]).mean() > 0.95
    assert np.isfinite(layers.ilm[14:]).mean() > 0.99


def test_a_frame_or_a_column_alone_is_segmented(find: Finder):
    """Nothing needs neighbours on all sides."""
    pixels = painted().volume.pixels
    for part in (pixels[10:11], pixels[:, :, 20:21]):
        volume = Volume(pixels=np.ascontiguousarray(part), spacing=painted().volume.spacing, eye="R")
        assert np.isfinite(find(volume).ilm).mean() > 0.9


def test_the_surface_is_smooth_between_frames_and_columns():
    """A frame of nonsense is bridged by its neighbours, and a steep wall is climbed where the evidence says so."""
    costs = np.zeros((20, 30, 40), dtype=np.float32)
    costs[:, :15, 10] = costs[:, 15:, 30] = -1.0
    costs[7] = np.random.default_rng(0).normal(0.0, 0.02, costs[7].shape)

    surface = find_surface(costs, frame_step=0.1, column_step=0.02)

    np.testing.assert_allclose(surface[:, :15], 10.0, atol=1.0)
    np.testing.assert_allclose(surface[:, 15:], 30.0, atol=1.0)


def test_a_surface_is_found_between_rows():
    """A parabola between rows gives its own lowest point."""
    rows = np.arange(20, dtype=np.float32)
    costs = np.tile((rows - 8.3) ** 2, (3, 4, 1))

    np.testing.assert_allclose(find_surface(costs, frame_step=1e-6, column_step=1e-6, reach=30), 8.3, atol=0.02)


def test_means_stop_at_the_ends():
    """A window that leaves the band is the part of it that stays."""
    band = np.arange(5, dtype=np.float32)[None, None]

    np.testing.assert_allclose(means(band, 0, 2)[0, 0], [0.5, 1.5, 2.5, 3.5, 4.0])
    np.testing.assert_allclose(means(band, -2, 0)[0, 0], [0.0, 0.0, 0.5, 1.5, 2.5])


def grid_of(columns: int = 64, frames: int = 4) -> Grid:
    """A grid of a volume whose columns are averaged by two."""
    pixels = np.random.default_rng(0).integers(0, 255, (frames, 30, columns), dtype=np.uint8)
    spacing = Spacing(frame_um=90.0, depth_um=2.6, column_um=12.0)
    return fine_grid(Volume(pixels=pixels, spacing=spacing, eye="R"), 30.0)


def test_a_grid_averages_columns_and_maps_go_back():
    """Neighbouring columns are averaged, frames far apart are not, and a slope comes back as the same slope."""
    grid = grid_of()
    slope = np.tile(np.arange(32, dtype=np.float32) * 2.0 + 0.5, (4, 1))

    assert (grid.frames, grid.columns, grid.values.shape) == (1, 2, (4, 32, 30))
    full = resampled(slope, grid, (4, 64), (1, 1))
    np.testing.assert_allclose(full[:, 1:-1], np.tile(np.arange(64)[1:-1], (4, 1)), atol=1e-4)


@pytest.mark.parametrize("ganglion_rows", [12, 30])
def test_the_usual_sequence_tells_ipl_from_rnfl(ganglion_rows: int):
    """The first rise above the outer layers' dark, bright and dark is IPL, however thin the ganglion cells above it."""
    bands = ((0.9, 13), (0.25, 20), (0.5, 8), (0.35, 14), (0.55, ganglion_rows), (0.8, 30))
    upwards = np.concatenate([np.full(count, grey) for grey, count in bands] + [np.zeros(200)])[:185]
    row, around = usual_sequence(grid_of(), upwards[::-1])

    assert len(upwards) - 1 - row == pytest.approx(13 + 20 + 8 + 14, abs=2)
    assert around.size


def test_errors_are_told_by_boundary_map_and_centre():
    """A boundary that is two pixels off is told as that; what was missed and invented is told apart."""
    flat = np.full((4, 6), 10.0, dtype=np.float32)
    truth = Layers(ilm=flat, rnfl_gcl=flat + 10, ipl_inl=flat + 20, bm=flat + 60)
    hole = flat + 62
    hole[0] = np.nan
    layers = replace(truth, ilm=flat - 2, bm=hole)
    spacing = Spacing(frame_um=50.0, depth_um=2.5, column_um=10.0)
    rows = {row.what: row for row in layer_errors([compare_layers(layers, truth, spacing, ((1.0, 5.0), (1.0, 2.0)))])}

    assert (rows["ILM"].mean, rows["ILM"].bias) == (2.0, -2.0)
    assert (rows["BM"].missed, rows["BM"].invented) == (0.25, 0.0)
    assert rows["RNFL thickness"].mean == pytest.approx(5.0)
    assert rows[CENTRE].mean == pytest.approx(30.0)


def test_layers_command_measures_painted_volumes(tmp_path: Path):
    """The table has a row a condition and boundary, on stdout and as CSV, and the drawn volume is a picture."""
    given = ["--painted", "1", "--frames", "32", "--network", "search", "--out", str(tmp_path), "--json"]
    done = LAB.invoke(app, ["layers", *given])

    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert {row["volumes"] for row in rows} == {"as painted", "noise", "shadows", "tilt", "foreign", "foreign 2"}
    assert {row["found by"] for row in rows} == {"search"}
    assert {row["what"] for row in rows} >= {"ILM", "RNFL/GCL", "IPL/INL", "BM", "RNFL thickness", "GCC thickness"}
    with (tmp_path / "layers.csv").open(newline="", encoding="utf-8") as file:
        assert [row["mean"] for row in csv.DictReader(file)] == [row["mean"] for row in rows]
    assert Image.open(tmp_path / "layers.png").size == (1680, 420)


def test_layers_command_asks_for_one_thing():
    """Neither volumes nor --painted, both, or volumes without a place for the pictures are misuse."""
    assert LAB.invoke(app, ["layers"]).exit_code == 2
    assert LAB.invoke(app, ["layers", ".", "--painted", "1"]).exit_code == 2
    assert LAB.invoke(app, ["layers", "."]).exit_code == 2


def volume_files(folder: Path, eyes: int) -> list[Path]:
    """Write small volumes as DICOM; return the files of the volumes."""
    from oculard_models.data.painted_study import Visit, painted_uid, write_study
    from oculard_models.data.painted_volume import volume_study

    paths = []
    for number in range(eyes):
        one = paint_volume(draw_eye(40 + number, "normal"), frames=32, depth=443, columns=128)
        visit = Visit(
            study_uid=painted_uid("layers-study", str(number)),
            series_uid=painted_uid("layers-series", str(number)),
            patient_id=f"{number:07d}",
            accession_number=f"L{number:09d}",
            birth_date="19600102",
            sex="F",
            description="OCT",
        )
        paths.append(write_study(folder / str(number), volume_study(one, visit))[0])
    return paths


def test_commands_read_dicom_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Volumes are drawn; the healthy ones of a table make a normative set; what is no volume is named, not guessed."""
    paths = volume_files(tmp_path / "volumes", 3)
    monkeypatch.setattr(normative_sets, "FEWEST_EYES", 2)
    table = tmp_path / "volumes" / "labels.csv"
    lines = [
        f"{path.relative_to(table.parent)},{label}"
        for path, label in zip(paths, ["normal", "normal", "myopic"], strict=True)
    ]
    table.write_text("\n".join(("image,label", *lines)), encoding="utf-8")
    set_file = tmp_path / "healthy.npz"

    drawn = LAB.invoke(app, ["layers", str(paths[0]), str(table), "--out", str(tmp_path / "pictures")])
    made = LAB.invoke(app, ["normative", str(table.parent), "--table", str(table), "--out", str(set_file), "--json"])

    assert drawn.exit_code == 1  # the table is no volume
    assert "labels.csv" in drawn.output
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1
    assert made.exit_code == 0, made.output
    (row,) = json.loads(made.stdout)
    assert (row["eyes"], row["of"]) == ("2", "2")
    assert normative_sets.read_normative(set_file, row["sha256"]).eyes == 2


def test_too_few_healthy_eyes_are_no_norm(tmp_path: Path):
    """Twenty eyes are asked for."""
    folder = tmp_path / "none"
    folder.mkdir()
    done = LAB.invoke(app, ["normative", str(folder), "--out", str(tmp_path / "healthy.npz")])

    assert done.exit_code == 1
    assert "20 at least" in done.output


def test_a_volume_whose_side_is_not_said_is_left_out(tmp_path: Path):
    """Which eye it is is never guessed: such a file is named, and makes neither picture nor norm."""
    (path,) = volume_files(tmp_path / "volumes", 1)
    ds = dcmread(path)
    ds.ImageLaterality = ""
    ds.save_as(path)

    with pytest.raises(VolumeUnusable, match="which one eye"):
        read_volume_file(path)
