"""What a segmentation network still does when its convolutions are quantised to 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from torch import nn

from oculard_models.data.dataset import normalised
from oculard_models.data.masked import Kept
from oculard_models.export.network import INPUT, export_onnx, run_onnx, with_sigmoid
from oculard_models.export.smaller import write_int8
from oculard_models.manifest import InputSpec
from oculard_models.train.checkpoint import MASK

CALIBRATION = 12  # pictures of the training part; with more the ranges hardly move


def int8_probabilities(
    net: nn.Module, training: Sequence[Kept], kept: Sequence[Kept], spec: InputSpec
) -> list[npt.NDArray[np.float32]]:
    """Quantise a network on what it has learnt from, and run it on other pictures, one by one.

    Gives probabilities, height x width as it sees them.
    """
    step = max(1, len(training) // CALIBRATION)
    seen = np.stack([normalised(one.plane, spec) for one in training[::step][:CALIBRATION]])
    with TemporaryDirectory() as folder:
        plain, small = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export_onnx(with_sigmoid(net), [MASK], spec.size_px, plain)
        write_int8(plain, small, INPUT, [seen])
        return [run_onnx(small, normalised(one.plane, spec)[None])[MASK][0] for one in kept]
