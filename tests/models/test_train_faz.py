"""Does the training of the avascular zone go from a table to a bundle that serves, and refuse what is asked wrongly?"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs the extra `lab` (torch)")

from oculard_models.contract import ImageInput
from oculard_models.data.masked import read_kept, read_table
from oculard_models.data.paint_octa import paint_octa
from oculard_models.evaluate.masks import summary
from oculard_models.lab import app
from oculard_models.preprocess import seen_box
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers
from oculard_models.structures import measure
from oculard_models.train.faz_baselines import blurred_threshold, constant_mask
from oculard_models.train.segmenting import agreements, en_face_spec

PICTURES = 8
SHORT = [
    *("--size-px", "64", "--patch-px", "48", "--painted", "8"),
    *("--before", "1", "--epochs", "2", "--folds", "2", "--batch", "2"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paint a few angiographies and write their table."""
    folder = tmp_path_factory.mktemp("octa")
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "mask", "plexus", "side_mm"])
        for seed in range(PICTURES):
            one = paint_octa(10**9 + seed, 128, plexus=("deep", "superficial")[seed % 2])
            Image.fromarray(one.pixels).save(folder / f"{seed}.png")
            Image.fromarray(one.mask.astype(np.uint8) * 255).save(folder / f"{seed}-mask.png")
            writer.writerow([f"{one.plexus}-{seed}", f"{seed}.png", f"{seed}-mask.png", one.plexus, one.side_mm])
    return folder / "labels.csv"


def lab(*arguments: object) -> tuple[int, str]:
    """Run `oculard-lab`; return its exit status and all that it said."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_networks_are_compared_and_one_becomes_a_bundle(table: Path, tmp_path: Path):
    """The table has every network and both baselines; the bundle measures zones; what is finished is not done again."""
    run, more = tmp_path / "compare", ("--nets", "small-unet", "--tuning", "2")
    status, said = lab("train", "faz-compare", "--data", table, "--run", run, *SHORT, *more)
    assert status == 0, said
    figures = json.loads((run / "figures.json").read_text())
    assert set(figures["summary"]) == {"constant mask", "blur and threshold", "small-unet"}
    assert figures["summary"]["small-unet"]["all"]["pictures"] == PICTURES
    assert figures["costs"]["small-unet"]["parameters"] == 1_005_729
    assert figures["costs"]["small-unet"]["mb_int8"] < figures["costs"]["small-unet"]["mb"] / 3
    assert figures["int8"]["small-unet"]["all"]["pictures"] == PICTURES
    asked = ("--data", table, "--compared", run / "figures.json", "--run", tmp_path / "faz", *SHORT)
    status, said = lab("train", "faz", *asked, "--out", tmp_path / "one" / "faz")
    assert status == 0, said
    bundle = read_bundle(tmp_path / "one" / "faz")
    assert bundle.manifest.mask is not None
    assert "| small-unet |" in bundle.card
    assert "Zenodo 5075194" in bundle.card
    assert "WO2023062764A1" not in bundle.manifest.licence
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    estimator.self_test()
    assert np.float32(1e-39) * np.float32(0.5) > 0.0, "a training leaves the process's arithmetic as it was"
    status, said = lab("measure", tmp_path / "one" / "faz", "--data", table, "--csv", tmp_path / "m.csv", "--json")
    assert status == 0, said
    rows = list(csv.DictReader((tmp_path / "m.csv").open(newline="", encoding="utf-8")))
    assert [row["id"] for row in rows] == [str(row["id"]) for row in json.loads(said)]
    assert all(row["area"] or row["reason"] for row in rows)
    status, said = lab("measure", tmp_path / "one" / "faz", "--data", table, "--csv", tmp_path / "nowhere" / "m.csv")
    assert status == 1
    assert "cannot be written" in said
    status, said = lab("train", "faz", *asked, "--out", tmp_path / "two" / "faz")
    assert status == 0, said
    assert "epoch" not in said
    assert read_bundle(tmp_path / "two" / "faz").manifest.weights.sha256 == bundle.manifest.weights.sha256


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--nets", "resnet"), "small-unet"),
        (("--patch-px", "50"), "multiples of 16"),
        (("--patch-px", "128", "--size-px", "64"), "no larger"),
        (("--folds", "9"), "9 folds"),
    ],
)
def test_wrong_wish_is_refused(table: Path, tmp_path: Path, arguments: tuple[str, ...], words: str):
    """With 2, before anything is trained."""
    status, said = lab("train", "faz-compare", "--data", table, "--run", tmp_path / "run", *arguments)
    assert status == 2
    assert words in " ".join(said.split())


def test_folds_are_refused_before_the_first_lesson(table: Path, tmp_path: Path):
    """Nobody waits for painted pictures to learn that there are too few real ones."""
    status, said = lab("train", "faz", "--data", table, *SHORT, "--folds", "9", "--run", tmp_path / "run")
    assert status == 2
    assert "9 folds" in said
    assert not (tmp_path / "run").exists()


def test_figures_of_another_kind_are_refused(table: Path, tmp_path: Path):
    """The card would show them."""
    (tmp_path / "figures.json").write_text("[]")
    status, said = lab("train", "faz", "--data", table, "--compared", tmp_path / "figures.json", *SHORT)
    assert status == 2
    assert "faz-compare" in said


def test_baselines_find_painted_zones(table: Path):
    """A blurred threshold finds dark zones, everybody's mean finds what lies in the middle."""
    kept = read_kept(read_table(table), en_face_spec(64))
    for baseline in (constant_mask, blurred_threshold):
        assert summary(baseline(kept, kept)).dice_mean > 0.4


