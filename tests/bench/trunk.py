"""Seven networks, one a value, against one trunk with seven heads."""

from __future__ import annotations

import numpy as np

from bench.nets import random_bundle
from bench.tables import Table, median_ms
from oculard_models.data.person import VALUES
from oculard_models.registry import Bundle
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

HEADS = ("sex", *VALUES)
ROUNDS = 3
CHOICE = choose_providers(["cpu"], ["CPUExecutionProvider"])


def measure() -> Table:
    """Milliseconds an image and size on disk, EfficientNet-B7 at 600 pixels and MobileNet at 224."""
    rows, raw = [], {}
    for architecture in ("mobilenet", "efficientnet-b7"):
        one, shared = random_bundle(architecture), random_bundle(architecture, HEADS)
        single_ms, shared_ms = _ms(one, copies=len(HEADS)), _ms(shared, copies=1)
        sizes = [(b.folder / b.manifest.weights.file).stat().st_size / 1e6 for b in (one, shared)]
        raw[architecture] = {"seven_nets_ms": single_ms, "one_trunk_ms": shared_ms, "ratio": single_ms / shared_ms}
        rows.append(
            [
                architecture,
                f"{single_ms:.0f}",
                f"{shared_ms:.0f}",
                f"{single_ms / shared_ms:.2f}",
                f"{7 * sizes[0]:.0f}",
                f"{sizes[1]:.0f}",
            ]
        )
    return Table(
        title="Seven networks against one trunk with seven heads (onnxruntime, all cores, batch 1)",
        heads=["network", "seven nets, ms", "one trunk, ms", "ratio", "seven nets, MB", "one trunk, MB"],
        rows=rows,
        remarks=["Time alone: whether one trunk is as accurate is a question for `oculard-lab train systemic`."],
        raw=raw,
    )


def _ms(bundle: Bundle, *, copies: int) -> float:
    """Milliseconds for one image through `copies` resident networks, one after the other."""
    estimators = [OnnxEstimator(bundle, CHOICE, threads=0) for _ in range(copies)]
    batch = np.random.default_rng(1).random((1, 3, *bundle.manifest.input.size_px), dtype=np.float32)
    return round(median_ms(lambda: [estimator.estimate(batch) for estimator in estimators], rounds=ROUNDS), 1)
