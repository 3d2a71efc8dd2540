"""ONNX's operators on shapes and places in torch: cut, join, turn, gather, reduce, and the arithmetic of sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from oculard_models.runners.torch_attributes import Attributes
from oculard_models.runners.torch_layers import Operator, ints, together

Factory = Callable[[Attributes], Operator]

TYPES: Mapping[int, torch.dtype] = MappingProxyType(  # onnx.TensorProto.DataType
    {
        1: torch.float32,
        2: torch.uint8,
        3: torch.int8,
        5: torch.int16,
        6: torch.int32,
        7: torch.int64,
        9: torch.bool,
        10: torch.float16,
        11: torch.float64,
    }
)


def _cast(a: Attributes) -> Operator:
    """Cast."""
    kind = a.whole("to", 0)
    a.must(kind in TYPES, f"type {kind}")
    a.ignore("saturate", "round_mode")  # they are about float8
    return lambda x: x.to(TYPES[kind])


def _constant(a: Attributes) -> Operator:
    """Constant."""
    ways = (a.tensor("value"), *(a.number(f"value_{kind}") for kind in ("float", "floats", "int", "ints")))
    given = [value for value in ways if value is not None]
    a.must(len(given) == 1, "a constant without one value")
    return lambda: given[0]


def _filled(a: Attributes) -> Operator:
    """ConstantOfShape."""
    value = a.tensor("value")
    value = torch.zeros(1) if value is None else value
    return lambda shape: torch.full(ints(shape), value.item(), dtype=value.dtype)


def _concatenated(a: Attributes) -> Operator:
    """Concat."""
    axis = a.whole("axis", 0)

    return lambda *tensors: torch.cat(together(*tensors), dim=axis)


def _dropout(a: Attributes) -> Operator:
    """Dropout, which drops nothing here."""
    a.ignore("ratio", "seed")
    a.must(a.outputs == 1, "a second output")

    def run(x: Tensor, _ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor:
        a.must(training is None or not bool(training.item()), "training")
        return x

    return run


def _expanded(x: Tensor, shape: Tensor) -> Tensor:
    """Expand, where either side may be the wider."""
    return torch.broadcast_to(x, torch.broadcast_shapes(x.shape, ints(shape)))  # type: ignore[no-untyped-call, unused-ignore]


def _flattened(a: Attributes) -> Operator:
    """Flatten to two dimensions."""
    axis = a.whole("axis", 1)

    def run(x: Tensor) -> Tensor:
        at = axis if axis >= 0 else axis + x.ndim
        return x.reshape(x.shape[:at].numel(), -1)

    return run


def _gathered(a: Attributes) -> Operator:
    """Gather whole slices of one axis."""
    axis = a.whole("axis", 0)

    def run(x: Tensor, places: Tensor) -> Tensor:
        at = axis % x.ndim
        flat = places.reshape(-1).long()
        flat = torch.where(flat < 0, flat + x.shape[at], flat).to(x.device)
        return x.index_select(at, flat).reshape([*x.shape[:at], *places.shape, *x.shape[at + 1 :]])

    return run


def _largest(function: Callable[..., Tensor]) -> Factory:
    """ArgMax and ArgMin."""

    def make(a: Attributes) -> Operator:
        axis, keep = a.whole("axis", 0), a.whole("keepdims", 1) == 1
        a.must(a.whole("select_last_index", 0) == 0, "`select_last_index`")
        return lambda x: function(x, dim=axis, keepdim=keep)

    return make


def _reduced(function: Callable[[Tensor, tuple[int, ...], bool], Tensor], since: int = 18) -> Factory:
    """Reduce some axes, or all; they are an attribute before opset `since`, an input from then on."""

    def make(a: Attributes) -> Operator:
        attribute, keep = a.wholes("axes"), a.whole("keepdims", 1) == 1
        idle = a.whole("noop_with_empty_axes", 0) == 1
        a.must(attribute is None or a.opset < since, "`axes` as an attribute")

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            chosen = attribute or tuple(ints(axes))
            if not chosen and idle:
                return x
            return function(x, tuple(axis % x.ndim for axis in chosen) or tuple(range(x.ndim)), keep)

        return run

    return make


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    """Multiply along axes, the last first, so that the others keep their numbers."""
    for axis in sorted(axes, reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


def _reshaped(a: Attributes) -> Operator:
    """Reshape: -1 is what is left, 0 stays as it is."""
    literal = a.whole("allowzero", 0) == 1

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = ints(shape)
        return x.reshape([x.shape[k] if size == 0 and not literal else size for k, size in enumerate(sizes)])

    return run


def _shape(a: Attributes) -> Operator:
    """Shape, or a part of it; it lies in the processor's memory, where sizes are computed."""
    start, end = a.whole("start", 0), a.whole("end", 1 << 31)
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


