"""From a trained network to a bundle: ONNX file, parity check, manifest."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from oculard_models.manifest import Manifest

if TYPE_CHECKING:
    from torch import nn

INPUT = "image"  # name of the input tensor of everything that we export


def export_onnx(net: nn.Module, names: Sequence[str], size_px: tuple[int, int], path: Path) -> None:
    """Write a network of images x outputs as one ONNX file with one tensor (images x 1) per output; any batch size."""
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
    """Run an exported file on a batch (images x 3 x height x width); one array of images per output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return {name: column[:, 0] for name, column in zip(names, session.run(names, {INPUT: batch}), strict=True)}


def parity(net: nn.Module, path: Path, batch: npt.NDArray[np.float32]) -> float:
    """Return the largest difference between torch and onnxruntime on a batch (images x 3 x height x width)."""
    import torch

    with torch.inference_mode():
        ours = net.eval()(torch.from_numpy(batch)).numpy()
    theirs = np.stack(list(run_onnx(path, batch).values()), axis=1)
    return float(np.abs(ours - theirs).max())


def manifest_toml(manifest: Manifest) -> str:
    """Write a manifest as TOML, so that `read_manifest` gives the same manifest again."""
    content = manifest.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    outputs = content.pop("output")
    lines = [_line(key, value) for key, value in content.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_table(name, table)]
    for output in outputs:
        lines += ["", "[[output]]", *(_line(key, value) for key, value in output.items() if value != [])]
    return "\n".join(lines) + "\n"


def _table(name: str, table: dict[str, Any]) -> list[str]:
    """Write one table: its plain values, then the tables in it."""
    plain = [_line(key, value) for key, value in table.items() if not isinstance(value, dict)]
    for key, inner in table.items():
        if isinstance(inner, dict):
            plain += ["", f"[{name}.{key}]", *_table(f"{name}.{key}", inner)]
    return plain


def _line(key: str, value: object) -> str:
    """Write `key = value`; JSON's strings, numbers, booleans and flat lists are TOML's too."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)}"
