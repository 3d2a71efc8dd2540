"""Runs a bundle's ONNX file with torch: for machines on which torch is there and onnxruntime has no accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Classified, EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.preprocess import prepare
from oculard_models.registry import Bundle
from oculard_models.runners.golden import self_test
from oculard_models.runners.guards import (
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
    from oculard_models.runners.torch_graph import Graph

NEEDED = ("torch", "onnx")
NO_MEMORY = (  # how torch and what is below it say so, in lower case; the last two are oneDNN's, of its work space
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "alloc_failed",
    "bad_alloc",
    "bad allocation",
    "could not create a primitive",
    "could not create a memory",
)


def available_devices() -> list[str]:
    """Return what the installed torch can run on, by the names of onnxruntime's providers; nothing without torch."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    return ["CUDAExecutionProvider"] * torch.cuda.is_available() + ["CPUExecutionProvider"]


class TorchEstimator:
    """An `Estimator` or a `Segmenter` out of a bundle, on `cpu`, `cuda` or `cuda:1`.

    Raises BundleRefused, OutOfMemory when it is made. The same bytes, the same guards and the same self-test as with
    onnxruntime. `threads` holds for the whole process.
    """

    def __init__(self, bundle: Bundle, device: str, threads: int) -> None:
        self.bundle = bundle
        self.spec = bundle.manifest.input
        self._device = _usable(bundle, device)
        self._graph = _graph(bundle, self._device)
        self._tensors = wanted_tensors(bundle)
        check_ports(bundle, self._graph.inputs, self._graph.outputs)
        _use_threads(threads)

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it runs."""
        return (self._device,)

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to 3 x height x width as the manifest says."""
        return prepare(image, self.spec)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        """Run images x 3 x height x width; raw outputs by output name, one dict per image.

        A value may be NaN or infinite: the findings say so. Raises EstimateFailed where torch cannot run, OutOfMemory
        where a smaller batch may.
        """
        must_estimate(self.bundle)
        return to_rows(self.bundle, len(batch), self._tensors_of(batch))

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run images x 3 x height x width; probabilities, images x height x width, as the network gives them.

        Raises EstimateFailed where torch cannot run, OutOfMemory where a smaller batch may.
        """
        must_segment(self.bundle)
        return to_masks(self.bundle, len(batch), self._tensors_of(batch)[0])

    def classify(self, batch: npt.NDArray[np.float32]) -> list[Classified]:
        """Run eyes x views x height x width, 0 to 1; what the network says of each eye.

        Raises EstimateFailed where torch cannot run, OutOfMemory where a smaller batch may.
        """
        must_classify(self.bundle)
        return to_classified(self.bundle, len(batch), self._tensors_of(batch))

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused."""
        self_test(self.bundle, self)

    def _tensors_of(self, batch: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float64]]:
        """Check a batch and run it; one array a wanted tensor."""
        check_batch(self.bundle, batch)
        tensors, failure = self._run(batch)
        if failure is not None:  # raised here: within `except` it would hold the memory that it complains about
            raise failure
        return tensors

    def _run(self, batch: npt.NDArray[np.float32]) -> tuple[list[npt.NDArray[np.float64]], EstimateFailed | None]:
        """Run the graph; give its tensors, or why there are none."""
        import torch

        from oculard_models.runners.torch_graph import FAULTS

        try:
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
                images = torch.from_numpy(batch).to(self._device, memory_format=torch.channels_last)
                results = self._graph.run({self.spec.tensor: images})
                return [results[name].double().cpu().numpy() for name in self._tensors], None
        except (*FAULTS, MemoryError) as why:
            where = " ".join(getattr(why, "__notes__", ()))
            words = f"bundle `{self.bundle.folder.name}` cannot run on {len(batch)} images: {where}: {_first_line(why)}"
            failure = OutOfMemory(words) if _is_memory(why) else EstimateFailed(words)
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()  # what was reserved for the large batch is in the way of a small one
        return [], failure


def _usable(bundle: Bundle, device: str) -> str:
    """Return the device if it can be used. Raises BundleRefused with what is missing."""
    try:
        import onnx
        import torch
    except ModuleNotFoundError as why:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: the torch runner needs `{why.name}`;"
            " hint: install the extra with  pip install 'oculard[lab]'  or use the onnx runner"
        ) from why
    assert onnx is not None
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind != "cuda" or not (index or "0").isdecimal() or int(index or 0) >= count:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: torch has no device `{device}`; it has cpu"
            f"{''.join(f', cuda:{k}' for k in range(count))}; hint: is this torch built for the accelerator?"
        )
    return device


def _graph(bundle: Bundle, device: str) -> Graph:
    """Build the graph from the checked bytes."""
    from oculard_models.runners.torch_attributes import GraphWrong
    from oculard_models.runners.torch_graph import Graph

    content = checked_content(bundle)
    name = f"bundle `{bundle.folder.name}`: torch cannot load {bundle.manifest.weights.file}"
    try:
        return Graph(content, wanted_tensors(bundle), device)
    except GraphWrong as why:
        raise BundleRefused(f"{name}: {why}; hint: the onnx runner knows more") from why
    except (RuntimeError, MemoryError) as why:
        if _is_memory(why):
            raise OutOfMemory(f"{name}: {_first_line(why)}") from why
        raise BundleRefused(f"{name}: {_first_line(why)}") from why


def _use_threads(threads: int) -> None:
    """Let torch use so many threads."""
    import torch

    torch.set_num_threads(threads)


def _is_memory(why: Exception) -> bool:
    """Tell a lack of memory from everything else that goes wrong: for the processor's, torch has only words."""
    words = str(why).lower()
    return isinstance(why, MemoryError) or any(part in words for part in NO_MEMORY)


def _first_line(why: Exception) -> str:
    """Return what torch says without its stack."""
    return (str(why).splitlines() or [type(why).__name__])[0]
