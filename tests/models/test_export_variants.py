"""Smaller variants: what they drift is measured, written down, and refused where it is too much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the extra `lab`")
pytest.importorskip("onnx", reason="exporting needs the extra `lab`")

from export_samples import AGE, PROVENANCE, SEX, exported, noise, small_net  # noqa: E402  # after the skips

from oculard_models.export import ExportWrong, write_variant  # noqa: E402
from oculard_models.export.variants import Drift, Kind  # noqa: E402
from oculard_models.registry import Bundle, read_bundle  # noqa: E402
from oculard_models.runners.onnx import OnnxEstimator, choose_providers  # noqa: E402

CPU = choose_providers(["cpu"], ["CPUExecutionProvider"])


def variant(source: Bundle, kind: Kind, **more: Any) -> Drift:
    """Write a variant beside its source."""
    folder = source.folder.with_name(f"{source.manifest.name}-{kind}")
    settings = {"calibration": [noise(6)], "held_out": noise(5), "provenance": PROVENANCE} | more
    return write_variant(source, kind, folder, **settings)


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_variant_is_a_bundle_of_its_own(kind: Kind, tmp_path: Path):
    """It has its own name, digest and self-test, the same version, and is smaller."""
    source = exported(tmp_path)
    drift = variant(source, kind)
    bundle = read_bundle(tmp_path / f"tried-{kind}")
    OnnxEstimator(bundle, CPU, threads=1).self_test()

    assert bundle.identity == f"tried-{kind} 1.0.0"
    assert bundle.manifest.weights.sha256 != source.manifest.weights.sha256
    assert kind == "int8" or drift.variant_bytes < drift.source_bytes  # of a tiny network the scales weigh most


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_drift_is_what_a_second_measurement_finds(kind: Kind, tmp_path: Path):
    """The drift that figures and card state is that of the reported values on the held-out images."""
    source = exported(tmp_path)
    drift = variant(source, kind)
    bundle = read_bundle(tmp_path / f"tried-{kind}")
    before, after = (OnnxEstimator(b, CPU, threads=1).estimate(noise(5)) for b in (source, bundle))
    ages = [AGE.scale * abs(a["age"] - b["age"]) for a, b in zip(after, before, strict=True)]
    age = drift.outputs[0]

    assert age.largest == pytest.approx(max(ages), abs=1e-3)
    assert age.mean == pytest.approx(np.mean(ages), abs=1e-3)
    assert age.share == pytest.approx(max(ages) / 5, abs=1e-3)
    assert age.largest > 0
    stated = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert stated["drift"]["outputs"][0]["largest"] == age.largest
    assert stated["command"] == "pytest"
    assert f"| age (a) | {age.mean:.3g} | {age.largest:.3g} |" in bundle.card
    assert "Drift on 5 held-out images" in bundle.card
    assert "# tried\n" in bundle.card  # the source's card follows


def test_drift_beyond_half_an_interval_is_refused_unless_forced(tmp_path: Path):
    """A variant that moves a value by more than half its interval is not written, but for `force`."""
    narrow = AGE.model_copy(update={"uncertainty": 1e-4})
    source = exported(tmp_path, outputs=(narrow, SEX))
    with pytest.raises(ExportWrong, match="tried-int8 drifts too far on 5 images: `age` by up to"):
        variant(source, "int8")
    assert not (tmp_path / "tried-int8").exists()

    drift = variant(source, "int8", force=True)
    assert drift.outputs[0].too_much
    assert (tmp_path / "tried-int8").is_dir()


def test_probability_that_jumps_is_refused(tmp_path: Path):
    """A classification has no interval; ten points of its probability are its limit."""
    net = small_net()
    with torch.no_grad():
        net[-1].weight[1] *= 3e4  # a logit that leaps at every rounding ...
        net[-1].bias[1] -= net(torch.from_numpy(noise(5)))[0, 1]  # ... and is undecided on the first image
    with pytest.raises(ExportWrong, match="`sex` by up to"):
        variant(exported(tmp_path, net), "int8")


def test_variants_need_photographs(tmp_path: Path):
    """Without images nothing is measured, and what is not measured is not written."""
    source = exported(tmp_path)
    with pytest.raises(ExportWrong, match="int8 needs photographs for its ranges"):
        variant(source, "int8", calibration=[])
    with pytest.raises(ExportWrong, match="fp16 needs held-out photographs"):
        variant(source, "fp16", held_out=noise(5)[:0])


def test_altered_source_becomes_no_variant(tmp_path: Path):
    """The digest of the source is checked before anything reads it."""
    source = exported(tmp_path)
    (source.folder / "model.onnx").write_bytes(b"\0" + (source.folder / "model.onnx").read_bytes())

    with pytest.raises(ExportWrong, match=r"model\.onnx has the digest"):
        variant(source, "fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["tried"]
