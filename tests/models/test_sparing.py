"""Memory that runs short costs time, never a result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from bundle_samples import mean_model, tiny_bundle

from oculard_models.contract import EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.registry import BUNDLES, Bundle, read_bundle
from oculard_models.runners.golden import Loaded
from oculard_models.runners.load import choose, load
from oculard_models.runners.onnx import PROVIDERS, Choice, OnnxEstimator
from oculard_models.runners.sparing import Sparing


class Narrow:
    """An estimator that gives every image's first number and has room for so many images at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []
        self.devices = ("cuda",)
        self.bundle: Bundle = read_bundle(BUNDLES / "systemic-demo")

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Not asked here."""
        raise NotImplementedError

    def estimate(self, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
        """Note the size; give the numbers if there is room."""
        self.sizes.append(len(batch))
        if len(batch) > self.room:
            raise OutOfMemory(f"no room for {len(batch)}")
        return [{"age": float(image[0, 0, 0])} for image in batch]

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The same for masks of 2 x 2 pixels."""
        return np.array([np.full((2, 2), row["age"]) for row in self.estimate(batch)], dtype=np.float32)

    def self_test(self) -> None:
        """Not asked here."""


def images(count: int) -> npt.NDArray[np.float32]:
    """Make images that are told apart by their first number."""
    return np.arange(count, dtype=np.float32)[:, None, None, None].repeat(3, axis=1)


def never() -> Loaded:
    """A fallback that must not be loaded."""
    raise AssertionError("the fallback was loaded")


@pytest.mark.parametrize("count", [1, 2, 7, 8, 13])
@pytest.mark.parametrize("room", [1, 2, 3, 64])
def test_results_are_whole_and_in_order_however_little_fits(room: int, count: int):
    """Every image has its own result, once, in its place."""
    sparing = Sparing(Narrow(room), never)

    assert [row["age"] for row in sparing.estimate(images(count))] == list(range(count))


@pytest.mark.parametrize("room", [0, 1, 3, 64])
def test_masks_are_spared_as_values_are(room: int):
    """They come whole and in order from pieces, from the fallback, or both; sizes are halved alike."""
    narrow, wide = Narrow(room), Narrow(64)
    sparing = Sparing(narrow, lambda: wide)
    masks = sparing.segment(images(7))

    assert masks.shape == (7, 2, 2)
    assert (masks == np.arange(7)[:, None, None]).all()
    assert sparing.spared == (7 if room == 0 else 0)
    assert sparing.images_at_once == {0: 1, 1: 1, 3: 3, 64: None}[room]


def test_no_image_has_no_mask():
    """An empty batch is answered as the estimator answers it."""
    assert len(Sparing(Narrow(3), never).segment(images(0))) == 0


def test_size_that_fitted_is_remembered():
    """After one batch that was too large no larger one is tried again."""
    narrow = Narrow(3)
    sparing = Sparing(narrow, never)
    sparing.estimate(images(8))
    first = list(narrow.sizes)
    sparing.estimate(images(8))

    assert first == [8, 4, 2, 2, 2, 2]
    assert narrow.sizes[len(first) :] == [2, 2, 2, 2]
    assert sparing.images_at_once == 2


def test_image_that_does_not_fit_alone_goes_to_the_fallback_with_the_rest_of_its_batch():
    """The fallback is loaded once, takes images one by one, and the device is tried again with the next batch."""
    narrow, wide = Narrow(0), Narrow(64)
    loads: list[Narrow] = []
    sparing = Sparing(narrow, lambda: loads.append(wide) or wide)

    assert [row["age"] for row in sparing.estimate(images(4))] == [0, 1, 2, 3]
    assert (narrow.sizes, wide.sizes, len(loads), sparing.spared) == ([4, 2, 1], [1, 1, 1, 1], 1, 4)

    narrow.room = 1
    assert [row["age"] for row in sparing.estimate(images(3))] == [0, 1, 2]
    assert (wide.sizes, len(loads), sparing.spared) == ([1, 1, 1, 1], 1, 4)


def test_fallback_that_is_refused_is_a_failed_estimate():
    """A bundle that was spoiled since then cannot be loaded again: the batch fails, with the reason."""

    def refused() -> Loaded:
        raise BundleRefused("bundle `x`: model.onnx has another digest")

    with pytest.raises(EstimateFailed, match="there is no fallback: bundle `x`"):
        Sparing(Narrow(0), refused).estimate(images(2))


def test_other_failures_are_not_taken_for_a_lack_of_memory(tmp_path: Path):
    """A driver that fails is said at once: no smaller batch would help."""

    class Failing(Narrow):
        def estimate(self, batch: npt.NDArray[np.float32]) -> Sequence[Mapping[str, float]]:
            self.sizes.append(len(batch))
            raise EstimateFailed("the driver is gone")

    failing = Failing(9)
    with pytest.raises(EstimateFailed, match="the driver is gone"):
        Sparing(failing, never).estimate(images(4))
    assert failing.sizes == [4]


