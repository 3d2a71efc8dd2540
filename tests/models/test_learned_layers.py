"""The light network for layers: what it sees, what becomes of what it says, and that it learns and is checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from oculard_models.data.foreign_volume import paint_foreign
from oculard_models.data.paint_oct import draw_eye, paint_volume
from oculard_models.evaluate.layer_errors import NEAR_UM, near_disc
from oculard_models.lab import app
from oculard_models.runners.layer_network import NetworkWrong, load_layer_network
from oculard_models.volumes.learned import (
    BATCH,
    BOUNDARIES,
    DEPTH_UM,
    Seen,
    in_grid,
    in_volume,
    learned_layers,
    network_grid,
)
from oculard_models.volumes.volume import Layers, Spacing, Volume

LAB = CliRunner()


def volume(frames: int = 6, depth: int = 301, columns: int = 100) -> Volume:
    """A volume of noise whose size fits no grid."""
    pixels = np.random.default_rng(2).integers(0, 255, (frames, depth, columns), dtype=np.uint8)
    return Volume(pixels=pixels, spacing=Spacing(frame_um=50.0, depth_um=2.6, column_um=12.0), eye="R")


def test_rows_come_back_as_the_volumes_own() -> None:
    """What lies in the middle of a row of the grid lies in the middle of the volume's rows that it is the mean of."""
    one = volume(depth=300)
    grid = network_grid(one)
    rows = np.array([[10.0, 20.5]], dtype=np.float32)

    assert grid.values.shape == (6, 50, 150)
    np.testing.assert_allclose(in_volume(rows, grid, one), [[20.5, 41.5]], atol=1e-4)
    np.testing.assert_allclose(in_grid(in_volume(rows, grid, one), grid, one), rows, atol=1e-4)


@pytest.mark.parametrize("depth_um", [1.9, 3.6, 7.4])
def test_every_device_looks_alike_in_depth(depth_um: float) -> None:
    """Rows of any spacing become rows of 5.2 um, and an edge stays where it is."""
    pixels = np.zeros((3, 400, 30), dtype=np.uint8)
    pixels[:, 150:] = 200
    one = Volume(pixels=pixels, spacing=Spacing(frame_um=50.0, depth_um=depth_um, column_um=30.0), eye="R")
    grid = network_grid(one)

    assert grid.depth_um == pytest.approx(DEPTH_UM, rel=0.01)
    edge = float((grid.values[1, 10] < 100).sum()) - 0.5  # between the last dark row and the first bright one
    assert in_volume(np.array([[edge]], dtype=np.float32), grid, one)[0, 0] == pytest.approx(149.5, abs=5.2 / depth_um)


Answer = tuple[np.ndarray, np.ndarray]


def flat(seen: Seen) -> Answer:
    """A network that sees flat layers everywhere."""
    rows = np.broadcast_to(np.array([10, 20, 30, 40], dtype=np.float32)[:, None], (len(seen), 4, seen.shape[3]))
    return rows, np.ones((len(seen), 2, seen.shape[3]), dtype=np.float32)


def lit(frames: int, depth: int, columns: int, spacing: Spacing, eye: str = "R") -> Volume:
    """A volume that is dark above the first of the flat layers and bright below it."""
    pixels = np.zeros((frames, depth, columns), dtype=np.uint8)
    pixels[:, round(10.5 * DEPTH_UM / spacing.depth_um) :] = 200
    return Volume(pixels=pixels, spacing=spacing, eye=eye)


