"""What runs a bundle that segments: the guards around its mask, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_samples import edit_manifest, mask_model, mean_model, tiny_bundle, tiny_mask_bundle

from oculard_models.contract import EstimateFailed
from oculard_models.manifest import BundleRefused
from oculard_models.registry import read_bundle
from oculard_models.runners.golden import Loaded
from oculard_models.runners.load import Runner, choose
from oculard_models.runners.load import load as load_by

GREY = np.stack([np.full((3, 16, 16), level, dtype=np.float32) for level in (0.0, 0.25, 1.0)])

both_runners = pytest.mark.parametrize("runner", ["onnx", "torch"])


def load(folder: Path, runner: Runner) -> Loaded:
    """Load a bundle on the processor."""
    if runner == "torch":
        pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
    return load_by(read_bundle(folder), runner=runner, choice=choose(runner, ["cpu"]), threads=1)


def refusal_of(folder: Path, runner: Runner) -> str:
    """Return the message with which a bundle is refused while loading or in its self-test."""
    with pytest.raises(BundleRefused) as caught:
        load(folder, runner).self_test()
    return str(caught.value)


@both_runners
def test_batch_gives_one_mask_per_image(runner: Runner, tmp_path: Path):
    """Every image has its own probabilities, height x width, in its place, and the self-test passes."""
    segmenter = load(tiny_mask_bundle(tmp_path, mask_model), runner)
    segmenter.self_test()
    batch = GREY.copy()
    batch[1, :, 3, 5] = 0.75
    masks = segmenter.segment(batch)

    assert (masks.shape, masks.dtype) == ((3, 16, 16), np.float32)
    assert masks[:, 0, 0].tolist() == [0.0, 0.25, 1.0]
    assert masks[1, 3, 5] == 0.75


@both_runners
def test_asking_for_the_other_is_a_bug(runner: Runner, tmp_path: Path):
    """A bundle with a mask has no values, one without has no mask."""
    with pytest.raises(ValueError, match="`tiny-mask` segments: ask it to `segment`, not to `estimate`"):
        load(tiny_mask_bundle(tmp_path, mask_model), runner).estimate(GREY)
    with pytest.raises(ValueError, match="`tiny` has no mask: ask it to `estimate`, not to `segment`"):
        load(tiny_bundle(tmp_path, mean_model), runner).segment(GREY)


@both_runners
def test_batch_of_another_shape_is_a_bug(runner: Runner, tmp_path: Path):
    """A batch that was not prepared by the segmenter is refused before it reaches the network."""
    with pytest.raises(ValueError, match=r"expected images x 3 x \(16, 16\) of float32"):
        load(tiny_mask_bundle(tmp_path, mask_model), runner).segment(GREY[:, :, :8])


@both_runners
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": "zone"}, "no output tensor `mask`; there are ['zone']"),
        (
            {"stated": ("images", 2, 16, 16)},
            "mask `mask` has the shape ['images', 2, 16, 16], the manifest says images",
        ),
        ({"stated": ("images", 1, 32, 32)}, "the manifest says images x [1, 16, 16]"),
        ({"stated": ("images", 1, 40_000, 40_000)}, "the manifest says images x [1, 16, 16]"),
        ({"stated": (1, 1, 16, 16)}, "mask `mask` has the shape [1, 1, 16, 16]"),
        ({"kind": 11}, "not tensor(float)"),
    ],
    ids=["missing", "two channels", "other size", "huge", "fixed batch", "double"],
)
def test_mask_that_is_none_is_refused(runner: Runner, changes: dict[str, Any], said: str, tmp_path: Path):
    """The tensor must be there, float, for any number of images, with one channel of the input's size."""
    folder = tiny_mask_bundle(tmp_path, lambda onnx: mask_model(onnx, **changes))

    assert said in refusal_of(folder, runner)


