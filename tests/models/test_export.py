"""What the exporter writes is a whole bundle, or nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs the extra `lab`")
pytest.importorskip("onnx", reason="exporting needs the extra `lab`")

from export_samples import AGE, PX, SEX, SPEC, draft, exported, noise, small_net  # noqa: E402  # after the skips

from oculard_models.export import ExportWrong, manifest_toml, write_bundle  # noqa: E402
from oculard_models.manifest import Limits, read_manifest  # noqa: E402
from oculard_models.registry import read_bundle  # noqa: E402
from oculard_models.runners.onnx import OnnxEstimator, choose_providers  # noqa: E402

CPU = choose_providers(["cpu"], ["CPUExecutionProvider"])


def test_exported_bundle_serves(tmp_path: Path):
    """What is written reads back, passes its self-test, and gives what torch gives."""
    net = small_net()
    written = write_bundle(tmp_path / "tried", net, draft(), check=noise(4))
    estimator = OnnxEstimator(read_bundle(tmp_path / "tried"), CPU, threads=1)
    estimator.self_test()

    with torch.inference_mode():
        expected = net(torch.from_numpy(noise(3))).tolist()
    got = [[row["age"], row["sex"]] for row in estimator.estimate(noise(3))]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert written.largest_difference < 1e-5


def test_figures_travel_with_the_difference(tmp_path: Path):
    """metrics.json holds the draft's figures and the largest difference between torch and onnxruntime."""
    bundle = exported(tmp_path)
    figures = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))

    assert {"command", "date", "data", "seed"} <= set(figures)
    assert 0 <= figures["largest_difference_torch_onnx"] < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tried"]  # nothing half written is left beside it


def test_limits_of_a_gate_survive_being_written(tmp_path: Path):
    """A table within an output reads back as it was."""
    output = AGE.model_copy(update={"limits": Limits(reason="blurred", limited=1.0, ungradable=2.0)})
    manifest = exported(tmp_path, outputs=(output, SEX)).manifest
    (tmp_path / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")

    assert read_manifest(tmp_path) == manifest
    assert manifest.output[0].limits == output.limits


def test_existing_folder_is_replaced_only_when_asked(tmp_path: Path):
    """Without `replace` nothing is touched; with it the bundle of the same name gives way."""
    exported(tmp_path)
    with pytest.raises(ExportWrong, match="is already there; hint: name another folder"):
        write_bundle(tmp_path / "tried", small_net(2), draft(version="2.0.0"), check=noise(4))
    assert read_bundle(tmp_path / "tried").manifest.version == "1.0.0"

    write_bundle(tmp_path / "tried", small_net(2), draft(version="2.0.0"), check=noise(4), replace=True)
    assert read_bundle(tmp_path / "tried").manifest.version == "2.0.0"
    assert [path.name for path in tmp_path.iterdir()] == ["tried"]


def test_what_is_not_that_bundle_is_never_replaced(tmp_path: Path):
    """A folder of other things, and a bundle of another name, stay."""
    exported(tmp_path)
    with pytest.raises(ExportWrong, match="it is the bundle `tried`, not `other`"):
        write_bundle(tmp_path / "tried", small_net(), draft(name="other"), check=noise(4), replace=True)
    (tmp_path / "things").mkdir()
    with pytest.raises(ExportWrong, match="is not replaced because it is no bundle"):
        write_bundle(tmp_path / "things", small_net(), draft(), check=noise(4), replace=True)


class Counting(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A network that gives something else every time: what is traced is not what runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Any) -> Any:
        """Mean times the number of calls."""
        self.calls += 1
        return x.mean(dim=(1, 2, 3))[:, None].repeat(1, 2) * 0 + float(self.calls)


class Broken(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A network that gives no number."""

    def forward(self, x: Any) -> Any:
        """Nothing but NaN."""
        return x.mean(dim=(1, 2, 3))[:, None].repeat(1, 2) * float("nan")


@pytest.mark.parametrize("net", [Counting(), Broken()], ids=["counting", "broken"])
def test_network_that_differs_is_refused_and_leaves_nothing(net: Any, tmp_path: Path):
    """torch and onnxruntime must agree; otherwise there is no folder, and none half written."""
    with pytest.raises(ExportWrong, match="torch and onnxruntime differ by"):
        write_bundle(tmp_path / "tried", net, draft(), check=noise(4))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {"command": "pytest"}}, "the figures of `tried` lack date, data, seed"),
        ({"card": " "}, "card.md is empty"),
        ({"name": "Tried!"}, "the draft of `Tried!` makes no manifest"),
        ({"title": "試作"}, "must be ASCII"),
        ({"golden": np.zeros((8, 8), dtype=np.uint8)}, "the golden picture is"),
        ({"input": SPEC.model_copy(update={"tensor": "x"})}, "the input tensor is `x`, the export calls it `image`"),
    ],
)
def test_bad_draft_is_refused_and_leaves_nothing(changes: dict[str, Any], said: str, tmp_path: Path):
    """Each part of a draft that no bundle could have is named."""
    with pytest.raises(ExportWrong, match=said):
        exported(tmp_path, **changes)

    assert list(tmp_path.iterdir()) == []


def test_figure_that_is_no_number_is_refused(tmp_path: Path):
    """NaN is no JSON: it would be read differently by everybody."""
    with pytest.raises(ExportWrong, match="the figures are no JSON"):
        exported(tmp_path, metrics=draft().metrics | {"mae": float("nan")})  # type: ignore[operator]


def test_check_batch_must_fit(tmp_path: Path):
    """A batch of another size checks nothing."""
    with pytest.raises(ExportWrong, match=r"the check batch is \(2, 3, 32, 32\)"):
        write_bundle(tmp_path / "tried", small_net(), draft(), check=noise(2, PX // 2))
