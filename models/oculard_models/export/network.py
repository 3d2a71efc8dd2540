"""From a trained network to one ONNX file, and what that file gives beside the network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

INPUT = "image"  # name of the input tensor of everything that we export


def with_sigmoid(net: nn.Module) -> nn.Module:
    """Wrap a network of logits (images x 1 x height x width) so that it gives probabilities, as a mask's tensor has."""
    import torch

    return torch.nn.Sequential(net, torch.nn.Sigmoid())


def export_onnx(net: nn.Module, names: Sequence[str], size_px: tuple[int, int], path: Path) -> None:
    """Write a network of images x outputs (x height x width) as one ONNX file, one tensor an output; any batch size.

    Every tensor is images x 1 (x height x width).
    """
    import torch

    class Split(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
        """Gives every output its own tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.net(image).split(1, dim=1)  # type: ignore[no-any-return]  # torch's split is untyped

    example = torch.zeros(2, 3, *size_px)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the older exporter writes one plain file, and is quick
        torch.onnx.export(
            Split().eval(),
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=[INPUT],
            output_names=list(names),
            dynamic_axes={name: {0: "images"} for name in (INPUT, *names)},
        )


def run_onnx(path: Path, batch: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Run an exported file on a batch (images x 3 x height x width).

    Gives one array an output: images, or images x height x width of a mask.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return {
        name: tensor.reshape(len(batch), *tensor.shape[2:])
        for name, tensor in zip(names, session.run(names, {INPUT: batch}), strict=True)
    }


def parity(net: nn.Module, path: Path, batch: npt.NDArray[np.float32]) -> float:
    """Return the largest difference between torch and onnxruntime on a batch (images x 3 x height x width)."""
    import torch

    with torch.inference_mode():
        ours = net.eval()(torch.from_numpy(batch)).numpy()
    theirs = np.stack(list(run_onnx(path, batch).values()), axis=1)
    return float(np.abs(ours - theirs).max())
