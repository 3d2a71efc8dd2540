"""Bundles that segment: what the exporter writes, what it refuses, and how far variants drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="exporting needs the extra `lab`")
pytest.importorskip("onnx", reason="exporting needs the extra `lab`")

from export_samples import (  # noqa: E402  # after the skips
    EN_FACE,
    FAZ,
    PROVENANCE,
    PX,
    blob,
    blobs,
    mask_draft,
    mask_exported,
    mask_net,
    noise,
)

from oculard_models.data.scaling import Scaling  # noqa: E402
from oculard_models.data.split import PARTS  # noqa: E402
from oculard_models.export import Drift, ExportWrong, manifest_toml, write_bundle, write_variant  # noqa: E402
from oculard_models.export.variants import Kind  # noqa: E402
from oculard_models.lab.exporting import export  # noqa: E402
from oculard_models.lab.pictures import read_pictures  # noqa: E402
from oculard_models.manifest import MASK_MEAN, MASK_SHARE, read_manifest  # noqa: E402
from oculard_models.registry import Bundle, read_bundle  # noqa: E402
from oculard_models.runners.onnx import OnnxEstimator, choose_providers  # noqa: E402
from oculard_models.train.checkpoint import MASK, About, build_for, write_checkpoint  # noqa: E402

CPU = choose_providers(["cpu"], ["CPUExecutionProvider"])
APP = typer.Typer()
APP.command()(export)


def masks_of(bundle: Bundle, batch: Any) -> Any:
    """Run a bundle; probabilities, images x height x width."""
    return OnnxEstimator(bundle, CPU, threads=1).segment(batch)


def variant(source: Bundle, kind: Kind, **more: Any) -> Drift:
    """Write a variant beside its source."""
    folder = source.folder.with_name(f"{source.manifest.name}-{kind}")
    settings = {"calibration": [blobs(6)], "held_out": blobs(5), "provenance": PROVENANCE} | more
    return write_variant(source, kind, folder, **settings)


def test_exported_bundle_gives_the_network_s_probabilities(tmp_path: Path):
    """The network gives logits, the bundle their sigmoid, for any number of images; it passes its self-test."""
    net = mask_net()
    written = write_bundle(tmp_path / "traced", net, mask_draft(), check=blobs(3))
    OnnxEstimator(read_bundle(tmp_path / "traced"), CPU, threads=1).self_test()

    with torch.inference_mode():
        expected = torch.sigmoid(net(torch.from_numpy(noise(5))))[:, 0].numpy()
    np.testing.assert_allclose(masks_of(written.bundle, noise(5)), expected, atol=1e-5)
    assert written.largest_difference < 1e-5


def test_golden_is_the_mask_s_mean_and_share(tmp_path: Path):
    """What the self-test expects is what the mask of the golden picture is like, at the bundle's threshold."""
    golden = mask_exported(tmp_path).manifest.golden
    grey = torch.from_numpy(blob(20).transpose(2, 0, 1)[None].astype(np.float32) / 255.0)
    with torch.inference_mode():
        probability = torch.sigmoid(mask_net()(grey)).numpy()

    assert golden.expected[MASK_MEAN] == pytest.approx(probability.mean(), abs=1e-5)
    assert golden.expected[MASK_SHARE] == pytest.approx((probability > 0.4).mean(), abs=1e-5)
    assert golden.tolerance == 2e-3
    assert mask_exported(tmp_path, name="wide", golden_tolerance=0.05).manifest.golden.tolerance == 0.05


