"""Whatever runs a bundle, the findings are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
pytest.importorskip("onnx", reason="the torch runner needs the extra `lab`")

from export_samples import AGE, PROVENANCE, SEX, SPEC, exported, noise  # noqa: E402  # after the skips

from oculard_models.contract import ImageInput  # noqa: E402
from oculard_models.data.paint import paint  # noqa: E402
from oculard_models.data.person import sample_person  # noqa: E402
from oculard_models.export import write_variant  # noqa: E402
from oculard_models.findings import to_findings  # noqa: E402
from oculard_models.nets.sixteen import SIXTEEN, architecture, build  # noqa: E402
from oculard_models.registry import Bundle, find_bundles, read_bundle  # noqa: E402
from oculard_models.runners.load import Runner, choose, load  # noqa: E402

SHIPPED = find_bundles()[0]
RUNNERS: tuple[Runner, Runner] = ("onnx", "torch")
QUICK = ("oculard-small", "mobilenet", "mobilenet-v2", "efficientnet-b0")
APART = 0.02  # of a reported value, in its unit: the last reported digit, and one for its rounding
SHARE = 1e-4  # ... or of the value itself: untrained networks give ages of thousands of years
SHARES = {  # of an interval, for the variants
    "int8": 0.04,  # what lies on the edge of a byte rounds either way; measured 0.02 (0.07 with 8-bit weights)
    "fp16": 0.01,  # onnxruntime keeps halves between its layers, we do not; measured 0.002
}


def both(bundle: Bundle) -> list[list[dict[str, float]]]:
    """Run painted eyes through a bundle with both runners, self-tests first; raw outputs."""
    pixels = [paint(sample_person(np.random.default_rng(seed)), "RL"[seed % 2], seed, 256) for seed in range(4)]
    results = []
    for runner in RUNNERS:
        estimator = load(bundle, runner=runner, choice=choose(runner, ["cpu"]), threads=1)
        estimator.self_test()
        eyes = [ImageInput(sop_instance_uid="1.2", eye="RL"[k % 2], pixels=eye) for k, eye in enumerate(pixels)]
        batch: npt.NDArray[np.float32] = np.stack([estimator.prepare(eye) for eye in eyes])
        results.append([dict(row) for row in estimator.estimate(batch)])
    return results


def must_agree(bundle: Bundle) -> None:
    """Compare the findings of every eye: the same qualifier and choice, the same value to the last digit."""
    for ours, theirs in zip(*both(bundle), strict=True):
        pair = (to_findings(bundle.manifest, [("1.2", side)]) for side in (ours, theirs))
        for one, other in zip(*pair, strict=True):
            assert (one.name, one.qualifier, one.choice) == (other.name, other.qualifier, other.choice)
            assert one.value == pytest.approx(other.value, abs=APART, rel=SHARE)


@pytest.mark.parametrize("bundle", SHIPPED, ids=[bundle.manifest.name for bundle in SHIPPED])
def test_shipped_bundle_gives_the_same_findings(bundle: Bundle):
    """Every bundle that comes with oculard."""
    must_agree(bundle)


@pytest.mark.parametrize("name", QUICK)
def test_fresh_network_gives_the_same_findings(name: str, tmp_path: Path):
    """Networks of several families, exported as a training would."""
    must_agree(fresh(name, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SIXTEEN if name not in QUICK])
def test_each_of_the_sixteen_gives_the_same_findings(name: str, tmp_path: Path):
    """The rest of the sixteen."""
    must_agree(fresh(name, tmp_path))


def fresh(name: str, folder: Path) -> Bundle:
    """Build a network with weights by chance, settled so that its outputs have about unit size, and export it."""
    px = max(64, architecture(name).least_px)
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = build(name, ["age", "sex"])
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0  # takes over the statistics of one batch whole
    with torch.no_grad():
        settled = net.train()(torch.from_numpy(noise(8, px)))
    assert settled.shape == (8, 2)
    spec = SPEC.model_copy(update={"size_px": (px, px)})
    return exported(folder, net.eval(), input=spec, outputs=(AGE.model_copy(update={"valid": None}), SEX))


@pytest.mark.parametrize("kind", SHARES)
def test_variant_gives_the_same_findings_but_for_rounding(kind: str, tmp_path: Path):
    """The variants of the demonstration: values within a small share of their interval."""
    bundle = variant(tmp_path, kind)
    for ours, theirs in zip(*both(bundle), strict=True):
        for output in bundle.manifest.output:
            if output.uncertainty is not None:
                apart = abs(ours[output.name] - theirs[output.name]) * output.scale
                assert apart <= SHARES[kind] * output.uncertainty


def variant(folder: Path, kind: str) -> Bundle:
    """Write a variant of the demonstration, calibrated on painted eyes."""
    source = next(bundle for bundle in SHIPPED if bundle.manifest.name == "systemic-demo")
    eyes = [paint(sample_person(np.random.default_rng(k)), "R", k, 256) for k in range(10, 18)]
    estimator = load(source, runner="onnx", choice=choose("onnx", ["cpu"]), threads=1)
    batch = np.stack([estimator.prepare(ImageInput(sop_instance_uid="1.2", eye="R", pixels=eye)) for eye in eyes])
    path = folder / f"systemic-demo-{kind}"
    write_variant(
        source,
        "int8" if kind == "int8" else "fp16",
        path,
        calibration=[batch[:6]],
        held_out=batch[6:],
        provenance=PROVENANCE,
        force=True,
    )
    return read_bundle(path)