# --- the shipped bundle ---------------------------------------------------------------------------------------------


def maps_of(name: str, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Run a shipped bundle as the daemon does."""
    bundle = read_bundle(BUNDLES / name)
    estimator = OnnxEstimator(bundle, choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1)
    seen = [ImageInput(sop_instance_uid="1.2.3", eye="R", pixels=pixels) for pixels in pictures]
    return [estimator.segment(estimator.prepare(one)[None])[0] for one in seen]


def test_shipped_bundle_measures_painted_zones():
    """On angiographies that no training painted, areas follow the truth and outlines overlap it."""
    painted = [paint_octa(10**12 + seed, 512, plexus="superficial", faults=False) for seed in range(6)]
    pixels = [np.repeat(one.pixels[..., None], 3, axis=2) for one in painted]
    manifest = read_bundle(BUNDLES / "faz").manifest
    assert manifest.mask is not None
    for one, picture, probability in zip(painted, pixels, maps_of("faz", pixels), strict=True):
        found = measure(
            probability,
            mask=manifest.mask,
            box=seen_box(picture, manifest.input),
            image_size=(512, 512),
            spacing_mm=(3.0 / 512, 3.0 / 512),
        )
        assert found.shape is not None
        overlap = 2 * (found.shape.mask & one.mask).sum() / (found.shape.mask.sum() + one.mask.sum())
        assert overlap > 0.8
        assert found.values["area"] == pytest.approx(one.area_mm2, rel=0.3)


def test_shipped_bundle_knows_its_own_pictures():
    """The pictures that it learnt from: a wrong file of weights or a wrong preparation would show at once."""
    folder = Path(os.environ.get("OCULARD_DATA") or Path(__file__).parents[3] / "shared" / "data") / "octa-faz"
    if not folder.is_dir():
        pytest.skip(f"no real angiographies at {folder}; set OCULARD_DATA to the folder that holds octa-faz/")
    bundle = read_bundle(BUNDLES / "faz")
    assert bundle.manifest.mask is not None
    kept = read_kept(read_table(folder / "labels.csv")[::6], bundle.manifest.input)
    pictures = [np.asarray(Image.open(one.about.image).convert("RGB")) for one in kept]
    found = agreements(kept, maps_of("faz", pictures), bundle.manifest.mask)
    assert summary(found).dice_mean > 0.9
