"""From one ONNX file to a smaller one: int8 by calibration, fp16 by conversion. Measures nothing: see `variants`."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTISED = ["Conv"]  # nearly all of the work; what else there is costs little and drifts much (measured)
PERCENTILE, BINS = 99.999, 2048  # of the activations: the smallest and the largest themselves are outliers (measured)


def write_int8(source: Path, target: Path, tensor: str, calibration: Sequence[npt.NDArray[np.float32]]) -> None:
    """Quantise the convolutions, a scale per channel, to bytes between QuantizeLinear and DequantizeLinear.

    The ranges of the activations come from the calibration batches, which are run image by image: the histograms need
    every tensor of what runs at once. The first convolution stays as it is: it sees the picture itself. Weights have 7
    bits: with 8, onnxruntime's fused and plain kernels differed by up to 0.17 raw on a processor without VNNI, with 7
    by 0.02; an overflow between two products would look like that.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import create_calibrator
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = target.with_name("ready.onnx")
    with _quiet():
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        calibrator = create_calibrator(
            ready,
            QUANTISED,
            augmented_model_path=str(target.with_name("calibrated.onnx")),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": PERCENTILE, "num_bins": BINS},
        )
        for batch in calibration:
            for image in batch:
                calibrator.collect_data(_reader({tensor: image[None]}))
        ranges = calibrator.compute_data()
        model = load_model_with_shape_infer(ready)
        first = [node.name for node in model.graph.node if node.op_type in QUANTISED][:1]
        quantiser = QDQQuantizer(
            model, True, True, QuantType.QInt8, QuantType.QInt8, ranges, [], first, QUANTISED, extra_options={}
        )
        quantiser.quantize_model()
        quantiser.model.save_model_to_file(str(target))
    for left in (ready, target.with_name("calibrated.onnx")):
        left.unlink(missing_ok=True)


def write_fp16(source: Path, target: Path) -> None:
    """Store and compute with half as many bits; input and outputs stay float32."""
    import onnx
    from onnxconverter_common import float16  # type: ignore[import-untyped, unused-ignore]  # has no types

    with _quiet():
        model = float16.convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
        onnx.save(model, str(target))


def _reader(feeds: dict[str, npt.NDArray[np.float32]]) -> Any:
    """Give one batch to a calibrator, which asks until there is none."""
    from onnxruntime.quantization import CalibrationDataReader

    class Once(CalibrationDataReader):  # type: ignore[misc, unused-ignore]  # onnxruntime has no types
        """One batch."""

        def __init__(self) -> None:
            self._left: Iterable[dict[str, npt.NDArray[np.float32]]] = iter([feeds])

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            """Return the next batch or None."""
            return next(iter(self._left), None)

    return Once()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what the converters print and warn: what counts is measured afterwards."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
