"""Runs a bundle's ONNX file with onnxruntime."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from oculard_models.contract import EstimateFailed, ImageInput
from oculard_models.manifest import BundleRefused
from oculard_models.preprocess import prepare
from oculard_models.registry import Bundle
from oculard_models.runners.onnx_file import NotOnnx, has_external_data

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
        "openvino": "OpenVINOExecutionProvider",
    }
)
QUIET = 3  # onnxruntime's severity "error": its warnings are about speed, and go to stderr past our log
GOLDEN_MAX_PX = 4096


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of onnxruntime's providers are used, best first, and one sentence on each that was asked for."""

    providers: tuple[str, ...]
    why: tuple[str, ...]


def available_providers() -> list[str]:
    """Return the names of the providers that the installed onnxruntime offers."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def choose_providers(wanted: Sequence[str], available: Sequence[str]) -> Choice:
    """Match the wanted providers (`cpu`, `cuda`, `tensorrt`, `openvino`, best first) with the available ones.

    The processor is always the last resort. Raises ValueError for a word that is none of the four.
    """
    providers: list[str] = []
    why: list[str] = []
    for word in dict.fromkeys(wanted):
        if word not in PROVIDERS:
            raise ValueError(f"`{word}` is no provider; hint: choose from {', '.join(PROVIDERS)}")
        if PROVIDERS[word] in available:
            providers.append(PROVIDERS[word])
            why.append(f"{word} is used because it is wanted and the installed onnxruntime offers it.")
        else:
            why.append(f"{word} is not used because the installed onnxruntime does not offer it.")
    if PROVIDERS["cpu"] not in providers:
        providers.append(PROVIDERS["cpu"])
        why.append("cpu is used as the last resort, as always.")
    return Choice(tuple(providers), tuple(why))


class OnnxEstimator:
    """An `Estimator` out of a bundle. Loads and checks the weights when it is made; raises BundleRefused.

    The network is built from the very bytes whose digest was checked, and a model that wants other files is refused.
    """

    def __init__(self, bundle: Bundle, choice: Choice, threads: int) -> None:
        self.bundle = bundle
        self.spec = bundle.manifest.input
        self._name = bundle.folder.name
        self._session = _session(bundle, choice, threads)
        self._tensors = [output.tensor for output in bundle.manifest.output]
        _check_input(bundle, self._session)
        _check_outputs(bundle, self._session)

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that are really in use: onnxruntime leaves out those whose libraries do not load."""
        return tuple(self._session.get_providers())

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to 3 x height x width as the manifest says."""
        return prepare(image, self.spec)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        """Run images x 3 x height x width; raw outputs by output name, one dict per image.

        A value may be NaN or infinite: the findings say so. Raises EstimateFailed where onnxruntime cannot run.
        """
        if batch.shape[1:] != (3, *self.spec.size_px) or batch.dtype != np.float32:
            raise ValueError(f"expected images x 3 x {self.spec.size_px} of float32, got {batch.shape}, {batch.dtype}")
        try:
            tensors = self._session.run(self._tensors, {self.spec.tensor: batch})
        except _errors() as why:
            raise EstimateFailed(f"bundle `{self._name}` cannot run on {len(batch)} images: {why}") from why
        columns = [np.asarray(tensor, dtype=np.float64) for tensor in tensors]
        if any(column.size != len(batch) for column in columns):
            shapes = ", ".join(str(column.shape) for column in columns)
            raise EstimateFailed(f"bundle `{self._name}` gave {shapes} for {len(batch)} images")
        names = [output.name for output in self.bundle.manifest.output]
        rows = np.stack([column.reshape(-1) for column in columns], axis=1).tolist()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def self_test(self) -> None:
        """Run the golden image, two of it in one batch. Raises BundleRefused where an output is not as expected."""
        golden = self.bundle.manifest.golden
        one = self.prepare(ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=_golden_pixels(self.bundle)))
        try:
            results = self.estimate(np.stack([one, one]))
        except EstimateFailed as why:
            raise BundleRefused(f"bundle `{self._name}`: self-test failed: {why}") from why
        for result in results:
            for output, expected in golden.expected.items():
                got = result[output]
                if not isfinite(got) or abs(got - expected) > golden.tolerance:
                    raise BundleRefused(
                        f"bundle `{self._name}`: self-test failed: `{output}` of {golden.image} is {got:.4f},"
                        f" expected {expected:.4f} +- {golden.tolerance:g}"
                    )


def _session(bundle: Bundle, choice: Choice, threads: int) -> InferenceSession:
    """Build onnxruntime's session from the checked bytes."""
    import onnxruntime

    content = bundle.load()
    _check_content(bundle, content)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(content, options, providers=list(choice.providers))
    except _errors() as why:
        file = bundle.manifest.weights.file
        raise BundleRefused(f"bundle `{bundle.folder.name}`: onnxruntime cannot load {file}: {why}") from why