def _sliced(a: Attributes) -> Operator:
    """Slice, forwards or backwards; Python's rules for what lies beyond an end are ONNX's."""
    given = [a.wholes(name) for name in ("starts", "ends", "axes")]

    def run(x: Tensor, *inputs: Tensor | None) -> Tensor:
        rows = [ints(tensor) for tensor in inputs] if inputs else [list(row or ()) for row in given]
        starts, ends = rows[:2]
        axes = rows[2] if len(rows) > 2 and rows[2] else list(range(len(starts)))
        steps = rows[3] if len(rows) > 3 and rows[3] else [1] * len(starts)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            places = range(*slice(start, end, step).indices(x.shape[axis]))
            if step == 1:
                x = x.narrow(axis, places.start, len(places))
            else:
                x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
        return x

    return run


def _split(a: Attributes) -> Operator:
    """Split into the given sizes, or into equal parts of which the last may be smaller."""
    axis, attribute = a.whole("axis", 0), a.wholes("split")
    parts = a.whole("num_outputs", a.outputs)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        chosen = list(attribute or ()) or ints(sizes)
        return tuple(torch.split(x, chosen or -(-x.shape[axis] // parts), dim=axis))

    return run


def _squeezed(a: Attributes) -> Operator:
    """Squeeze the given axes, or all of size 1."""
    attribute = a.wholes("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = attribute or tuple(ints(axes))
        return x.squeeze(chosen) if chosen else x.squeeze()

    return run


def _unsqueezed(a: Attributes) -> Operator:
    """Unsqueeze: the axes are those of the result."""
    attribute = a.wholes("axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = attribute or tuple(ints(axes))
        for axis in sorted(axis % (x.ndim + len(chosen)) for axis in chosen):
            x = x.unsqueeze(axis)
        return x

    return run


def _transposed(a: Attributes) -> Operator:
    """Transpose; without an order, backwards."""
    order = a.wholes("perm")
    return lambda x: x.permute(order if order is not None else tuple(range(x.ndim))[::-1])


def _blocks(a: Attributes) -> Operator:
    """DepthToSpace."""
    size, mode = a.whole("blocksize", 1), a.text("mode", "DCR")
    a.must(mode in ("DCR", "CRD"), f"mode `{mode}`")

    def run(x: Tensor) -> Tensor:
        if mode == "CRD":
            return torch.pixel_shuffle(x, size)
        n, c, h, w = x.shape
        depth = c // size**2
        return x.reshape(n, size, size, depth, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, depth, h * size, w * size)

    return run


def _deep(a: Attributes) -> Operator:
    """SpaceToDepth."""
    size = a.whole("blocksize", 1)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * size**2, h // size, w // size)

    return run


def _always(function: Callable[..., Any]) -> Factory:
    """An operator without attributes."""
    return lambda _: function


OPERATORS: Mapping[str, Factory] = MappingProxyType(
    {
        "ArgMax": _largest(torch.argmax),
        "ArgMin": _largest(torch.argmin),
        "Cast": _cast,
        "Concat": _concatenated,
        "Constant": _constant,
        "ConstantOfShape": _filled,
        "DepthToSpace": _blocks,
        "Dropout": _dropout,
        "Expand": _always(_expanded),
        "Flatten": _flattened,
        "Gather": _gathered,
        "Identity": _always(lambda x: x),
        "Range": _always(
            lambda start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)
        ),
        "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
        "ReduceL2": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
        "ReduceLogSumExp": _reduced(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
        "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
        "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
        "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
        "ReduceProd": _reduced(_product),
        "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep), since=13),
        "ReduceSumSquare": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
        "Reshape": _reshaped,
        "Shape": _shape,
        "Size": _always(lambda x: torch.tensor(x.numel())),
        "Slice": _sliced,
        "SpaceToDepth": _deep,
        "Split": _split,
        "Squeeze": _squeezed,
        "Tile": _always(lambda x, times: x.repeat(ints(times))),
        "Transpose": _transposed,
        "Unsqueeze": _unsqueezed,
    }
)
