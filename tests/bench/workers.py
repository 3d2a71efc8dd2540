"""The worker from claim to committed report, against its runner alone on tensors that are ready, for each family.

By default, and by what `runner = "auto"` and `precision = "bf16"` choose at start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.nets import random_bundle
from bench.tables import Table, middle, seconds
from bench.workplace import PHOTOGRAPH_PX, SLAB_PX, VOLUME, Workplace, shipped
from oculard.inference.estimators import Served
from oculard_models.registry import Bundle
from oculard_models.runners.golden import Loaded
from oculard_models.runners.load import Runner
from oculard_models.runners.openvino_runner import Precision

ROUNDS = 3
NIGHT_S = 10 * 3600
RANDOM = {"efficientnet-b7": (6, 2)}  # images a round, and [worker] batch: a round has several batches
SHIPPED = {"systemic-demo": (24, 8), "faz": (24, 8), "glaucoma-demo": (2, 1)}
DEFAULT, CHOSEN = "default", "chosen"
WAYS: Mapping[str, tuple[Runner, Precision]] = {DEFAULT: ("onnx", "float"), CHOSEN: ("auto", "bf16")}
REFERENCE = "onnxruntime"
Figures = dict[str, Any]


def measure() -> Table:
    """Images a second, raw and worker in turn, the share that the worker keeps, and what a night does."""
    rows, remarks, raw = [], [], {}
    with TemporaryDirectory(prefix="bench-worker-") as folder:
        for bundle, (count, batch) in _bundles():
            name = bundle.manifest.name
            for way, (runner, precision) in WAYS.items():
                place = Workplace(Path(folder) / f"{name}-{way}", bundle, runner, precision, batch=batch)
                served = place.worker.estimators.get(f"{name}@{bundle.manifest.version}")
                if way == CHOSEN:
                    remarks.append(f"{name}: {'; '.join(served.why)}{_drift(served)}.")
                if way == DEFAULT or served.conditions:  # without any it is the default again
                    raw[f"{name}, {way}"] = figures = _rounds(place, served, count, way)
                    rows.append(_row(name, figures))
                place.close()
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
            'Chosen at start by `runner = "auto"` and `precision = "bf16"`, two images at once:',
            *remarks,
        ],
        raw=raw,
    )


def _bundles() -> list[tuple[Bundle, tuple[int, int]]]:
    """What is measured, by how many images a round, and by how many at once."""
    fresh = [(random_bundle(name), sizes) for name, sizes in RANDOM.items()]
    return fresh + list(zip(shipped(*SHIPPED), SHIPPED.values(), strict=True))


def _drift(served: Served) -> str:
    """How far its numbers are from onnxruntime's in float, where something else was chosen."""
    found = [condition.removeprefix("drift=") for condition in served.conditions if condition.startswith("drift=")]
    return "".join(f"; drift from float: {words}" for words in found)


def _rounds(place: Workplace, served: Served, count: int, way: str) -> Figures:
    """Measure raw, by default the worker without looking ahead, and the worker, in turn."""
    batch = place.settings.worker.batch
    place.fill(2)  # loads the networks and the decoders, and is not counted
    place.drain(place.worker)
    figures: Figures = {"runs": [*served.conditions, *served.why], "raw": [], "plain": [], "worker": [], "cpu_ms": []}
    for _ in range(ROUNDS):
        figures["raw"].append(count / seconds(lambda: _raw(served.estimator, count, batch)))
        if way == DEFAULT:
            place.fill(count)
            figures["plain"].append(count / seconds(lambda: place.drain(place.plain)))
        place.fill(count)
        began = _cpu_s()
        figures["worker"].append(count / seconds(lambda: place.drain(place.worker)))
        figures["cpu_ms"].append(1000 * (_cpu_s() - began) / count)
    return figures | {"stages_s": place.stages(), "outcomes": dict(place.outcomes())}


def _raw(loaded: Loaded, count: int, at_once: int) -> None:
    """The runner alone on so many images."""
    manifest = loaded.bundle.manifest
    spec = manifest.input
    batch = np.random.default_rng(1).random((at_once, spec.channels, *spec.size_px), dtype=np.float32)
    run: Callable[[Any], object] = loaded.estimate
    if manifest.mask is not None or spec.views:
        run = loaded.classify if spec.views else loaded.segment
    for done in range(0, count, at_once):
        run(batch[: count - done])


def _cpu_s() -> float:
    """What this process has used; the decoders are processes of their own, and left out."""
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _row(name: str, figures: Figures) -> list[str]:
    shares = [worker / alone for worker, alone in zip(figures["worker"], figures["raw"], strict=True)]
    ended = figures["outcomes"]
    told = dict(condition.split("=", 1) for condition in figures["runs"] if "=" in condition)
    return [
        name,
        f"{told['runner']} {told['precision']}" if "precision" in told else REFERENCE,
        middle(figures["raw"]),
        middle(figures["plain"]) if figures["plain"] else "",
        middle(figures["worker"]),
        f"{100 * median(shares):.0f} %",
        f"{median(figures['cpu_ms']):.0f}",
        f"{NIGHT_S * median(figures['worker']):,.0f} eyes" + ("" if set(ended) == {"reported"} else f" ({ended})"),
        "  ".join(f"{stage} {1000 * took:.0f}" for stage, took in figures["stages_s"].items()),
    ]
