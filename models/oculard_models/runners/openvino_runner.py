"""Runs a bundle's ONNX file with OpenVINO: faster than onnxruntime on many processors, most of all in bf16."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Classified, EstimateFailed, ImageInput, OutOfMemory
from oculard_models.manifest import BundleRefused
from oculard_models.preprocess import prepare
from oculard_models.registry import Bundle
from oculard_models.runners.golden import self_test
from oculard_models.runners.guards import (
    FLOAT,
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

Precision = Literal["float", "bf16"]
TELEMETRY = "openvino_telemetry"
LANES = 2  # images at once: a network leaves cores idle between its layers
NO_MEMORY = ("bad_alloc", "bad allocation", "out of memory", "cannot allocate memory", "failed to allocate")
HINTS = {"float": "f32", "bf16": "bf16"}


def available_devices() -> list[str]:
    """Return what OpenVINO runs on here, by the names of onnxruntime's providers; nothing where it is not installed."""
    try:
        quiet_openvino()
    except ModuleNotFoundError:
        return []
    return ["CPUExecutionProvider"]


def offers_bf16() -> bool:
    """Tell whether the processor has a unit for bf16: without one it is emulated, and slow. OpenVINO must be there."""
    return "BF16" in quiet_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def quiet_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry: as it comes, the import alone tells a service in the internet of it.

    Raises ModuleNotFoundError.
    """
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]  # how Python says that it may not be imported
    import openvino

    # Its table of types is made when it is first asked for, and two threads that ask at once wait for each other for
    # ever: one has the table's lock and wants the interpreter's, the other the other way round. So one asks here.
    openvino.Type.f32.to_dtype()
    return cast("ModuleType", openvino)


class OpenVinoEstimator:
    """An `Estimator`, a `Segmenter` or a `Classifier` out of a bundle, on the processor, in `float` or `bf16`.

    Raises BundleRefused, OutOfMemory when it is made. The same bytes, guards and self-test as with onnxruntime.
    """

    def __init__(self, bundle: Bundle, threads: int, precision: Precision = "float") -> None:
        self.bundle = bundle
        self.spec = bundle.manifest.input
        self.precision: Precision = precision
        self.engine, self._network = _compiled(bundle, threads, precision)
        self._tensors = wanted_tensors(bundle)
        self._lanes = ThreadPoolExecutor(LANES, thread_name_prefix="openvino")

    @property
    def devices(self) -> tuple[str, ...]:
        """Where it runs."""
        return ("cpu",)

    def prepare(self, image: ImageInput) -> npt.NDArray[np.float32]:
        """Preprocess one image to 3 x height x width as the manifest says."""
        return prepare(image, self.spec)

    def estimate(self, batch: npt.NDArray[np.float32]) -> list[dict[str, float]]:
        """Run images x 3 x height x width; raw outputs by output name, one dict per image. Raises EstimateFailed."""
        must_estimate(self.bundle)
        return [row for tensors in self._tensors_of(batch) for row in to_rows(self.bundle, 1, tensors)]

    def segment(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Run images x 3 x height x width; probabilities, images x height x width. Raises EstimateFailed."""
        must_segment(self.bundle)
        masks = np.empty((len(batch), *self.spec.size_px), dtype=np.float32)
        for at, tensors in enumerate(self._tensors_of(batch)):
            masks[at] = to_masks(self.bundle, 1, tensors[0])[0]
        return masks

    def classify(self, batch: npt.NDArray[np.float32]) -> list[Classified]:
        """Run eyes x views x height x width, 0 to 1; what the network says of each eye. Raises EstimateFailed."""
        must_classify(self.bundle)
        return [eye for tensors in self._tensors_of(batch) for eye in to_classified(self.bundle, 1, tensors)]

    def self_test(self) -> None:
        """Run the golden image. Raises BundleRefused where an output is not as expected."""
        self_test(self.bundle, self)

    def _tensors_of(self, batch: npt.NDArray[np.float32]) -> list[list[npt.NDArray[np.float32]]]:
        """Run each image of a batch; one array a wanted tensor."""
        check_batch(self.bundle, batch)
        return list(self._lanes.map(self._run, (batch[at : at + 1] for at in range(len(batch)))))

    def _run(self, image: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Run one image."""
        try:
            request = self._network.create_infer_request()  # each thread needs its own
            request.infer({self.spec.tensor: np.ascontiguousarray(image)})
            return [np.array(request.get_tensor(name).data, dtype=np.float32) for name in self._tensors]
        except (RuntimeError, ValueError, MemoryError) as why:  # what OpenVINO's binding raises
            words = f"bundle `{self.bundle.folder.name}` cannot run with OpenVINO: {_first_line(why)}"
            raise (OutOfMemory if _is_memory(why) else EstimateFailed)(words) from why


def _compiled(bundle: Bundle, threads: int, precision: Precision) -> tuple[str, Any]:
    """Build the network from the checked bytes, for one image a time; and the engine's name with its version."""
    try:
        openvino = quiet_openvino()
    except ModuleNotFoundError as why:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: the openvino runner needs `{why.name}`;"
            " hint: install the extra with  pip install 'oculard[openvino]'  or use the onnx runner"
        ) from why
    content = checked_content(bundle)
    try:
        core = openvino.Core()
        model = core.read_model(content)
        check_ports(bundle, _ports(model.inputs), _ports(model.outputs))
        spec = bundle.manifest.input
        model.reshape({spec.tensor: [1, spec.channels, *spec.size_px]})
        hints = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "EXECUTION_MODE_HINT": "ACCURACY" if precision == "float" else "PERFORMANCE",
            "NUM_STREAMS": LANES,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # the intake lives on the same cores
        }
        return f"openvino {openvino.__version__.partition('-')[0]}", core.compile_model(model, "CPU", hints)
    except (RuntimeError, ValueError, MemoryError) as why:
        words = (
            f"bundle `{bundle.folder.name}`: OpenVINO cannot load {bundle.manifest.weights.file}: {_first_line(why)}"
        )
        raise (OutOfMemory if _is_memory(why) else BundleRefused)(words) from why


def _ports(nodes: Sequence[Any]) -> list[Port]:
    """Take over what OpenVINO says about a network's tensors."""
    return [
        Port(
            name=node.get_any_name(),
            type=FLOAT if node.element_type.get_type_name() == "f32" else node.element_type.get_type_name(),
            shape=tuple(None if size.is_dynamic else int(size.get_length()) for size in node.partial_shape),
        )
        for node in nodes
    ]


def _is_memory(why: Exception) -> bool:
    """Tell a lack of memory from everything else that goes wrong: OpenVINO has only words for it."""
    words = str(why).lower()
    return isinstance(why, MemoryError) or any(part in words for part in NO_MEMORY)


def _first_line(why: Exception) -> str:
    """Return what OpenVINO says without its stack."""
    lines = [line for line in str(why).splitlines() if line.strip() and not line.startswith("Exception from")]
    return (lines or [type(why).__name__])[0]
