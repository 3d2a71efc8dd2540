"""Which runner serves a bundle: the reference, unless another is wanted or faster, and says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from oculard_models.contract import Classified
from oculard_models.manifest import BundleRefused
from oculard_models.registry import Bundle, find_bundles
from oculard_models.runners import selection
from oculard_models.runners.drift import Drift, measure_drift
from oculard_models.runners.load import choose
from oculard_models.runners.onnx import OnnxEstimator
from oculard_models.runners.selection import Selected, select

CPU = choose("onnx", ["cpu"])
BUNDLES = {bundle.manifest.name: bundle for bundle in find_bundles()[0]}
SYSTEMIC, FAZ, GLAUCOMA = BUNDLES["systemic-demo"], BUNDLES["faz"], BUNDLES["glaucoma-demo"]


class Drifting(OnnxEstimator):
    """The reference, its numbers moved: as another runner's are."""

    engine = "openvino 0.0.0"
    off: Mapping[str, float] = {"float": 0.0, "bf16": 0.0}
    unknown: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, threads: int, precision: str) -> None:
        if precision in self.unknown:
            raise BundleRefused("an operation that is not known")
        super().__init__(bundle, CPU, threads)
        self.precision = precision

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        off = self.off[self.precision]
        return [{name: value + off for name, value in row.items()} for row in super().estimate(batch)]

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return super().segment(batch) + np.float32(self.off[self.precision])

    def classify(self, batch: npt.NDArray[np.float32]) -> list[Classified]:
        off = np.float32(self.off[self.precision])
        return [
            Classified(probability=one.probability + off, by_view=one.by_view, activation=one.activation)
            for one in super().classify(batch)
        ]


@pytest.fixture(autouse=True)
def staged(monkeypatch: pytest.MonkeyPatch) -> type[Drifting]:
    """OpenVINO as it is told to be, on a processor with bf16."""

    class Staged(Drifting):
        pass

    monkeypatch.setattr(selection, "OpenVinoEstimator", Staged)
    monkeypatch.setattr(selection, "available_devices", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(selection, "offers_bf16", lambda: True)
    return Staged


def selected(
    bundle: Bundle = SYSTEMIC,
    *,
    runner: Any = "openvino",
    precision: Any = "bf16",
    took: Sequence[float] = (0.01, 0.02, 0.05),
) -> Selected:
    """Select with the times that bf16, float and the reference take, in this order."""
    times = iter(took)
    return select(bundle, runner=runner, precision=precision, choice=CPU, threads=1, seconds=lambda loaded: next(times))


def test_the_reference_needs_no_words() -> None:
    """onnxruntime in float on the processor is what the card was measured with."""
    found = selected(runner="onnx")
    assert type(found.loaded) is OnnxEstimator
    assert (found.conditions, found.why) == ((), ())


def test_openvino_is_named_with_precision_and_drift(staged: type[Drifting]) -> None:
    """Whoever reads the report knows that other numbers than the card's may stand in it, and how far off they are."""
    staged.off = {"float": 0.0, "bf16": 0.001}
    found = selected()

    assert isinstance(found.loaded, staged)
    assert found.conditions[:2] == ("runner=openvino 0.0.0", "precision=bf16")
    assert found.conditions[2].startswith("drift=0.00")
    assert found.why == ("openvino, because it is wanted",)


@pytest.mark.parametrize("bundle", [SYSTEMIC, FAZ, GLAUCOMA], ids=lambda bundle: bundle.manifest.name)
def test_a_precision_that_drifts_is_not_used(bundle: Bundle, staged: type[Drifting]) -> None:
    """Values, masks and classes alike: bf16 is too far off, float is not, and the log says so."""
    staged.off = {"float": 0.0, "bf16": 0.4}
    found = selected(bundle)

    assert "precision=float" in found.conditions
    assert any("bf16 is not used because its numbers drift" in why for why in found.why)


def test_numbers_that_are_none_are_a_drift(staged: type[Drifting]) -> None:
    """What is not a number is never close."""
    staged.off = {"float": 0.0, "bf16": float("nan")}
    assert "precision=float" in selected().conditions
    assert "precision=float" in selected(GLAUCOMA).conditions


def test_a_single_value_that_is_none_is_a_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside values that are fine; where the reference has none either, nothing has drifted."""
    one, other = (OnnxEstimator(SYSTEMIC, CPU, 1) for _ in range(2))
    name = next(output.name for output in SYSTEMIC.manifest.output if not output.choices)
    estimate = one.estimate

    def without(batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        return [{**row, name: float("nan")} for row in estimate(batch)]

    monkeypatch.setattr(one, "estimate", without)
    assert not measure_drift(one, other).is_small

    monkeypatch.setattr(other, "estimate", without)
    assert measure_drift(one, other).is_small


def test_the_reference_serves_what_openvino_does_not_know(staged: type[Drifting]) -> None:
    """A wish for speed costs no result."""
    staged.unknown = ("float", "bf16")
    found = selected()

    assert type(found.loaded) is OnnxEstimator
    assert found.conditions == ()
    assert found.why[-1] == "onnxruntime serves it"


def test_the_reference_serves_where_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra may be missing; that is said."""
    monkeypatch.setattr(selection, "available_devices", list)
    found = selected(runner="auto")

    assert type(found.loaded) is OnnxEstimator
    assert "pip install" in found.why[0]


def test_bf16_needs_a_unit_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated it would only be slower, and other numbers."""
    monkeypatch.setattr(selection, "offers_bf16", lambda: False)
    found = selected()

    assert "precision=float" in found.conditions
    assert "no unit for it" in found.why[0]


def test_bf16_is_never_used_unasked() -> None:
    """Float is the default, whatever is faster."""
    found = selected(runner="auto", precision="float", took=(0.01, 0.05))
    assert "precision=float" in found.conditions


@pytest.mark.parametrize(
    ("took", "served"),
    [
        ((0.01, 0.02, 0.05), "precision=bf16"),
        ((0.03, 0.02, 0.05), "precision=float"),
        ((0.049, 0.06, 0.05), None),  # a tenth of the time is no reason
        ((0.06, 0.07, 0.05), None),
    ],
)
def test_auto_takes_the_fastest(took: tuple[float, ...], served: str | None) -> None:
    """By measurement where the worker runs; the reference where the gain is small."""
    found = selected(runner="auto", took=took)

    assert (served in found.conditions) if served else (type(found.loaded) is OnnxEstimator)
    assert "measured here" in found.why[-1]


def test_auto_measures_the_real_thing() -> None:
    """Without times of a test it runs the bundle."""
    found = select(FAZ, runner="auto", precision="float", choice=CPU, threads=1)
    assert "ms" in found.why[-1]


def test_drift_of_the_reference_itself_is_none() -> None:
    """Two of the same differ in nothing."""
    for bundle in (SYSTEMIC, FAZ, GLAUCOMA):
        one, other = (OnnxEstimator(bundle, CPU, 1) for _ in range(2))
        drift = measure_drift(one, other)
        assert (drift, drift.words) == (Drift(), "none")
