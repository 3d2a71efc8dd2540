"""OpenVINO runs the shipped bundles, says the same as onnxruntime, and tells nobody that it is used."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle, find_bundles
from oculard_models.runners.drift import measure_drift
from oculard_models.runners.golden import golden_input
from oculard_models.runners.load import choose
from oculard_models.runners.onnx import OnnxEstimator
from oculard_models.runners.openvino_runner import OpenVinoEstimator, available_devices, offers_bf16

if not available_devices():
    pytest.skip("the openvino runner needs the extra `openvino`", allow_module_level=True)

CPU = choose("onnx", ["cpu"])
UNKNOWN = "fundus-quality"  # has an operation that OpenVINO does not know; a gate is run by onnxruntime anyway
SERVED = [one for one in find_bundles()[0] if one.manifest.name not in (UNKNOWN, "faz-int8")]


@pytest.mark.parametrize("bundle", SERVED, ids=lambda bundle: bundle.manifest.name)
def test_float_says_the_same(bundle: Bundle) -> None:
    """The self-test passes and the drift is far below any digit of a report."""
    loaded = OpenVinoEstimator(bundle, 1)
    loaded.self_test()
    drift = measure_drift(loaded, OnnxEstimator(bundle, CPU, 1))

    assert loaded.devices == ("cpu",)
    assert max(drift.interval, drift.probability, drift.mask) < 1e-3


def test_a_batch_comes_back_in_order() -> None:
    """Two images are run side by side; each gets its own numbers."""
    (bundle,) = (one for one in SERVED if one.manifest.name == "systemic-demo")
    loaded, reference = OpenVinoEstimator(bundle, 1), OnnxEstimator(bundle, CPU, 1)
    golden = golden_input(bundle, reference)
    batch = np.stack([golden * np.float32(share) for share in (1.0, 0.8, 0.6, 0.4, 0.2)])

    for ours, theirs in zip(loaded.estimate(batch), reference.estimate(batch), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


def test_bf16_is_near() -> None:
    """Where the processor has it: other numbers, by less than a twentieth of an interval."""
    if not offers_bf16():
        pytest.skip("this processor has no unit for bf16")
    (bundle,) = (one for one in SERVED if one.manifest.name == "systemic-demo")
    drift = measure_drift(OpenVinoEstimator(bundle, 1, "bf16"), OnnxEstimator(bundle, CPU, 1))

    assert 0.0 < drift.interval < 0.05
    assert drift.is_small


def test_an_unknown_operation_refuses_the_bundle() -> None:
    """In words, and not with the process."""
    (bundle,) = (one for one in find_bundles()[0] if one.manifest.name == UNKNOWN)
    with pytest.raises(BundleRefused, match="OpenVINO cannot load"):
        OpenVinoEstimator(bundle, 1)


def test_another_input_than_the_manifest_says_is_refused() -> None:
    """The guards are those of the other runners."""
    bundle = SERVED[0]
    spec = bundle.manifest.input.model_copy(update={"tensor": "other"})
    with pytest.raises(BundleRefused, match="other"):
        OpenVinoEstimator(replace(bundle, manifest=bundle.manifest.model_copy(update={"input": spec})), 1)


def test_it_tells_nobody() -> None:
    """As it comes, importing it sends an event to a service in the internet: what does that is never loaded."""
    code = (
        "import sys; from oculard_models.runners.openvino_runner import available_devices; available_devices();"
        "print('openvino' in sys.modules, [name for name in sys.modules if name.startswith('openvino_telemetry.')],"
        " sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "[]", "None"]


TOGETHER = """
import os, signal, sys, threading
from oculard_models.runners.openvino_runner import quiet_openvino

openvino, began = quiet_openvino(), []
sys.setswitchinterval(1e-6)

def ask():
    began.append(1)
    while len(began) < 2:
        pass
    openvino.Type.f32.to_dtype()

def child():
    signal.alarm(5)  # ends one that hangs
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)

children = [os.fork() or child() for _ in range(30)]
print(sum(os.waitpid(one, 0)[1] != 0 for one in children))
"""


def test_two_threads_may_begin_at_once() -> None:
    """The first two images of a process run side by side, and neither waits for the other for ever."""
    said = subprocess.run([sys.executable, "-c", TOGETHER], check=True, capture_output=True, text=True)

    assert said.stdout.strip() == "0", "children hang"