def test_a_network_sees_multiples_of_32_and_its_neighbours() -> None:
    """Each B-scan comes with the one before and the one after; what was added at the edges is taken away again."""
    shapes, middles = [], []

    def network(seen: Seen) -> Answer:
        shapes.append(seen.shape)
        middles.append((seen[1:, 0] == seen[:-1, 1]).all())
        return flat(seen)

    one = lit(6, 301, 100, Spacing(frame_um=50.0, depth_um=2.6, column_um=12.0))
    layers = learned_layers(one, network)

    assert shapes == [(BATCH, 3, 160, 64)] * (6 // BATCH)
    assert all(middles)
    for name, row in zip(BOUNDARIES, (20.5, 40.5, 60.5, 80.5), strict=True):
        surface = getattr(layers, name)
        assert surface.shape == (6, 100)
        np.testing.assert_allclose(surface, row, rtol=0.01)


def test_the_disc_has_only_its_surface_and_dots_are_none() -> None:
    """In an opening as large as a disc only ILM is left; one column more or less is noise."""
    present = np.ones((24, 2, 128), dtype=np.float32)
    present[4:20, 1, 20:45] = 0.0
    present[10, 1, 30] = 1.0
    present[22, :, 5] = 0.0
    batches = iter(range(0, 24, BATCH))

    def network(seen: Seen) -> Answer:
        first = next(batches)
        return flat(seen)[0], present[first : first + BATCH]

    one = lit(24, 200, 100, Spacing(frame_um=60.0, depth_um=5.0, column_um=25.0), eye="L")
    layers = learned_layers(one, network)

    assert np.isfinite(layers.ilm).all()
    gone = ~np.isfinite(layers.bm)
    assert gone[10, 30]
    assert not gone[22, 5]
    assert 0.8 * 16 * 25 < gone.sum() < 1.2 * 16 * 25


def test_a_network_is_not_believed_where_there_is_nothing() -> None:
    """It sees layers in the dark, and in a volume on its head: brightness decides."""
    spacing = Spacing(frame_um=60.0, depth_um=5.0, column_um=25.0)
    one = lit(24, 200, 100, spacing)
    dark = one.pixels.copy()
    dark[:, :, 60:] = 0
    layers = learned_layers(replace(one, pixels=dark), flat)
    upside = learned_layers(replace(one, pixels=np.ascontiguousarray(one.pixels[:, ::-1])), flat)

    assert np.isfinite(layers.ilm[:, :55]).all()
    assert np.isnan(layers.ilm[:, 65:]).all()
    assert np.isnan(layers.bm[:, 65:]).all()
    assert np.isnan(upside.ilm).all()


def test_near_the_disc_is_outside_of_it() -> None:
    """Up to 0.9 mm from the opening's edge; nowhere where there is no disc."""
    flat = np.full((40, 60), 5.0, dtype=np.float32)
    inner = flat.copy()
    inner[15:25, 20:40] = np.nan
    spacing = Spacing(frame_um=100.0, depth_um=2.6, column_um=100.0)
    near = near_disc(Layers(ilm=flat, rnfl_gcl=inner, ipl_inl=inner, bm=inner), spacing)

    assert not near[20, 30]
    assert near[20, 45]
    assert near[20, 40 + int(NEAR_UM / 100.0) - 1]
    assert not near[20, 40 + int(NEAR_UM / 100.0)]
    assert not near_disc(Layers(ilm=flat, rnfl_gcl=flat, ipl_inl=flat, bm=flat), spacing).any()


def test_a_foreign_volume_is_another_ones() -> None:
    """Other steps, thicker layers and another noise, with layers that are true and in order."""
    ours = paint_volume(draw_eye(4, "normal"), frames=96, depth=640, columns=320, seed=4)
    foreign = paint_foreign(4, "normal")

    assert foreign.volume.pixels.shape == (96, 640, 320)
    thick = [np.nanmedian(one.layers.bm - one.layers.ilm) for one in (ours, foreign)]
    assert 1.1 < thick[1] / thick[0] < 1.3
    rows = np.stack([getattr(foreign.layers, name) for name in BOUNDARIES])
    assert (np.diff(rows, axis=0)[np.isfinite(np.diff(rows, axis=0))] >= -1e-3).all()
    assert foreign.volume.pixels[:, 300].std() > 1.2 * ours.volume.pixels[:, 300].std() / 2


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network after a few steps."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("layers") / "layers.onnx"
    done = LAB.invoke(app, ["train", "layers", "--out", str(path), "--eyes", "1", "--steps", "2", "--batch", "2"])
    assert done.exit_code == 0, done.output
    return path


def test_training_writes_a_network_that_says_how_it_was_made(trained: Path) -> None:
    """The file runs, passes its self-test, names its command, and its surfaces never cross."""
    network = load_layer_network(trained)
    rows, present = network(np.random.default_rng(1).random((2, 3, 64, 32), dtype=np.float32))

    assert network.command.startswith("oculard-lab train layers --seed 1 --eyes 1 --steps 2 --batch 2")
    assert (rows.shape, present.shape) == ((2, 4, 32), (2, 2, 32))
    assert (np.diff(rows, axis=1) >= 0).all()
    assert ((present >= 0) & (present <= 1)).all()


def test_a_network_learns() -> None:
    """A few steps on the same pieces bring its surfaces nearer."""
    torch = pytest.importorskip("torch")
    from oculard_models.nets.layer_net import LayerNet
    from oculard_models.train.layers import loss_of
    from oculard_models.train.layers_data import Pieces

    torch.manual_seed(1)
    pieces = Pieces(seed=3)
    pieces.paint()
    seen, rows = (torch.from_numpy(part) for part in pieces.batch(np.random.default_rng(1), 4))
    net = LayerNet()
    assert 100_000 < sum(weight.numel() for weight in net.parameters()) < 300_000
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    losses = []
    for _ in range(12):
        loss, _ = loss_of(*net(seen), rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_pieces_are_painted_ones_with_their_rows() -> None:
    """Above ILM it is darker than below, wherever the piece was shifted, mirrored or shaded."""
    pytest.importorskip("torch")
    from oculard_models.train.layers_data import COLUMNS, ROWS, Pieces

    pieces = Pieces(seed=5)
    pieces.paint()
    seen, rows = pieces.batch(np.random.default_rng(2), 16)

    assert (seen.shape, rows.shape) == ((16, 3, ROWS, COLUMNS), (16, 4, COLUMNS))
    brighter = []
    for picture, ilm in zip(seen[:, 1], rows[:, 0], strict=True):
        columns = np.nonzero(np.isfinite(ilm))[0]
        at = np.rint(ilm[columns]).astype(int)
        below = np.mean([picture[np.clip(at + k, 0, ROWS - 1), columns].mean() for k in range(2, 6)])
        above = np.mean([picture[np.clip(at - k, 0, ROWS - 1), columns].mean() for k in range(2, 6)])
        brighter.append(below > above + 0.05)
    assert np.mean(brighter) > 0.9


def test_what_is_no_network_is_refused(trained: Path, tmp_path: Path) -> None:
    """No file, no ONNX, another model, one without or with another self-test."""
    onnx = pytest.importorskip("onnx")
    (tmp_path / "text.onnx").write_bytes(b"no network")
    silent, wrong = onnx.load(trained), onnx.load(trained)
    del silent.metadata_props[:]
    onnx.helper.set_model_props(wrong, {"golden": "1 2 3 4 5 6"})
    for name, model in (("silent", silent), ("wrong", wrong)):
        onnx.save(model, tmp_path / f"{name}.onnx")

    for name, words in (
        ("absent", "cannot be read"),
        ("text", "no ONNX file"),
        ("silent", "no self-test"),
        ("wrong", "does not give here"),
    ):
        with pytest.raises(NetworkWrong, match=words):
            load_layer_network(tmp_path / f"{name}.onnx")
    bundle = Path(__file__).parents[2] / "models/oculard_models/bundles/systemic-demo"
    with pytest.raises(NetworkWrong, match="no network for layers"):
        load_layer_network(next(bundle.glob("*.onnx")))


def test_the_table_has_both_side_by_side(trained: Path) -> None:
    """Each condition, the foreign volumes too, has rows of search and network, everywhere and near the disc."""
    arguments = ["layers", "--painted", "1", "--frames", "32", "--network", str(trained), "--json"]
    done = LAB.invoke(app, arguments)

    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert {row["volumes"] for row in rows} == {"as painted", "noise", "shadows", "tilt", "foreign", "foreign 2"}
    assert {(row["found by"], row["where"]) for row in rows} == {
        (finder, where) for finder in ("search", "network") for where in ("everywhere", "near the disc")
    }
    assert "learnt from the painter that judges it" in done.stderr


def test_a_wrong_network_is_misuse(tmp_path: Path) -> None:
    """The command says what is wrong with the file."""
    done = LAB.invoke(app, ["layers", "--painted", "1", "--network", str(tmp_path / "absent.onnx")])
    assert done.exit_code == 2
    assert "cannot be read" in done.output
