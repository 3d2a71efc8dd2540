"""Whatever runs a bundle, the findings are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
pytest.importorskip("onnx", reason="the torch runner needs the extra `lab`")

from export_samples import (  # noqa: E402  # after the skips
    AGE,
    PROVENANCE,
    SEX,
    SPEC,
    blobs,
    exported,
    mask_exported,
    noise,
)

from oculard_models.contract import ImageInput  # noqa: E402
from oculard_models.data.oct_eye import draw_eye  # noqa: E402
from oculard_models.data.oct_views import paint_views  # noqa: E402
from oculard_models.data.paint import paint  # noqa: E402
from oculard_models.data.paint_octa import paint_octa  # noqa: E402
from oculard_models.data.person import sample_person  # noqa: E402
from oculard_models.export import write_variant  # noqa: E402
from oculard_models.findings import to_findings  # noqa: E402
from oculard_models.nets.segmenters import build_segmenter  # noqa: E402
from oculard_models.nets.sixteen import SIXTEEN, architecture, build  # noqa: E402
from oculard_models.registry import Bundle, find_bundles, read_bundle  # noqa: E402
from oculard_models.runners.load import Runner, choose, load  # noqa: E402
from oculard_models.structures import measure  # noqa: E402
from oculard_models.volumes.types import DISC_TYPES  # noqa: E402

CLASSIFYING = [bundle for bundle in find_bundles()[0] if bundle.manifest.input.views]
SHIPPED = [bundle for bundle in find_bundles()[0] if bundle.manifest.mask is None and bundle not in CLASSIFYING]
SEGMENTING = [bundle for bundle in find_bundles()[0] if bundle.manifest.mask is not None]
RUNNERS: tuple[Runner, Runner] = ("onnx", "torch")
APART_MASK = 1e-3  # of a probability
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


def masks_of(bundle: Bundle) -> list[npt.NDArray[np.float32]]:
    """Run painted angiographies through a bundle that segments with both runners, self-tests first."""
    images = [np.repeat(paint_octa(seed, 256).pixels[..., None], 3, axis=2) for seed in range(3)]
    results = []
    for runner in RUNNERS:
        segmenter = load(bundle, runner=runner, choice=choose(runner, ["cpu"]), threads=1)
        segmenter.self_test()
        shown = [ImageInput(sop_instance_uid="1.2", eye="R", pixels=image) for image in images]
        results.append(segmenter.segment(np.stack([segmenter.prepare(image) for image in shown])))
    return results


@pytest.mark.parametrize("bundle", CLASSIFYING, ids=[bundle.manifest.name for bundle in CLASSIFYING])
def test_shipped_classifier_says_the_same(bundle: Bundle):
    """Probabilities, what each view says alone, and the maps, on painted eyes of every class."""
    spec, classes = bundle.manifest.input, bundle.manifest.class_output.choices
    eyes = [draw_eye(seed, one) for seed, one in enumerate(DISC_TYPES)]
    painted = [paint_views(eye, size_px=spec.size_px[0], seed=1, names=spec.views) for eye in eyes]
    batch = np.stack([np.stack([views[name] for name in spec.views]) for views in painted])
    ours, theirs = [
        load(bundle, runner=runner, choice=choose(runner, ["cpu"]), threads=1).classify(batch) for runner in RUNNERS
    ]

    assert len({one.winner for one in ours}) > 1
    for one, other in zip(ours, theirs, strict=True):
        assert classes[one.winner] == classes[other.winner]
        for part in ("probability", "by_view", "activation"):
            assert np.allclose(getattr(one, part), getattr(other, part), atol=1e-3)


@pytest.mark.parametrize("bundle", SEGMENTING, ids=[bundle.manifest.name for bundle in SEGMENTING])
def test_shipped_bundle_gives_the_same_masks(bundle: Bundle):
    """Every bundle that segments and comes with oculard, and what is measured of its masks."""
    ours, theirs = masks_of(bundle)
    mask = bundle.manifest.mask
    assert mask is not None
    if bundle.manifest.name.endswith("-int8"):  # rounding to 8 bit is each kernel's own: single pixels may jump
        assert np.abs(np.subtract(ours, theirs)).mean() < APART_MASK
    else:
        np.testing.assert_allclose(ours, theirs, atol=APART_MASK)
    for pair in zip(ours, theirs, strict=True):
        one, other = (
            measure(side, mask=mask, box=(0, 0, 256, 256), image_size=(256, 256), spacing_mm=(3 / 256, 3 / 256))
            for side in pair
        )
        assert one.reason == other.reason
        assert dict(one.values) == pytest.approx(dict(other.values), rel=0.02, abs=0.01)


@pytest.mark.parametrize(
    "name",
    ["lwbna", "small-unet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("unet", "deeplabv3plus"))],
)
def test_fresh_segmenter_gives_the_same_masks(name: str, tmp_path: Path):
    """The networks that segment, exported as a training would: their operators are known to both runners."""
    if name == "deeplabv3plus":
        pytest.importorskip("segmentation_models_pytorch", reason="comes with the extra `lab`")
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = build_segmenter(name)
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.from_numpy(noise(2)))
    ours, theirs = masks_of(mask_exported(tmp_path, net.eval()))

    assert ours.std() > 0.01  # a network that says the same everywhere would agree with anything
    np.testing.assert_allclose(ours, theirs, atol=APART_MASK)


@pytest.mark.parametrize("kind", SHARES)
def test_variant_gives_the_same_masks_but_for_rounding(kind: str, tmp_path: Path):
    """Bytes and halves, with torch as with onnxruntime."""
    source = mask_exported(tmp_path)
    path = tmp_path / f"traced-{kind}"
    write_variant(
        source,
        "int8" if kind == "int8" else "fp16",
        path,
        calibration=[blobs(6)],
        held_out=blobs(3),
        provenance=PROVENANCE,
    )
    ours, theirs = masks_of(read_bundle(path))

    np.testing.assert_allclose(ours, theirs, atol=0.05 if kind == "int8" else 5e-3)
