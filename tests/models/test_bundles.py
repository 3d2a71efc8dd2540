"""A walk over every bundle that is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oculard_models.export import manifest_toml
from oculard_models.manifest import read_manifest
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

SHIPPED = sorted(folder for folder in BUNDLES.iterdir() if folder.is_dir())
MAX_BYTES = 15 << 20

every_bundle = pytest.mark.parametrize("folder", SHIPPED, ids=[folder.name for folder in SHIPPED])


@every_bundle
def test_bundle_passes_its_self_test(folder: Path):
    """The weights have their digest, load, and give what the golden picture promises."""
    OnnxEstimator(read_bundle(folder), choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()


@every_bundle
def test_bundle_is_called_like_its_folder(folder: Path):
    """The folder's name is the bundle's name, so that messages about either are found."""
    assert read_manifest(folder).name == folder.name


@every_bundle
def test_bundle_stays_small(folder: Path):
    """Shipped weights are small enough for a repository."""
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES


@every_bundle
def test_demonstration_says_so_in_both_languages(folder: Path):
    """The card of demonstration weights says in Japanese and in English that they mean nothing for people."""
    bundle = read_bundle(folder)
    if not bundle.manifest.demonstration:
        pytest.skip("not a demonstration")

    assert "means nothing for any person" in bundle.card
    assert "実在の人に対しては何の意味もありません" in bundle.card
    assert "demonstration" in bundle.manifest.title


@every_bundle
def test_measures_travel_with_their_command(folder: Path):
    """metrics.json says how, from how many people and when its figures were made."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if "source" in metrics:
        pytest.skip("a variant: its source's figures hold, and its drift stands beside them")

    assert metrics["command"].startswith("oculard-lab train ")
    manifest = read_manifest(folder)
    painted = manifest.demonstration and manifest.mask is None  # painted people are cheap, outlined photographs are not
    least = 100 if manifest.input.views else 300 if painted else 8 if manifest.mask else 20  # views: as in the paper
    assert metrics["people"]["test"] >= least
    assert metrics["date"]


@every_bundle
def test_variant_is_of_the_source_that_is_shipped(folder: Path):
    """A variant was made from these very weights, and its masks are nearly theirs."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if "source" not in metrics:
        pytest.skip("not a variant")

    assert metrics["command"].startswith("oculard-lab export ")
    source = read_bundle(BUNDLES / metrics["source"]["name"])
    assert source.manifest.weights.sha256 == metrics["source"]["sha256"]
    assert metrics["drift"]["mask"]["dice_mean"] > 0.99
    assert (folder / "model.onnx").stat().st_size < 4_000_000


@every_bundle
def test_manifest_survives_being_written_again(folder: Path, tmp_path: Path):
    """What the exporter writes is what the reader reads."""
    manifest = read_manifest(folder)
    (tmp_path / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")

    assert read_manifest(tmp_path) == manifest
