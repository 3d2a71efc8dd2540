"""Writes a whole bundle around a network: weights, manifest, card, golden picture, figures. All of it, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.contract import ImageInput
from oculard_models.export.network import INPUT, export_onnx, parity, run_onnx, with_sigmoid
from oculard_models.export.toml import manifest_toml
from oculard_models.manifest import BundleRefused, Combine, Golden, InputSpec, Manifest, Mask, Output, Weights
from oculard_models.preprocess import prepare
from oculard_models.registry import CARD, MANIFEST, Bundle, read_bundle
from oculard_models.runners.golden import mask_figures
from oculard_models.runners.onnx import OnnxEstimator, choose_providers

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, GOLDEN, METRICS = "model.onnx", "golden.png", "metrics.json"
FIGURES = ("command", "date", "data", "seed")  # what every metrics.json says beside its figures
LARGEST_DIFFERENCE = 1e-3  # between torch and onnxruntime, in shares of the largest output (of 1 where all are smaller)
GOLDEN_DECIMALS = 5
RAW_TOLERANCE, MASK_TOLERANCE = 1e-2, 2e-3  # of the self-test: of raw outputs, of a mask's figures (a small share)


class ExportWrong(Exception):
    """A network or a bundle cannot become a bundle; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Everything of a bundle but its weights. `card` is the whole card, `golden` the pixels of a right eye.

    The network's columns are the `outputs`, in their order, and each is called by its `tensor`. With a `mask` it gives
    logits, images x 1 x height x width, which are exported as probabilities.
    """

    name: str
    family: str
    version: str
    title: str
    manufacturer: str
    licence: str
    demonstration: bool
    input: InputSpec
    outputs: tuple[Output, ...]
    card: str
    metrics: Mapping[str, object]
    golden: npt.NDArray[np.uint8]
    citation: str = ""
    combine: Combine = Combine.EYE
    interval: float = 0.9
    golden_tolerance: float | None = None  # None: as processors differ (RAW_TOLERANCE, MASK_TOLERANCE)
    mask: Mask | None = None

    def __post_init__(self) -> None:
        missing = [key for key in FIGURES if key not in self.metrics]
        if missing:
            raise ExportWrong(f"the figures of `{self.name}` lack {', '.join(missing)}; hint: nobody could rerun them")
        if self.input.tensor != INPUT:
            raise ExportWrong(
                f"`{self.name}`: the input tensor is `{self.input.tensor}`, the export calls it `{INPUT}`"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written bundle and the largest difference between torch and onnxruntime on the check batch."""

    bundle: Bundle
    largest_difference: float


def write_bundle(
    folder: Path, net: nn.Module, draft: Draft, *, check: npt.NDArray[np.float32], replace: bool = False
) -> Exported:
    """Write the bundle `folder`, complete and tested: it appears with one rename or not at all. Raises ExportWrong.

    `check` is a batch (images x 3 x height x width) on which torch and onnxruntime must agree. An existing folder is
    replaced only when that is asked for and it is a bundle of the same name.
    """
    must_be_free(folder, draft.name, replace)
    _must_fit(draft, check)
    differences: list[float] = []

    def fill(inside: Path) -> None:
        served = net if draft.mask is None else _mask_net(net, check)
        export_onnx(served, _tensors(draft), draft.input.size_px, inside / WEIGHTS)
        differences.append(parity_within_limit(served, inside / WEIGHTS, check))
        figures = dict(draft.metrics) | {"largest_difference_torch_onnx": differences[0]}
        write_files(inside, draft, figures)

    return Exported(bundle=put_in_place(folder, fill), largest_difference=differences[0])


def _tensors(draft: Draft) -> list[str]:
    """Name the tensors that the network gives."""
    return [output.tensor for output in draft.outputs] if draft.mask is None else [draft.mask.tensor]


def parity_within_limit(net: nn.Module, path: Path, check: npt.NDArray[np.float32]) -> float:
    """Return the largest difference between torch and onnxruntime. Raises ExportWrong where it is too large."""
    difference = parity(net, path, check)
    scale = max([1.0, *(float(np.abs(column).max()) for column in run_onnx(path, check).values())])
    if not difference <= LARGEST_DIFFERENCE * scale:  # also where a number is none
        raise ExportWrong(
            f"torch and onnxruntime differ by {difference:g} where outputs reach {scale:g};"
            f" {LARGEST_DIFFERENCE * scale:g} are allowed; hint: are its outputs finite, and is it in eval mode?"
        )
    return difference


def write_files(inside: Path, draft: Draft, figures: Mapping[str, object]) -> None:
    """Write everything beside the weights, which lie in the folder already; the golden values are onnxruntime's."""
    Image.fromarray(draft.golden).save(inside / GOLDEN, "PNG", optimize=True)
    write_text(inside, draft.card, figures)
    (inside / MANIFEST).write_text(manifest_toml(_manifest(inside / WEIGHTS, draft)), encoding="utf-8")


