"""The worker from claim to committed report, against its runner alone on tensors that are ready, for each family."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.nets import random_bundle
from bench.tables import Table, middle, seconds
from bench.workplace import PHOTOGRAPH_PX, SLAB_PX, VOLUME, Workplace, shipped
from oculard_models.registry import Bundle
from oculard_models.runners.golden import Loaded
from oculard_models.runners.load import Runner
from oculard_models.runners.openvino_runner import Precision

ROUNDS = 3
NIGHT_S = 10 * 3600
RUNS_AT_ONCE = 8  # as [worker] batch
SHIPPED = {"systemic-demo": 48, "faz": 24, "glaucoma-demo": 4}  # images a round
RANDOM = {"mobilenet": 48, "efficientnet-b7": 12}
WAYS: Mapping[str, tuple[Runner, Precision]] = {
    "onnxruntime": ("onnx", "float"),
    "OpenVINO": ("openvino", "float"),
    "OpenVINO bf16": ("openvino", "bf16"),
}
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
Figures = dict[str, Any]


def measure() -> Table:
    """Images a second, raw and worker in turn, the share that the worker keeps, and what a night does."""
    rows, raw = [], {}
    with TemporaryDirectory(prefix="bench-worker-") as folder:
        for bundle, count in _bundles(Path(folder)):
            for way in WAYS if HAS_OPENVINO else ("onnxruntime",):
                figures = _pairs(bundle, way, count, Path(folder) / f"{bundle.manifest.name}-{way}")
                raw[f"{bundle.manifest.name}, {way}"] = figures
                rows.append(_row(bundle.manifest.name, way, figures))
    missing = [] if HAS_OPENVINO else ["OpenVINO is not installed here (extra `openvino`)."]
    return Table(
        title="Worker against its runner alone, images a second: median (smallest to largest)",
        heads=[
            "network",
            "runner",
            "raw",
            "worker, one thing after another",
            "worker",
            "share of raw",
            "CPU ms an image",
            "ten hours",
            "ms by stage",
        ],
        rows=rows,
        remarks=[
            f"One {PHOTOGRAPH_PX} x {PHOTOGRAPH_PX} JPEG an eye and one report an eye; en face {SLAB_PX} x {SLAB_PX};",
            f"volumes of {' x '.join(map(str, VOLUME))}. The worker's time is from claim to commit, with decoding,",
            "quality gate, report and fsyncs. Raw sees tensors that are ready. Stages run beside each other.",
            *missing,
        ],
        raw=raw,
    )


def _bundles(folder: Path) -> list[tuple[Bundle, int]]:
    """What is measured, and by how many images a round."""
    fresh = [(random_bundle(name, folder), count) for name, count in RANDOM.items()]
    return fresh + list(zip(shipped(*SHIPPED), SHIPPED.values(), strict=True))


def _pairs(bundle: Bundle, way: str, count: int, folder: Path) -> Figures:
    """Measure raw, the worker without looking ahead, and the worker in turn, `ROUNDS` times."""
    folder.mkdir()
    place = Workplace(folder, bundle, *WAYS[way])
    served = place.worker.estimators.get(f"{bundle.manifest.name}@{bundle.manifest.version}")
    place.fill(2)  # loads the networks and the decoders, and is not counted
    place.drain(place.worker)
    figures: Figures = {"runs": [*served.conditions, *served.why], "raw": [], "plain": [], "worker": [], "cpu_ms": []}
    for _ in range(ROUNDS):
        figures["raw"].append(count / seconds(lambda: _raw(bundle, served.estimator, count)))
        place.fill(count)
        figures["plain"].append(count / seconds(lambda: place.drain(place.plain)))
        place.fill(count)
        began = _cpu_s()
        figures["worker"].append(count / seconds(lambda: place.drain(place.worker)))
        figures["cpu_ms"].append(1000 * (_cpu_s() - began) / count)
    figures |= {"stages_s": place.stages(), "outcomes": dict(place.outcomes())}
    place.close()
    return figures


def _raw(bundle: Bundle, loaded: Loaded, count: int) -> None:
    """The runner alone on so many images."""
    spec = bundle.manifest.input
    batch = np.random.default_rng(1).random((RUNS_AT_ONCE, spec.channels, *spec.size_px), dtype=np.float32)
    run: Callable[[Any], object] = loaded.estimate
    if bundle.manifest.mask is not None or spec.views:
        run = loaded.classify if spec.views else loaded.segment
    for done in range(0, count, RUNS_AT_ONCE):
        run(batch[: count - done])


def _cpu_s() -> float:
    """What this process has used; that of the decoders counts when they have ended, and is left out."""
    return sum(getrusage(who).ru_utime + getrusage(who).ru_stime for who in (RUSAGE_SELF, RUSAGE_CHILDREN))


def _row(name: str, way: str, figures: Figures) -> list[str]:
    shares = [worker / alone for worker, alone in zip(figures["worker"], figures["raw"], strict=True)]
    ended = figures["outcomes"]
    return [
        name,
        way,
        middle(figures["raw"]),
        middle(figures["plain"]),
        middle(figures["worker"]),
        f"{100 * median(shares):.0f} %",
        f"{median(figures['cpu_ms']):.0f}",
        f"{NIGHT_S * median(figures['worker']):,.0f} eyes" + ("" if set(ended) == {"reported"} else f" ({ended})"),
        "  ".join(f"{stage} {1000 * took:.0f}" for stage, took in figures["stages_s"].items()),
    ]