def test_manifest_survives_being_written(tmp_path: Path):
    """Mask, slabs and logistic model read back as they were."""
    manifest = mask_exported(tmp_path).manifest
    (tmp_path / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")

    assert read_manifest(tmp_path) == manifest
    assert (manifest.mask, manifest.input.slabs) == (FAZ, EN_FACE.slabs)
    assert manifest.output == mask_draft().outputs


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (mask_net(channels=3), r"gives \(1, 3, 64, 64\) for one image, expected one logit a pixel"),
        (torch.nn.Sequential(mask_net(), torch.nn.MaxPool2d(2)), r"gives \(1, 1, 32, 32\)"),
        (torch.nn.Sequential(mask_net(), torch.nn.Flatten()), r"gives \(1, 4096\)"),
        (mask_net(gain=float("nan")), "torch and onnxruntime differ by nan"),
    ],
    ids=["three classes", "half the size", "flat", "no numbers"],
)
def test_network_that_gives_no_mask_is_refused_and_leaves_nothing(net: Any, said: str, tmp_path: Path):
    """One finite logit a pixel, or no bundle."""
    with pytest.raises(ExportWrong, match=said):
        write_bundle(tmp_path / "traced", net, mask_draft(), check=blobs(3))

    assert list(tmp_path.iterdir()) == []


