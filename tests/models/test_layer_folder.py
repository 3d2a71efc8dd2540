"""The folder in which a network for layers is served: what is shipped, what is refused, what the laboratory writes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from oculard_models.data.harder_volume import noisy, shadowed
from oculard_models.data.paint_oct import draw_eye, paint_volume
from oculard_models.data.second_foreign import FRAMES, JUMP_UM, paint_second_foreign
from oculard_models.lab import app
from oculard_models.lab import layers as layers_command
from oculard_models.layer_manifest import NETWORKS, SEARCH, SHIPPED, network_path, read_layer_folder
from oculard_models.runners.layer_network import NetworkWrong, load_layer_folder
from oculard_models.volumes.learned import BOUNDARIES, learned_layers

LAB = CliRunner()
OURS = NETWORKS / SHIPPED


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of what is shipped."""
    return Path(shutil.copytree(OURS, tmp_path / "oct-copy"))


def test_what_is_shipped_loads_and_names_itself() -> None:
    """Digest and self-test hold; name, version and what it learnt from come from the manifest."""
    network = load_layer_folder(OURS)
    manifest = read_layer_folder(OURS).manifest

    assert (manifest.name, network.name) == (OURS.name, f"{SHIPPED} {manifest.version}")
    assert network.sha256 == manifest.weights.sha256 == hashlib.sha256((OURS / "model.onnx").read_bytes()).hexdigest()
    assert network.learnt_from == "painted volumes alone"
    assert network.command.startswith("oculard-lab train layers --seed ")
    assert sum(path.stat().st_size for path in OURS.iterdir()) < 2_000_000


def test_the_card_says_what_it_is_worth() -> None:
    """Painted data alone, in both languages; search and network for every kind of volumes; how it was made."""
    card = read_layer_folder(OURS).card
    metrics = json.loads((OURS / "metrics.json").read_text(encoding="utf-8"))

    assert "No volume of a person was in its training" in card
    assert "実在の眼のボリュームは学習にも評価にも使われていません" in card
    for volumes in ("as painted", "noise", "shadows", "tilt", "foreign", "foreign 2"):
        for finder in ("search", "network"):
            assert f"| {volumes} | {finder} |" in card
    assert metrics["command"] in card
    assert metrics["command"].startswith("oculard-lab train layers ")
    assert metrics["measured"].startswith("oculard-lab layers --painted ")
    assert metrics["date"] in card


@pytest.mark.parametrize("harder", [noisy, shadowed])
def test_what_is_shipped_finds_layers(harder: Callable) -> None:
    """On a freshly painted eye, noisy or in shadow, each boundary is a row or so off: two for those in the middle."""
    painted = paint_volume(draw_eye(811, "myopic"), frames=40, columns=256, seed=811)
    volume, truth = harder(painted.volume, painted.layers, 1)
    found = learned_layers(volume, load_layer_folder(OURS))

    for name in BOUNDARIES:
        off = np.abs(getattr(found, name) - getattr(truth, name))
        assert np.nanmean(off) < 2.0, name
        assert np.isfinite(off).sum() > 0.95 * np.isfinite(getattr(truth, name)).sum(), name


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("model.onnx", lambda old: old + b" ", "has the digest"),
        ("model.onnx", lambda old: b"", "has the digest"),
        ("model.onnx", None, "has no model.onnx"),
        ("manifest.toml", None, "has no manifest.toml"),
        ("manifest.toml", lambda old: old + b"\nfurther = 1\n", "further"),
        ("manifest.toml", lambda old: old.replace(b'"model.onnx"', b'"../model.onnx"'), "weights.file"),
        ("card.md", None, "has no card.md"),
        ("card.md", lambda old: b"\n", "is empty"),
    ],
)
def test_a_part_that_is_wrong_is_named(
    name: str, change: Callable[[bytes], bytes] | None, words: str, copied: Path
) -> None:
    """Weights never load without their manifest, card and digest."""
    path = copied / name
    old = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(old))

    with pytest.raises(NetworkWrong, match=words):
        load_layer_folder(copied)


def test_weights_with_their_digest_are_tested_all_the_same(copied: Path) -> None:
    """A file that is another network's by its numbers, or reads other files, is refused whatever its digest says."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(copied / "model.onnx")
    for number, words in enumerate(("does not give here", "reads other files")):
        if number == 0:
            first = next(one for one in model.graph.initializer if one.name == "net.surfaces.bias")
            first.CopyFrom(onnx.numpy_helper.from_array(np.zeros(4, dtype=np.float32) + 9.0, first.name))
            weight = next(one for one in model.graph.initializer if one.name == "net.surfaces.weight")
            shape = onnx.numpy_helper.to_array(weight).shape
            weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros(shape, dtype=np.float32), weight.name))
        else:
            model = onnx.load(OURS / "model.onnx")
            tensor = model.graph.initializer[0]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "other"
        content = model.SerializeToString()
        old = hashlib.sha256((copied / "model.onnx").read_bytes()).hexdigest()
        manifest = (copied / "manifest.toml").read_text(encoding="utf-8")
        (copied / "model.onnx").write_bytes(content)
        new = manifest.replace(old, hashlib.sha256(content).hexdigest())
        (copied / "manifest.toml").write_text(new, encoding="utf-8")
        with pytest.raises(NetworkWrong, match=words):
            load_layer_folder(copied)


def test_names_mean_one_thing() -> None:
    """The search needs no folder; what is shipped lies with us; everything else is a path."""
    assert network_path(SEARCH) is None
    assert network_path(SHIPPED) == OURS
    assert network_path("/data/oct-ours") == Path("/data/oct-ours")


def figures(*_: object) -> Iterator[dict[str, object]]:
    """A table of one eye, as if it had been measured: 1.11 and on, each figure another."""
    kinds = product(("as painted", "foreign 2"), ("search", "network"), ("everywhere", "near the disc"))
    for number, ((volumes, finder, where), what) in enumerate(product(kinds, ("ILM", "RNFL/GCL", "IPL/INL", "BM"))):
        mean = f"{1.111 + number:.3f}"
        yield {"volumes": volumes, "found by": finder, "where": where, "eyes": 1, "what": what, "mean": mean}


def test_the_table_writes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare file becomes a folder that loads, whose card and metrics hold the figures that were just measured."""
    monkeypatch.setattr(layers_command, "_measured", figures)
    out = tmp_path / "oct-new"
    given = ["--painted", "1", "--network", str(OURS / "model.onnx"), "--bundle", str(out), "--json"]
    done = LAB.invoke(app, ["layers", *given, "--version", "2.0.1"])

    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert load_layer_folder(out).name == "oct-new 2.0.1"
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["figures"] == rows
    (line,) = (line for line in read_layer_folder(out).card.splitlines() if line.startswith("| foreign 2 | network |"))
    assert line == "| foreign 2 | network | 25.11 | 26.11 | 27.11 | 28.11 | 30.11, 31.11, 32.11 | - |"


