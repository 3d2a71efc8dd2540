"""The one way to load a bundle for serving: by the runner that is asked for, where memory may run short sparingly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from oculard_models.contract import OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle
from oculard_models.runners.golden import Loaded
from oculard_models.runners.onnx import PROVIDERS, Choice, OnnxEstimator, available_providers, choose_providers
from oculard_models.runners.sparing import Sparing
from oculard_models.runners.torch_runner import TorchEstimator, available_devices

Runner = Literal["onnx", "torch", "openvino", "auto"]  # the last two: see `selection.py`

CPU = Choice((PROVIDERS["cpu"],), ("cpu is used as the fallback.",))


def choose(runner: Runner, wanted: Sequence[str]) -> Choice:
    """Match the wanted providers with what the runner offers here. Raises ValueError for a word that is no provider."""
    if runner == "torch":
        return choose_providers(wanted, available_devices(), offered_by="torch")
    return choose_providers(wanted, available_providers())


def load(bundle: Bundle, *, runner: Runner, choice: Choice, threads: int) -> Loaded:
    """Load a bundle; `self_test` is the caller's next step. Raises BundleRefused.

    On anything but the processor it comes with a way back to the processor for when memory runs short.
    """

    def fallback() -> Loaded:
        return _loaded(bundle, runner, CPU, threads)

    try:
        estimator = _loaded(bundle, runner, choice, threads)
        return estimator if estimator.devices == ("cpu",) else Sparing(estimator, fallback)
    except OutOfMemory as why:
        if choice.providers == CPU.providers:
            raise BundleRefused(f"{why}; hint: fewer workers or bundles need less memory") from why
    return load(bundle, runner=runner, choice=CPU, threads=threads)


def _loaded(bundle: Bundle, runner: Runner, choice: Choice, threads: int) -> Loaded:
    """Load by one of the two runners."""
    if runner == "torch":
        return TorchEstimator(bundle, "cpu" if choice.providers[0] == PROVIDERS["cpu"] else "cuda", threads)
    return OnnxEstimator(bundle, choice, threads)