class Blinded(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A network that gives no number where an image is white."""

    def forward(self, x: Any) -> Any:
        """Nothing, but for the logarithm of what is below 0."""
        return 0.0 * torch.log(0.9 - x.mean(dim=(1, 2, 3), keepdim=True)) + x.mean(dim=1, keepdim=True)


def test_golden_that_gives_no_number_is_refused(tmp_path: Path):
    """Torch and onnxruntime may agree on everything else."""
    with pytest.raises(ExportWrong, match="gives no number on its golden picture for mask-mean"):
        mask_exported(tmp_path, Blinded(), golden=np.full((PX, PX, 3), 255, dtype=np.uint8))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_drift_is_what_a_second_measurement_finds(kind: Kind, tmp_path: Path):
    """Drift of the probabilities and Dice in figures and card are those of the masks on the held-out images."""
    source = mask_exported(tmp_path)
    drift = variant(source, kind).mask
    bundle = read_bundle(tmp_path / f"traced-{kind}")
    before, after = masks_of(source, blobs(5)), masks_of(bundle, blobs(5))
    both, sizes = ((before > 0.4) & (after > 0.4)).sum(axis=(1, 2)), (before > 0.4).sum(axis=(1, 2))
    dices = 2 * both / (sizes + (after > 0.4).sum(axis=(1, 2)))

    assert drift is not None
    assert 0 < drift.largest == pytest.approx(np.abs(after - before).max(), abs=1e-4)
    assert drift.mean == pytest.approx(np.abs(after - before).mean(), abs=1e-6)
    assert drift.dice_mean == pytest.approx(dices.mean(), abs=1e-4)
    assert drift.dice_smallest == pytest.approx(dices.min(), abs=1e-4)
    assert bundle.manifest.mask == FAZ
    stated = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert stated["drift"]["mask"]["dice_mean"] == drift.dice_mean
    assert f"| {drift.dice_mean:.4f} | {drift.dice_smallest:.4f} |" in bundle.card
    assert "half width" not in bundle.card


def test_masks_that_differ_are_refused_unless_forced(tmp_path: Path):
    """A variant whose mean Dice with its source is below 0.98 is not written, but for `force`."""
    edge = np.float32(0.5) + 1e-3 * np.abs(noise(4))  # all of it above 0.4, by less than a byte tells
    source = mask_exported(tmp_path, mask_net(gain=3e3), mask=FAZ.model_copy(update={"threshold": 0.5}))
    with pytest.raises(ExportWrong, match=r"traced-int8 drifts too far on 4 images: the mean Dice .* 0\.98 is asked"):
        variant(source, "int8", held_out=edge)
    assert not (tmp_path / "traced-int8").exists()

    drift = variant(source, "int8", held_out=edge, force=True)
    assert drift.mask is not None
    assert drift.mask.too_much
    assert (tmp_path / "traced-int8").is_dir()


def test_masks_that_are_both_empty_agree(tmp_path: Path):
    """An image without a structure counts as a Dice of 1, not as none."""
    drift = variant(mask_exported(tmp_path), "fp16", held_out=np.zeros((2, 3, PX, PX), dtype=np.float32)).mask

    assert drift is not None
    assert (drift.dice_mean, drift.dice_smallest) == (1, 1)


def test_drift_that_is_no_number_is_refused(tmp_path: Path):
    """What cannot be compared is not written, however it came about; here by what the networks were given."""
    held_out = blobs(3)
    held_out[1, 0, 5, 5] = np.nan

    with pytest.raises(ExportWrong, match="`mask` is not finite for a held-out image"):
        variant(mask_exported(tmp_path), "fp16", held_out=held_out)
    assert not (tmp_path / "traced-fp16").exists()


def run(*words: object) -> tuple[int, str, str]:
    """Run the command; return its exit code, stdout and stderr."""
    result = CliRunner().invoke(APP, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of eight pictures, grey ones too; two of them are of one scan."""
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(8):
        picture = Image.fromarray(blob(10 + 2 * k, 96))
        (picture.convert("L") if k % 2 else picture).save(folder / f"{k}.png")
    rows = [f"s{k},{k}.png,{'s1' if k == 0 else ''}" for k in range(8)]
    (folder / "pictures.csv").write_text("\n".join(["id,image,same_scan_as", *rows]) + "\n", encoding="utf-8")
    return folder / "pictures.csv"


def test_command_writes_variants_from_a_list_of_pictures(table: Path, tmp_path: Path):
    """Half of the scans calibrate, the other half measures; the row says drift and Dice."""
    source = mask_exported(tmp_path / "source")
    code, out, _ = run(source.folder, "--out", tmp_path, "--int8", "--fp16", "--table", table, "--json")
    rows = json.loads(out)

    assert code == 0
    assert [row["bundle"] for row in rows] == ["traced-int8 1.0.0", "traced-fp16 1.0.0"]
    assert all(row["mean Dice"] > 0.98 and row["largest"] > 0 for row in rows)
    assert {row["images"] for row in rows} <= {3, 4, 5}
    assert read_bundle(tmp_path / "traced-int8").manifest.mask == FAZ


def test_pictures_of_one_scan_stay_together(table: Path):
    """Whatever the seed, nobody calibrates with what she measures on."""
    for seed in range(6):
        pictures = read_pictures(table, None, seed)
        parts = [{path.stem for g in pictures.split.of(part) for path in pictures.groups[g]} for part in PARTS]

        assert sorted(stem for part in parts for stem in part) == [str(k) for k in range(8)]
        assert any({"0", "1"} <= part for part in parts)


def test_checkpoint_of_a_network_that_segments_is_referred_to_its_training(tmp_path: Path):
    """The command knows how to describe systemic estimates, not masks."""
    scaling = Scaling(names=(MASK,), mean=(0.0,), std=(1.0,))
    about = About(
        architecture="small-unet", trunk=MASK, heads=(MASK,), spec=EN_FACE, scaling=scaling, settings={"seed": 1}
    )
    write_checkpoint(tmp_path / "best.ckpt", build_for(about), about)
    code, _, err = run(tmp_path / "best.ckpt", "--out", tmp_path / "out")

    assert (code, "is of a network that segments; hint: its training writes the bundle" in err) == (2, True), err


def test_command_says_what_is_wrong_with_a_list(table: Path, tmp_path: Path):
    """A list without pictures, a picture that is none, and a split, which pictures have not."""
    source = mask_exported(tmp_path / "source").folder
    lists = {"other.csv": "path\n1.png\n", "empty.csv": "id,image\na,\n", "one.csv": "image\n0.png\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for words, expected, said in (
        (("--table", tmp_path / "other.csv"), 2, "column `image`: the column is not there"),
        (("--table", tmp_path / "empty.csv"), 2, "row 1, column `image`: names no picture"),
        (("--table", tmp_path / "one.csv"), 2, "hint"),
        (("--table", table, "--split", table), 2, "have no split of persons; hint: leave out --split"),
        (("--table", table, "--images", tmp_path), 1, "cannot be read as a picture"),
    ):
        code, _, err = run(source, "--out", tmp_path / "out", "--fp16", *words)
        assert (code, said in err) == (expected, True), err
    assert not (tmp_path / "out").exists()