@both_runners
def test_one_value_an_image_is_no_mask(runner: Runner, tmp_path: Path):
    """A tensor of fewer dimensions is refused."""
    folder = tiny_mask_bundle(tmp_path, lambda onnx: mean_model(onnx, output="mask"))

    assert "mask `mask` has the shape ['images', 1], the manifest says images x [1, 16, 16]" in refusal_of(
        folder, runner
    )


@both_runners
@pytest.mark.parametrize("stated", [("images", 1, 16, 16), ("images", "c", "h", "w")], ids=["stated", "open"])
@pytest.mark.parametrize(
    ("repeats", "given"),
    [((1, 2, 1, 1), "1, 2, 16, 16"), ((1, 1, 3, 3), "1, 1, 48, 48"), ((2, 1, 1, 1), "2, 1, 16, 16")],
)
def test_network_that_gives_another_shape_than_it_states_is_refused(
    runner: Runner, stated: tuple[int | str, ...], repeats: tuple[int, ...], given: str, tmp_path: Path
):
    """What nobody knew before it ran is looked at when it is there: channels, size, number."""
    folder = tiny_mask_bundle(tmp_path, lambda onnx: mask_model(onnx, stated=stated, repeats=repeats))

    assert "masks of (16, 16)" in refusal_of(folder, runner)
    with pytest.raises(EstimateFailed, match=rf"gave \({given}\) for 1 masks of \(16, 16\)"):
        load(folder, runner).segment(GREY[:1])


@both_runners
@pytest.mark.parametrize(
    ("gain", "shift"), [(3.0, 0.0), (1.0, -0.6), (float("nan"), 0.0), (float("inf"), 0.0)], ids=str
)
def test_mask_that_is_no_probability_is_refused(runner: Runner, gain: float, shift: float, tmp_path: Path):
    """Logits, or weights that are no numbers, do not pass the self-test, whatever the golden expects."""
    folder = tiny_mask_bundle(tmp_path, lambda onnx: mask_model(onnx, gain=gain, shift=shift))
    edit_manifest(folder, "0.502", f"{min(max(gain * 0.502 + shift, -9), 9):.3f}".replace("inf", "9.0"))

    assert "`mask` of golden.png has what is no probability; hint: is a sigmoid missing" in refusal_of(folder, runner)


@both_runners
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mask-mean = 0.502", "mask-mean = 0.49", "`mask-mean` of golden.png is 0.5020, expected 0.4900 +- 0.01"),
        ("mask-share = 1.0", "mask-share = 0.9", "`mask-share` of golden.png is 1.0000, expected 0.9000 +- 0.01"),
        ('tensor = "mask"', 'tensor = "mask"\nthreshold = 0.6', "`mask-share` of golden.png is 0.0000"),
    ],
    ids=["mean", "share", "threshold"],
)
def test_golden_mask_that_deviates_is_refused(runner: Runner, old: str, new: str, said: str, tmp_path: Path):
    """Mean and share of the golden picture's mask must be as promised."""
    folder = tiny_mask_bundle(tmp_path, mask_model)
    edit_manifest(folder, old, new)

    assert said in refusal_of(folder, runner)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[16, 16]", "[16, 4112]", "input.size_px"),
        ('structure = "faz"', 'structure = "drusen"', "mask.structure"),
        ("mirror_left = false", "mirror_left = true", "sees every eye as it is"),
        ('[mask]\nstructure = "faz"\ntensor = "mask"\n', "", "`golden.expected` must name every output once"),
        ("mask-share = 1.0", "area-px = 1.0", "must name each of mask-mean, mask-share once"),
        ('kind = "measured"', 'kind = "value"\ntensor = "mask"', "measured and logistic outputs only"),
    ],
    ids=["huge", "other structure", "mirrored", "no mask", "other golden", "raw output"],
)
def test_hostile_manifest_is_refused(old: str, new: str, said: str, tmp_path: Path):
    """What no bundle with a mask may say is named before anything is loaded."""
    folder = tiny_mask_bundle(tmp_path, mask_model)
    edit_manifest(folder, old, new)

    with pytest.raises(BundleRefused, match=said):
        read_bundle(folder)