def test_a_bundle_of_no_version_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the manifest would refuse is said, and no folder stays."""
    monkeypatch.setattr(layers_command, "_measured", figures)
    out = tmp_path / "oct-new"
    given = ["--painted", "1", "--network", str(OURS / "model.onnx"), "--bundle", str(out)]
    done = LAB.invoke(app, ["layers", *given, "--version", "new"])

    assert done.exit_code == 1
    assert "is not written" in done.output
    assert not out.exists()


@pytest.mark.parametrize(
    "given", [["--network", SHIPPED], ["--network", str(OURS)], ["--network", SEARCH], ["--network", "FILE", "there"]]
)
def test_a_folder_is_written_of_a_file_alone_and_once(given: list[str], tmp_path: Path) -> None:
    """Neither of a folder, nor of the search, nor over what is there."""
    out = tmp_path / "out"
    if given[-1] == "there":
        out.mkdir()
    named = [str(OURS / "model.onnx") if one == "FILE" else one for one in given if one != "there"]
    done = LAB.invoke(app, ["layers", "--painted", "1", *named, "--bundle", str(out)])

    assert done.exit_code == 2
    assert "a folder that is new" in done.output


def test_the_second_foreign_volume_is_a_third_devices() -> None:
    """Other steps, thinner layers, jumps between frames, darker shadows; its layers are true, in order, inside."""
    ours = paint_volume(draw_eye(4, "normal"), frames=FRAMES, depth=496, columns=256, seed=4)
    foreign = paint_second_foreign(4, "normal")

    assert foreign.volume.pixels.shape == (FRAMES, 496, 256)
    thick = [np.nanmedian(one.layers.bm - one.layers.ilm) for one in (ours, foreign)]
    assert 0.7 < thick[1] / thick[0] < 0.92
    step = foreign.volume.spacing.depth_um
    jumps = np.abs(np.diff(np.nanmedian(foreign.layers.ilm, axis=1))) * step
    assert (jumps > 0.3 * JUMP_UM).sum() >= 3
    rows = np.stack([getattr(foreign.layers, name) for name in BOUNDARIES])
    assert (np.diff(rows, axis=0)[np.isfinite(np.diff(rows, axis=0))] >= -1e-3).all()
    frame = foreign.volume.pixels[5].astype(float)
    ilm = np.rint(foreign.layers.ilm[5]).astype(int)
    above = np.mean([frame[row - 6, column] for column, row in enumerate(ilm)])
    below = np.mean([frame[row + 6, column] for column, row in enumerate(ilm)])
    assert below > above + 20.0
    mirrored = paint_second_foreign(4, "normal", eye="L")
    assert mirrored.disc_centre is not None
    assert foreign.disc_centre is not None
    assert mirrored.disc_centre[1] == pytest.approx(255 - foreign.disc_centre[1])


def test_other_looks_keep_the_layers_where_they_are() -> None:
    """Another grey, grain and thickness: rows go with the picture, and ILM stays an edge."""
    pytest.importorskip("torch")
    from oculard_models.train import layers_looks
    from oculard_models.train.layers_data import ROWS, varied

    rng = np.random.default_rng(7)
    grey = np.zeros((3, 400, 64), dtype=np.float32)
    grey[:, 100:140], grey[:, 140:160], grey[:, 160:220], grey[:, 220:260] = 0.8, 0.5, 0.25, 0.9
    rows = np.broadcast_to(np.array([99.5, 139.5, 159.5, 219.5], dtype=np.float32)[:, None], (3, 4, 64))
    stretched, changed = set(), 0
    for _ in range(60):
        seen, there = varied(rng, grey, rows)
        known = np.isfinite(there).all(axis=0)
        assert known.any()
        stretched.add(round(float((there[3] - there[0])[known].mean()) / 120.0, 2))
        changed += bool(np.abs(layers_looks.other_look(rng, grey, rows) - grey).max() > 0.05)
        at = there[0][known].round().astype(int)
        columns = np.nonzero(known)[0]
        inside = [seen[1, np.clip(at + more, 0, ROWS - 1), columns].mean() for more in (3, 5, 7)]
        outside = [seen[1, np.clip(at - more, 0, ROWS - 1), columns].mean() for more in (3, 5, 7)]
        assert np.mean(inside) > np.mean(outside)
    assert min(stretched) < 0.85
    assert max(stretched) > 1.15
    assert 25 < changed < 55
