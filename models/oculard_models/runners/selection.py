"""Which runner serves a bundle: as configured or the fastest here, and never one whose numbers drift from the card's.

onnxruntime in float is the reference. OpenVINO is compared with it when the bundle is loaded; where it does not know
the network, or its numbers are not close, onnxruntime serves the bundle: a wish for speed costs no result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from oculard_models.contract import EstimateFailed
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle
from oculard_models.runners.drift import Drift, measure_drift
from oculard_models.runners.golden import Loaded, golden_input
from oculard_models.runners.load import Runner, load
from oculard_models.runners.onnx import Choice
from oculard_models.runners.openvino_runner import OpenVinoEstimator, Precision, available_devices, offers_bf16

ROUNDS = 5
FASTER = 1.1  # less is noise, and no reason to leave the reference
IMAGES = 2  # at once
OTHERS = {"onnx": "onnxruntime", "torch": "torch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A loaded and tested bundle, what a report must name of how it runs, and why it runs so."""

    loaded: Loaded
    conditions: tuple[str, ...] = ()  # ASCII, `name=value`; none where the numbers are those of the reference
    why: tuple[str, ...] = ()


def select(
    bundle: Bundle,
    *,
    runner: Runner,
    precision: Precision,
    choice: Choice,
    threads: int,
    seconds: Callable[[Loaded], float] | None = None,
) -> Selected:
    """Load a bundle by the runner that is wanted, and test it. Raises BundleRefused.

    `seconds` says how long a batch takes, for `auto`; it is measured where nothing is given.
    """
    if runner in OTHERS:
        loaded = load(bundle, runner=runner, choice=choice, threads=threads)
        loaded.self_test()
        return Selected(loaded=loaded, conditions=_conditions(runner, loaded))
    reference = load(bundle, runner="onnx", choice=choice, threads=threads)
    reference.self_test()
    if reference.devices != ("cpu",):
        return Selected(
            loaded=reference,
            conditions=_conditions("onnx", reference),
            why=(f"onnxruntime, because it runs on {reference.devices[0]}",),
        )
    found, why = _candidates(bundle, reference, precision, threads)
    if not found:
        return Selected(loaded=reference, why=(*why, "onnxruntime serves it"))
    if runner == "openvino":
        return _with_why(found[0], (*why, "openvino, because it is wanted"))
    return _fastest(reference, found, why, seconds or _seconds)


def _candidates(
    bundle: Bundle, reference: Loaded, precision: Precision, threads: int
) -> tuple[list[Selected], tuple[str, ...]]:
    """OpenVINO in what precisions are allowed and good enough, the wanted one first; and why others are not."""
    if not available_devices():
        return [], ("openvino is not used because it is not installed; hint: pip install 'oculard[openvino]'",)
    found: list[Selected] = []
    why: list[str] = []
    precisions: Sequence[Precision] = ("float",)
    if precision == "bf16" and offers_bf16():
        precisions = ("bf16", "float")
    elif precision == "bf16":
        why.append("bf16 is not used because this processor has no unit for it")
    for one in precisions:
        try:
            loaded = OpenVinoEstimator(bundle, threads, one)
            drift = measure_drift(loaded, reference)
        except (BundleRefused, EstimateFailed) as no:
            why.append(f"openvino in {one} is not used: {no}")
            continue
        if drift.is_small:
            found.append(Selected(loaded=loaded, conditions=_with_drift(loaded, drift)))
        else:
            why.append(f"openvino in {one} is not used because its numbers drift: {drift.words}")
    return found, tuple(why)


def _fastest(
    reference: Loaded, found: Sequence[Selected], why: tuple[str, ...], seconds: Callable[[Loaded], float]
) -> Selected:
    """The fastest by measurement; the reference unless another is clearly faster."""
    took = [seconds(one.loaded) for one in found]
    own = seconds(reference)
    best = min(range(len(found)), key=took.__getitem__)
    figures = ", ".join(
        [
            f"onnxruntime {1000 * own:.3g} ms",
            *(f"{_name(one)} {1000 * s:.3g} ms" for one, s in zip(found, took, strict=True)),
        ]
    )
    if own < FASTER * took[best]:
        return Selected(loaded=reference, why=(*why, f"onnxruntime, measured here: {figures}"))
    return _with_why(found[best], (*why, f"{_name(found[best])}, measured here: {figures}"))


def _seconds(loaded: Loaded) -> float:
    """How long a batch of the self-test's picture takes: the shortest of some rounds, the first does not count."""
    spec, bundle = loaded.bundle.manifest, loaded.bundle
    batch = np.stack([golden_input(bundle, loaded)] * IMAGES)
    run = loaded.segment if spec.mask is not None else loaded.classify if spec.input.views else loaded.estimate
    run(batch)
    shortest = float("inf")
    for _ in range(ROUNDS):
        began = perf_counter()
        run(batch)
        shortest = min(shortest, perf_counter() - began)
    return shortest


def _with_drift(loaded: OpenVinoEstimator, drift: Drift) -> tuple[str, ...]:
    return f"runner={loaded.engine}", f"precision={loaded.precision}", f"drift={drift.words}"


def _conditions(runner: Runner, loaded: Loaded) -> tuple[str, ...]:
    """What a report names of a runner that was not compared; nothing of the reference itself."""
    if runner == "onnx" and loaded.devices == ("cpu",):
        return ()
    return f"runner={OTHERS[runner]}", f"device={loaded.devices[0]}"


def _name(one: Selected) -> str:
    assert isinstance(one.loaded, OpenVinoEstimator), "only OpenVINO is compared"
    return f"openvino in {one.loaded.precision}"


def _with_why(one: Selected, why: tuple[str, ...]) -> Selected:
    return Selected(loaded=one.loaded, conditions=one.conditions, why=why)
