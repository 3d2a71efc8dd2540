"""Segmentation networks at 320 x 320 on the processor: onnxruntime and OpenVINO, beside what the arithmetic allows."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from bench.tables import Table, median_ms
from oculard_models.export.network import INPUT, export_onnx
from oculard_models.export.smaller import write_int8
from oculard_models.nets.segmenters import SEGMENTERS, build_segmenter
from oculard_models.runners.openvino_runner import quiet_openvino

SIZE_PX = 320
ROUNDS = 3
SQUARE = 2048  # of the matrices whose product tells what the processor can do
OPENVINO = importlib.util.find_spec("openvino") is not None
HOW = ("onnxruntime float", "onnxruntime int8", "OpenVINO float", "OpenVINO bf16", "OpenVINO int8")
NO_BF16 = "no bf16 unit"


def measure() -> Table:
    """Milliseconds an image, batch 1, all cores, random weights: time does not depend on them."""
    peak = _peak_gflops()
    rows, raw = [], {}
    for name in SEGMENTERS:
        with TemporaryDirectory() as folder:
            gflop, times = _of_net(name, Path(folder))
        limit_ms = 1000.0 * gflop / peak
        share = limit_ms / float(times[HOW[0]])
        raw[name] = {"gflop": gflop, "limit_ms": limit_ms, **times}
        rows.append([name, f"{gflop:.1f}", f"{limit_ms:.0f}", *map(_cell, times.values()), f"{100 * share:.0f} %"])
    return Table(
        title=f"Segmentation networks at {SIZE_PX} x {SIZE_PX}, batch 1, ms an image",
        heads=["network", "GFLOP", "limit", *HOW, "share of the limit"],
        rows=rows,
        remarks=[
            f"limit: GFLOP / {peak:.0f} GFLOP/s, onnxruntime's product of {SQUARE} x {SQUARE} float matrices here.",
            "bf16 only where the processor has a unit for it; OpenVINO only where it is installed (extra `openvino`).",
        ],
        raw={"peak_gflops": peak, "nets": raw},
    )


def _of_net(name: str, folder: Path) -> tuple[float, dict[str, float | str]]:
    """GFLOP of one image, and the times."""
    torch.manual_seed(1)
    net = build_segmenter(name).eval()
    image = np.random.default_rng(1).random((1, 3, SIZE_PX, SIZE_PX), dtype=np.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.from_numpy(image))
    plain, small = folder / "float.onnx", folder / "int8.onnx"
    export_onnx(net, ["mask"], (SIZE_PX, SIZE_PX), plain)
    write_int8(plain, small, INPUT, [image])
    times = [
        _onnxruntime_ms(plain, image),
        _onnxruntime_ms(small, image),
        _openvino_ms(plain, image, "f32"),
        _openvino_ms(plain, image, "bf16"),
        _openvino_ms(small, image, "f32"),
    ]
    return counter.get_total_flops() / 1e9, dict(zip(HOW, times, strict=True))


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.log_severity_level = 3
    return options


def _onnxruntime_ms(path: Path, image: np.ndarray[Any, Any]) -> float:
    session = onnxruntime.InferenceSession(str(path), _options(), providers=["CPUExecutionProvider"])
    return _timed(lambda: session.run(None, {INPUT: image}))


def _openvino_ms(path: Path, image: np.ndarray[Any, Any], precision: str) -> float | str:
    """Time OpenVINO, or say why not."""
    if not OPENVINO:
        return "not installed"
    core = quiet_openvino().Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return NO_BF16
    compiled = core.compile_model(
        str(path), "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    return _timed(lambda: request.infer({0: image}))


def _timed(work: Callable[[], object]) -> float:
    return round(median_ms(work, rounds=ROUNDS), 1)


def _peak_gflops() -> float:
    """What the processor reaches in a product of large float matrices, in GFLOP/s, by the quickest library here."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [SQUARE, SQUARE]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", sides[:2], sides[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), _options(), providers=["CPUExecutionProvider"])
    one = np.random.default_rng(1).random((SQUARE, SQUARE), dtype=np.float32)
    return 2.0 * SQUARE**3 / median_ms(lambda: session.run(None, {"a": one, "b": one}), rounds=ROUNDS) / 1e6


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.0f}"
