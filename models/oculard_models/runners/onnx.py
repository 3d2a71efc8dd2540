"""Runs a bundle's ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Classified, EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.preprocess import prepare
from oculard_models.registry import Bundle
from oculard_models.runners.golden import self_test
from oculard_models.runners.guards import (
    Port,
    check_batch,
    check_ports,
    checked_content,
    must_classify,
    must_estimate,
    must_segment,
    to_classified,
    to_masks,
    to_rows,
    wanted_tensors,
)

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
LANES = 2  # images at once on the processor: a network leaves cores idle between its layers
QUIET = 3  # onnxruntime's severity "error": its warnings are about speed, and go to stderr past our log
NO_MEMORY = (  # how onnxruntime and what is below it say so, in lower case: its arenas, C++, cuDNN, cuBLAS, the driver
    "failed to allocate memory",
    "bfcarena",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "status_alloc_failed",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which providers are used, best first, by onnxruntime's names, and one sentence on each that was asked for."""

    providers: tuple[str, ...]
    why: tuple[str, ...]


def available_providers() -> list[str]:
    """Return the names of the providers that the installed onnxruntime offers."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def choose_providers(wanted: Sequence[str], available: Sequence[str], offered_by: str = "onnxruntime") -> Choice:
    """Match the wanted providers (`cpu`, `cuda`, `tensorrt`, `openvino`, best first) with the available ones.

    The processor is always the last resort; `offered_by` is who runs them, for the reasons. Raises ValueError for a
    word that is none of the four.
    """
    providers: list[str] = []
    why: list[str] = []
    for word in dict.fromkeys(wanted):
        if word not in PROVIDERS:
            raise ValueError(f"`{word}` is no provider; hint: choose from {', '.join(PROVIDERS)}")
        if PROVIDERS[word] in available:
            providers.append(PROVIDERS[word])
            why.append(f"{word} is used because it is wanted and the installed {offered_by} offers it.")
        else:
            why.append(f"{word} is not used because the installed {offered_by} does not offer it.")
    if PROVIDERS["cpu"] not in providers:
        providers.append(PROVIDERS["cpu"])
        why.append("cpu is used as the last resort, as always.")
    return Choice(tuple(providers), tuple(why))


class OnnxEstimator:
    """An `Estimator` or a `Segmenter` out of a bundle; loads and checks the weights when it is made.

    Raises BundleRefused, OutOfMemory. The network is built from the very bytes whose digest was checked, and a model
    that wants other files is refused.
    """

    def __init__(self, bundle: Bundle, choice: Choice, threads: int) -> None:
        self.bundle = bundle
        self.spec = bundle.manifest.input
        self._session = _session(bundle, choice, threads)
        self._tensors = wanted_tensors(bundle)
        self._lanes = ThreadPoolExecutor(LANES, thread_name_prefix="onnxruntime")
        try:
            inputs, outputs = _ports(self._session.get_inputs()), _ports(self._session.get_outputs())
        except UnicodeDecodeError as why:
            raise BundleRefused(f"bundle `{bundle.folder.name}`: a tensor's name or dimension is no text") from why
        check_ports(bundle, inputs, outputs)

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers that are really in use: onnxruntime leaves out those whose libraries do not load."""
        return tuple(self._session.get_providers())

    @property
    def devices(self) -> tuple[str, ...]:
        """The same in our words."""
        words = {provider: word for word, provider in PROVIDERS.items()}
        return tuple(words.get(provider, provider) for provider in self.providers)

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to 3 x height x width as the manifest says."""
        return prepare(image, self.spec)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        """Run images x 3 x height x width; raw outputs by output name, one dict per image.

        A value may be NaN or infinite: the findings say so. Raises EstimateFailed where onnxruntime cannot run,
        OutOfMemory where a smaller batch may.
        """
        must_estimate(self.bundle)
        check_batch(self.bundle, batch)
        return [row for images, tensors in self._results(batch) for row in to_rows(self.bundle, images, tensors)]

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run images x 3 x height x width; probabilities, images x height x width, as the network gives them.

        Raises EstimateFailed where onnxruntime cannot run, OutOfMemory where a smaller batch may.
        """
        must_segment(self.bundle)
        check_batch(self.bundle, batch)
        masks = np.empty((len(batch), *self.spec.size_px), dtype=np.float32)
        done = 0
        for images, tensors in self._results(batch):
            masks[done : done + images] = to_masks(self.bundle, images, tensors[0])
            done += images
        return masks

    def classify(self, batch: npt.NDArray[np.float32]) -> list[Classified]:
        """Run eyes x views x height x width, 0 to 1; what the network says of each eye.

        Raises EstimateFailed where onnxruntime cannot run, OutOfMemory where a smaller batch may.
        """
        must_classify(self.bundle)
        check_batch(self.bundle, batch)
        return [eye for eyes, tensors in self._results(batch) for eye in to_classified(self.bundle, eyes, tensors)]

    def _results(self, batch: npt.NDArray[np.float32]) -> Iterator[tuple[int, Sequence[npt.NDArray[np.float32]]]]:
        """Run a batch; so many images and their tensors, in order. Raises EstimateFailed."""
        if self.devices != ("cpu",):
            yield len(batch), self._run(batch)
            return
        # A batch leaves the caches there (B7 took 1.6 s an image for 0.7), two images side by side do not.
        for tensors in self._lanes.map(self._run, (batch[image : image + 1] for image in range(len(batch)))):
            yield 1, tensors

    def _run(self, batch: npt.NDArray[np.float32]) -> Sequence[npt.NDArray[np.float32]]:
        """Run so many images at once; one array a wanted tensor."""
        try:
            return list(self._session.run(self._tensors, {self.spec.tensor: batch}))
        except _errors() as why:
            words = f"bundle `{self.bundle.folder.name}` cannot run on {len(batch)} images: {why}"
            raise (OutOfMemory if _is_memory(why) else EstimateFailed)(words) from why

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused where an output is not as expected."""
        self_test(self.bundle, self)


def _session(bundle: Bundle, choice: Choice, threads: int) -> InferenceSession:
    """Build onnxruntime's session from the checked bytes."""
    import onnxruntime

    content = checked_content(bundle)
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoders need the cores meanwhile
    try:
        return onnxruntime.InferenceSession(content, options, providers=list(choice.providers))
    except _errors() as why:
        words = f"bundle `{bundle.folder.name}`: onnxruntime cannot load {bundle.manifest.weights.file}: {why}"
        raise (OutOfMemory if _is_memory(why) else BundleRefused)(words) from why


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: a dozen classes with no common parent of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*kinds, RuntimeError, ValueError, MemoryError)


def _is_memory(why: Exception) -> bool:
    """Tell a lack of memory from everything else that goes wrong: onnxruntime has no class for it, only words."""
    words = str(why).lower()
    return isinstance(why, MemoryError) or any(part in words for part in NO_MEMORY)


def _ports(nodes: Sequence[Any]) -> list[Port]:
    """Take over what onnxruntime says about a session's tensors."""
    return [Port(name=node.name, type=node.type, shape=tuple(node.shape)) for node in nodes]
