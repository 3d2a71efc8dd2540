"""The table of compared segmentation networks: how well, how large, how much arithmetic, how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

from oculard_models.evaluate.masks import Agreement, summary
from oculard_models.export.network import INPUT, export_onnx
from oculard_models.export.smaller import write_int8
from oculard_models.nets.segmenters import build_segmenter

STATED_PX = 320  # the published size of the input
RUNS = 5
HEAD = (
    "| | Dice mean (SD) | least | deep | superficial | int8 | Hausdorff 95 (px) | not found | area bias (limits),"
    " % of the picture | Pearson r | parameters | GFLOP | MB, int8 | ms, int8 |"
)
Cost = dict[str, float]


def cost_of(net: str, folder: Path) -> Cost:
    """Count parameters (with batch statistics) and arithmetic at 320 px; measure files and time, float and int8.

    Time of one picture: onnxruntime, two threads, batch 1, median, at 320 px, on the machine as it is at that moment.
    """
    built = build_segmenter(net).eval()
    image = torch.zeros(1, 3, STATED_PX, STATED_PX)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(image)
    statistics = sum(b.numel() for name, b in built.named_buffers() if "running" in name)
    path = folder / f"{net}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    small = path.with_suffix(".int8.onnx")
    export_onnx(built, ["mask"], (STATED_PX, STATED_PX), path)
    write_int8(path, small, INPUT, [image.numpy()])
    cost = {
        "parameters": float(sum(p.numel() for p in built.parameters()) + statistics),
        "gflop": counter.get_total_flops() / 1e9,
        "mb": path.stat().st_size / 1e6,
        "mb_int8": small.stat().st_size / 1e6,
        "ms": _milliseconds(path),
        "ms_int8": _milliseconds(small),
    }
    path.unlink()
    small.unlink()
    return cost


def table(
    rows: Mapping[str, Sequence[Agreement]],
    costs: Mapping[str, Cost],
    quantised: Mapping[str, Sequence[Agreement]],
) -> str:
    """Write the table. `quantised`: what the networks do in 8 bits, where that was measured."""
    lines = [HEAD, "|" + "---|" * 14]
    for name, found in rows.items():
        whole = summary(found)
        strata = [_of(found, "deep"), _of(found, "superficial")]
        bias = f"{100 * whole.area_bias:+.2f} ({100 * whole.area_low:+.2f} to {100 * whole.area_high:+.2f})"
        cost = costs.get(name)
        cells = [
            name,
            f"{whole.dice_mean:.3f} ({whole.dice_sd:.3f})",
            f"{whole.dice_least:.2f}",
            *strata,
            f"{summary(quantised[name]).dice_mean:.3f}" if name in quantised else "-",
            "-" if whole.hausdorff95_px is None else f"{whole.hausdorff95_px:.1f}",
            str(whole.not_found),
            bias,
            "-" if whole.pearson_r is None else f"{whole.pearson_r:.3f}",
            *(_costs(cost) if cost else ["-"] * 4),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _costs(cost: Cost) -> list[str]:
    """Write parameters, arithmetic, megabytes and milliseconds."""
    return [
        f"{cost['parameters']:,.0f}",
        f"{cost['gflop']:.1f}",
        f"{cost['mb']:.1f}, {cost['mb_int8']:.1f}",
        f"{cost['ms']:.0f}, {cost['ms_int8']:.0f}",
    ]


def _of(found: Sequence[Agreement], stratum: str) -> str:
    """Write the mean Dice of one stratum."""
    some = [one for one in found if one.stratum == stratum]
    return f"{summary(some).dice_mean:.3f}" if some else "-"


def _milliseconds(path: Path) -> float:
    """Time one picture."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    image = np.zeros((1, 3, STATED_PX, STATED_PX), dtype=np.float32)
    took = []
    for _ in range(RUNS + 1):
        began = perf_counter()
        session.run(None, {"image": image})
        took.append(1000.0 * (perf_counter() - began))
    return median(took[1:])