def _check_content(bundle: Bundle, content: bytes) -> None:
    """Refuse what is no ONNX file, and one whose tensors lie in other files."""
    try:
        outside = has_external_data(content)
    except NotOnnx as why:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: {bundle.manifest.weights.file} is not ONNX: {why}"
        ) from why
    _must(bundle, not outside, f"{bundle.manifest.weights.file} reads other files; hint: export it as one file")


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: a dozen classes with no common parent of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*kinds, RuntimeError, ValueError)


def _check_input(bundle: Bundle, session: InferenceSession) -> None:
    """The network must take exactly one tensor: the manifest's, float, any number of images, of the stated size."""
    spec, inputs = bundle.manifest.input, session.get_inputs()
    _must(
        bundle,
        [node.name for node in inputs] == [spec.tensor],
        f"input tensors are {[node.name for node in inputs]}, the manifest says `{spec.tensor}`",
    )
    shape, wanted = inputs[0].shape, [3, *spec.size_px]
    fits = len(shape) == 4 and all(is_ == to_be or _free(is_) for is_, to_be in zip(shape[1:], wanted, strict=True))
    _must(bundle, inputs[0].type == "tensor(float)", f"input `{spec.tensor}` is {inputs[0].type}, not tensor(float)")
    _must(bundle, fits, f"input `{spec.tensor}` has the shape {shape}, the manifest says images x {wanted}")
    _must(bundle, _free(shape[0]), f"input `{spec.tensor}` takes {shape[0]} images; hint: export a free batch size")


def _check_outputs(bundle: Bundle, session: InferenceSession) -> None:
    """Every tensor that the manifest names must be there and hold one float per image."""
    nodes = {node.name: node for node in session.get_outputs()}
    for output in bundle.manifest.output:
        node = nodes.get(output.tensor)
        if node is None:
            raise BundleRefused(
                f"bundle `{bundle.folder.name}`: no output tensor `{output.tensor}`; there are {sorted(nodes)}"
            )
        single = len(node.shape) == 1 or (len(node.shape) == 2 and (node.shape[1] == 1 or _free(node.shape[1])))
        _must(bundle, node.type == "tensor(float)", f"output `{output.tensor}` is {node.type}, not tensor(float)")
        _must(
            bundle,
            single and _free(node.shape[0]),
            f"output `{output.tensor}` has the shape {node.shape}, not one value per image",
        )


def _free(dimension: Any) -> bool:
    """Tell whether a dimension of onnxruntime's is left open (a name or None)."""
    return not isinstance(dimension, int)


def _must(bundle: Bundle, holds: bool, otherwise: str) -> None:
    """Refuse the bundle unless a condition holds."""
    if not holds:
        raise BundleRefused(f"bundle `{bundle.folder.name}`: {otherwise}")


def _golden_pixels(bundle: Bundle) -> npt.NDArray[np.uint8]:
    """Decode the golden image; rows x columns x 3, uint8, RGB."""
    name = f"bundle `{bundle.folder.name}`: {bundle.manifest.golden.image}"
    try:
        with Image.open(io.BytesIO(bundle.golden_image()), formats=["PNG"]) as picture:
            if max(picture.size) > GOLDEN_MAX_PX:
                raise BundleRefused(f"{name} has {picture.size} pixels, {GOLDEN_MAX_PX} a side are allowed")
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as why:  # what Pillow raises on bad files
        raise BundleRefused(f"{name} cannot be decoded: {why}") from why