def test_real_estimator_gives_the_same_in_pieces():
    """The shipped network, with room for two images, gives what it gives without limits, and passes its self-test."""
    bundle = read_bundle(BUNDLES / "systemic-demo")
    whole = OnnxEstimator(bundle, choose("onnx", ["cpu"]), threads=1)

    class Limited(OnnxEstimator):
        def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
            if len(batch) > 2:
                raise OutOfMemory("no room")
            return super().estimate(batch)

    sparing = Sparing(Limited(bundle, choose("onnx", ["cpu"]), threads=1), never)
    sparing.self_test()
    batch = np.random.default_rng(1).normal(size=(5, 3, *bundle.manifest.input.size_px)).astype(np.float32)
    for ours, expected in zip(sparing.estimate(batch), whole.estimate(batch), strict=True):
        assert ours == pytest.approx(expected, abs=1e-4)


STARVED = """
import resource, sys
import numpy as np
from oculard_models.contract import OutOfMemory
from oculard_models.registry import BUNDLES, read_bundle
from oculard_models.runners.load import choose, load
from oculard_models.runners.sparing import Sparing

bundle, runner = read_bundle(BUNDLES / "systemic-demo"), sys.argv[1]
estimator = load(bundle, runner=runner, choice=choose(runner, ["cpu"]), threads=1)
batch = np.random.default_rng(1).normal(size=(64, 3, *bundle.manifest.input.size_px)).astype(np.float32)
expected = [row for image in batch for row in estimator.estimate(image[None])]
if runner == "onnx":
    estimator._results = lambda batch: [(len(batch), estimator._run(batch))]  # at once, as on a device
used = 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
try:
    estimator.estimate(batch)
except OutOfMemory as why:
    print("short:", str(why)[:60])
sparing = Sparing(estimator, lambda: estimator)
rows = sparing.estimate(batch)
apart = max(abs(a[name] - b[name]) for a, b in zip(rows, expected, strict=True) for name in b)
print(sparing.images_at_once, apart < 1e-4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux does")
@pytest.mark.parametrize("runner", ["onnx", "torch"])
def test_process_that_really_has_no_memory_goes_on_in_pieces(runner: str):
    """A batch too large for the memory that is left fails as OutOfMemory, and is halved until it fits."""
    if runner == "torch":
        pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")
    done = subprocess.run([sys.executable, "-c", STARVED, runner], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    short, result = done.stdout.splitlines()
    assert short.startswith("short: bundle `systemic-demo` cannot run on 64 images")
    at_once, right = result.split()
    assert 1 <= int(at_once) <= 32
    assert right == "True"


def test_processor_needs_no_way_back(tmp_path: Path):
    """On the processor the plain estimator is given."""
    bundle = read_bundle(tiny_bundle(tmp_path, mean_model))

    assert isinstance(load(bundle, runner="onnx", choice=choose("onnx", ["cpu"]), threads=1), OnnxEstimator)


def test_accelerator_whose_libraries_do_not_load_leaves_the_processor(tmp_path: Path):
    """onnxruntime leaves out a provider that it cannot start; what runs then is the processor, plainly."""
    bundle = read_bundle(tiny_bundle(tmp_path, mean_model))
    both = Choice((PROVIDERS["openvino"], PROVIDERS["cpu"]), ())

    loaded = load(bundle, runner="onnx", choice=both, threads=1)
    loaded.self_test()
    assert "cpu" in loaded.devices


def test_choice_says_who_offers(monkeypatch: pytest.MonkeyPatch):
    """The reasons name the runner that was asked."""
    pytest.importorskip("torch", reason="the torch runner needs the extra `lab`")

    assert choose("torch", ["cpu"]).why == ("cpu is used because it is wanted and the installed torch offers it.",)


@pytest.mark.parametrize("runner", ["onnx", "torch"])
def test_weights_that_do_not_fit_at_all_are_refused_with_a_hint(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where even the processor has no memory for the weights, the bundle is refused and the way out is said."""
    bundle = read_bundle(tiny_bundle(tmp_path, mean_model))
    full: Callable[..., None] = _no_memory
    monkeypatch.setattr(f"oculard_models.runners.load.{'Onnx' if runner == 'onnx' else 'Torch'}Estimator", full)

    with pytest.raises(BundleRefused, match="hint: fewer workers or bundles need less memory"):
        load(bundle, runner=runner, choice=choose("onnx", ["cpu"]), threads=1)  # type: ignore[arg-type]


def _no_memory(*_: object) -> None:
    raise OutOfMemory("no memory for the weights")
