"""What every runner checks: the weights' bytes before they are read, the network's tensors, batches and results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from oculard_models.contract import Classified, EstimateFailed
from oculard_models.manifest import ACTIVATION, BY_VIEW, BundleRefused
from oculard_models.registry import Bundle
from oculard_models.runners.onnx_file import NotOnnx, has_external_data

FLOAT = "tensor(float)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input or output tensor of a network; a dimension that is left open is a name or None."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


def checked_content(bundle: Bundle) -> bytes:
    """Return the bytes whose digest was checked; refuse what is no ONNX file or has tensors in other files."""
    content = bundle.load()
    try:
        outside = has_external_data(content)
    except NotOnnx as why:
        raise BundleRefused(
            f"bundle `{bundle.folder.name}`: {bundle.manifest.weights.file} is not ONNX: {why}"
        ) from why
    must(bundle, not outside, f"{bundle.manifest.weights.file} reads other files; hint: export it as one file")
    return content


def check_ports(bundle: Bundle, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
    """See that the network takes and gives what the manifest says. Raises BundleRefused."""
    _check_input(bundle, inputs)
    _check_outputs(bundle, outputs)


def wanted_tensors(bundle: Bundle) -> list[str]:
    """Name the tensors that a runner asks for, in the order of `to_rows` or `to_classified`, or `to_masks`' one."""
    mask = bundle.manifest.mask
    if bundle.manifest.input.views:
        return [bundle.manifest.class_output.tensor, BY_VIEW, ACTIVATION]
    return [output.tensor for output in bundle.manifest.output] if mask is None else [mask.tensor]


def must_estimate(bundle: Bundle) -> None:
    """Who asks a bundle that segments or classifies for values has not looked: a bug. Raises ValueError."""
    if bundle.manifest.mask is not None:
        raise ValueError(f"bundle `{bundle.folder.name}` segments: ask it to `segment`, not to `estimate`")
    if bundle.manifest.input.views:
        raise ValueError(f"bundle `{bundle.folder.name}` reads views: ask it to `classify`, not to `estimate`")


def must_classify(bundle: Bundle) -> None:
    """Who asks an ordinary bundle for classes of views has not looked: a bug. Raises ValueError."""
    if not bundle.manifest.input.views:
        raise ValueError(f"bundle `{bundle.folder.name}` reads no views: ask it to `estimate` or `segment`")


def must_segment(bundle: Bundle) -> None:
    """Who asks an ordinary bundle for masks has not looked: a bug. Raises ValueError."""
    if bundle.manifest.mask is None:
        raise ValueError(f"bundle `{bundle.folder.name}` has no mask: ask it to `estimate`, not to `segment`")


def check_batch(bundle: Bundle, batch: npt.NDArray[np.float32]) -> None:
    """A batch that was not prepared for this bundle is a bug of the caller's. Raises ValueError."""
    spec = bundle.manifest.input
    if batch.shape[1:] != (spec.channels, *spec.size_px) or batch.dtype != np.float32:
        raise ValueError(
            f"expected images x {spec.channels} x {spec.size_px} of float32, got {batch.shape}, {batch.dtype}"
        )


def to_rows(
    bundle: Bundle, images: int, tensors: Sequence[npt.NDArray[np.float32] | npt.NDArray[np.float64]]
) -> list[dict[str, float]]:
    """Turn one tensor per output into one dict per image. Raises EstimateFailed where the numbers do not add up."""
    columns = [np.asarray(tensor, dtype=np.float64) for tensor in tensors]
    if any(column.size != images for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns)
        raise EstimateFailed(f"bundle `{bundle.folder.name}` gave {shapes} for {images} images")
    names = [output.name for output in bundle.manifest.output]
    rows = np.stack([column.reshape(-1) for column in columns], axis=1).tolist()
    return [dict(zip(names, row, strict=True)) for row in rows]