def write_text(inside: Path, card: str, figures: Mapping[str, object]) -> None:
    """Write the card and the figures. Raises ExportWrong where a figure is none."""
    try:
        text = json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as why:
        raise ExportWrong(f"the figures are no JSON: {why}; hint: write None for what is not known") from why
    (inside / METRICS).write_text(text + "\n", encoding="utf-8")
    (inside / CARD).write_text(card, encoding="utf-8")


def put_in_place(folder: Path, fill: Callable[[Path], None]) -> Bundle:
    """Fill a folder beside `folder`, see that it is a bundle that passes its self-test, and rename it.

    Whatever stops that leaves nothing behind. Raises ExportWrong.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    inside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")  # a dot: find_bundles does not look at it
    inside.mkdir()
    try:
        fill(inside)
        OnnxEstimator(read_bundle(inside), choose_providers(["cpu"], ["CPUExecutionProvider"]), threads=1).self_test()
        _rename(inside, folder)
    except BundleRefused as why:
        raise ExportWrong(f"what was exported is no good bundle: {why}") from why
    finally:
        shutil.rmtree(inside, ignore_errors=True)
    return read_bundle(folder)


def must_be_free(folder: Path, name: str, replace: bool) -> None:
    """See that nothing is lost by writing `folder`."""
    if not os.path.lexists(folder):
        return
    if not replace:
        raise ExportWrong(f"{folder} is already there; hint: name another folder, or ask for it to be replaced")
    try:
        there = read_bundle(folder).manifest.name
    except BundleRefused as why:
        raise ExportWrong(f"{folder} is not replaced because it is no bundle: {why}") from why
    if there != name:
        raise ExportWrong(f"{folder} is not replaced because it is the bundle `{there}`, not `{name}`")


def _must_fit(draft: Draft, check: npt.NDArray[np.float32]) -> None:
    """See that the check batch and the golden picture are what the network takes."""
    wanted = (3, *draft.input.size_px)
    if check.ndim != 4 or check.shape[1:] != wanted or not len(check) or check.dtype != np.float32:
        raise ExportWrong(f"the check batch is {check.shape} of {check.dtype}, expected images x {wanted} of float32")
    if draft.golden.ndim != 3 or draft.golden.shape[2] != 3 or draft.golden.dtype != np.uint8:
        raise ExportWrong(f"the golden picture is {draft.golden.shape} of {draft.golden.dtype}, expected RGB of uint8")


def _mask_net(net: nn.Module, check: npt.NDArray[np.float32]) -> nn.Module:
    """Wrap a network of logits; see that it gives one for every pixel, and nothing else."""
    import torch

    with torch.inference_mode():
        shape = tuple(net.eval()(torch.from_numpy(check[:1])).shape)
    if shape != (1, 1, *check.shape[2:]):
        raise ExportWrong(f"the network gives {shape} for one image, expected one logit a pixel, {check.shape[2:]}")
    return with_sigmoid(net)


def _expected(weights: Path, draft: Draft) -> dict[str, float]:
    """Return what onnxruntime makes of the golden picture, by the names that the manifest's golden has."""
    golden = prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=draft.golden), draft.input)
    raw = {name: of_images[0] for name, of_images in run_onnx(weights, golden[None]).items()}
    if draft.mask is None:
        values = {output.name: float(raw[output.tensor]) for output in draft.outputs}
    else:
        values = mask_figures(raw[draft.mask.tensor], draft.mask.threshold)
    wrong = [name for name, value in values.items() if not isfinite(value)]
    if wrong:
        raise ExportWrong(f"`{draft.name}` gives no number on its golden picture for {', '.join(wrong)}")
    return {name: round(value, GOLDEN_DECIMALS) for name, value in values.items()}


def _manifest(weights: Path, draft: Draft) -> Manifest:
    """Build the manifest, with the digest of the weights and what onnxruntime makes of the golden picture."""
    expected = _expected(weights, draft)
    tolerance = draft.golden_tolerance or (RAW_TOLERANCE if draft.mask is None else MASK_TOLERANCE)
    try:
        return Manifest(
            name=draft.name,
            family=draft.family,
            version=draft.version,
            title=draft.title,
            manufacturer=draft.manufacturer,
            licence=draft.licence,
            demonstration=draft.demonstration,
            combine=draft.combine,
            interval=draft.interval,
            citation=draft.citation,
            weights=Weights(file=weights.name, sha256=hashlib.sha256(weights.read_bytes()).hexdigest()),
            input=draft.input,
            mask=draft.mask,
            output=draft.outputs,
            golden=Golden(image=GOLDEN, expected=expected, tolerance=tolerance),
        )
    except ValueError as why:  # pydantic's words name the field
        raise ExportWrong(f"the draft of `{draft.name}` makes no manifest: {why}") from why


def _rename(inside: Path, folder: Path) -> None:
    """Put the new folder where the old one was, if there was one."""
    if not folder.exists():
        inside.rename(folder)
        return
    old = inside.with_name(inside.name + "-old")
    folder.rename(old)
    inside.rename(folder)
    shutil.rmtree(old)