def to_masks(
    bundle: Bundle, images: int, tensor: npt.NDArray[np.float32] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Turn a mask's tensor into images x height x width. Raises EstimateFailed where it has another shape."""
    size_px = bundle.manifest.input.size_px
    if tensor.shape != (images, 1, *size_px):
        raise EstimateFailed(f"bundle `{bundle.folder.name}` gave {tensor.shape} for {images} masks of {size_px}")
    return np.asarray(tensor, dtype=np.float32).reshape(images, *size_px)


def to_classified(
    bundle: Bundle, eyes: int, tensors: Sequence[npt.NDArray[np.float32] | npt.NDArray[np.float64]]
) -> list[Classified]:
    """Turn the three tensors into one record an eye. Raises EstimateFailed where one has another shape."""
    classes, views = len(bundle.manifest.class_output.choices), len(bundle.manifest.input.views)
    probability, by_view, activation = (np.asarray(tensor, dtype=np.float32) for tensor in tensors)
    fits = probability.shape == (eyes, classes) and by_view.shape == (eyes, views, classes)
    if not fits or activation.ndim != 4 or activation.shape[:2] != (eyes, views) or 0 in activation.shape:
        shapes = ", ".join(str(tensor.shape) for tensor in tensors)
        raise EstimateFailed(f"bundle `{bundle.folder.name}` gave {shapes} for {eyes} eyes")
    return [
        Classified(probability=probability[eye], by_view=by_view[eye], activation=activation[eye])
        for eye in range(eyes)
    ]


def must(bundle: Bundle, holds: bool, otherwise: str) -> None:
    """Refuse the bundle unless a condition holds."""
    if not holds:
        raise BundleRefused(f"bundle `{bundle.folder.name}`: {otherwise}")


def _check_input(bundle: Bundle, inputs: Sequence[Port]) -> None:
    """The network must take exactly one tensor: the manifest's, float, any number of images, of the stated size."""
    spec, names = bundle.manifest.input, [port.name for port in inputs]
    must(bundle, names == [spec.tensor], f"input tensors are {names}, the manifest says `{spec.tensor}`")
    shape, wanted = list(inputs[0].shape), [spec.channels, *spec.size_px]
    fits = len(shape) == 4 and _is(shape[1:], wanted)
    must(bundle, inputs[0].type == FLOAT, f"input `{spec.tensor}` is {inputs[0].type}, not {FLOAT}")
    must(bundle, fits, f"input `{spec.tensor}` has the shape {shape}, the manifest says images x {wanted}")
    must(bundle, _free(shape[0]), f"input `{spec.tensor}` takes {shape[0]} images; hint: export a free batch size")


def _check_outputs(bundle: Bundle, outputs: Sequence[Port]) -> None:
    """Every tensor that the manifest names must be there and hold one float per image, or one mask of its size."""
    ports = {port.name: port for port in outputs}
    for name in wanted_tensors(bundle):
        port = ports.get(name)
        if port is None:
            raise BundleRefused(f"bundle `{bundle.folder.name}`: no output tensor `{name}`; there are {sorted(ports)}")
        must(bundle, port.type == FLOAT, f"output `{name}` is {port.type}, not {FLOAT}")
        shape, fits = list(port.shape), bool(port.shape) and _free(port.shape[0])
        if bundle.manifest.input.views:
            _check_views(bundle, name, shape, fits)
        elif bundle.manifest.mask is None:
            single = len(shape) == 1 or (len(shape) == 2 and (shape[1] == 1 or _free(shape[1])))
            must(bundle, fits and single, f"output `{name}` has the shape {shape}, not one value per image")
        else:
            wanted = [1, *bundle.manifest.input.size_px]
            fits = fits and _is(shape[1:], wanted)
            must(bundle, fits, f"mask `{name}` has the shape {shape}, the manifest says images x {wanted}")


def _check_views(bundle: Bundle, name: str, shape: Sequence[int | str | None], fits: bool) -> None:
    """The probabilities have a number a class, those by view a row a view, the activation a map a view."""
    views, classes = len(bundle.manifest.input.views), len(bundle.manifest.class_output.choices)
    wanted: dict[str, list[int | str | None]] = {BY_VIEW: [views, classes], ACTIVATION: [views, None, None]}
    expected = wanted.get(name, [classes])
    fits = fits and len(shape) == 1 + len(expected)
    fits = fits and all(a == b or _free(a) or _free(b) for a, b in zip(shape[1:], expected, strict=True))
    must(bundle, fits, f"output `{name}` has the shape {shape}, the manifest says images x {expected}")


def _is(shape: Sequence[int | str | None], wanted: Sequence[int]) -> bool:
    """Tell whether every dimension is as wanted, or left open."""
    return len(shape) == len(wanted) and all(a == b or _free(a) for a, b in zip(shape, wanted, strict=True))


def _free(dimension: int | str | None) -> bool:
    """Tell whether a dimension is left open."""
    return not isinstance(dimension, int)
