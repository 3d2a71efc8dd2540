"""ONNX's layers in torch: convolutions, pooling, normalisation, padding, resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from oculard_models.runners.torch_attributes import Attributes

Operator = Callable[..., Any]  # tensors (None for one left out) in, a tensor or a tuple of them out
Pads = list[tuple[int, int]]  # before and after, a spatial dimension each

CONVOLUTIONS = {1: nnf.conv1d, 2: nnf.conv2d, 3: nnf.conv3d}
TRANSPOSED = {1: nnf.conv_transpose1d, 2: nnf.conv_transpose2d, 3: nnf.conv_transpose3d}
MAX_POOLS = {1: nnf.max_pool1d, 2: nnf.max_pool2d, 3: nnf.max_pool3d}
MEAN_POOLS = {1: nnf.avg_pool1d, 2: nnf.avg_pool2d, 3: nnf.avg_pool3d}


def ints(tensor: Tensor | None) -> list[int]:
    """Read whole numbers out of a tensor."""
    return [] if tensor is None else [int(value) for value in tensor.reshape(-1).tolist()]


def together(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring tensors to one device: what is computed from shapes lies in the processor's memory."""
    away = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
    return tensors if away is None else tuple(tensor.to(away) for tensor in tensors)


def convolution(a: Attributes) -> Operator:
    """Conv."""
    strides, dilations, groups = a.wholes("strides"), a.wholes("dilations"), a.whole("group", 1)
    padding = _padding(a)
    a.ignore("kernel_shape")  # the weights have it

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        n = weight.ndim - 2
        stride, dilation = strides or (1,) * n, dilations or (1,) * n
        x, same = _padded(x, padding(x.shape[2:], weight.shape[2:], stride, dilation), 0.0)
        done: Tensor = CONVOLUTIONS[n](x, weight, bias, stride, same, dilation, groups)
        return done

    return run


def transposed_convolution(a: Attributes) -> Operator:
    """ConvTranspose: without padding, then cut, because torch cuts both ends alike."""
    strides, dilations, groups = a.wholes("strides"), a.wholes("dilations"), a.whole("group", 1)
    pads, more = a.wholes("pads"), a.wholes("output_padding")
    a.must(a.text("auto_pad", "NOTSET") == "NOTSET", "`auto_pad`")
    a.ignore("kernel_shape")

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        n = weight.ndim - 2
        ones, zeros = (1,) * n, (0,) * n
        y: Tensor = TRANSPOSED[n](x, weight, bias, strides or ones, 0, more or zeros, groups, dilations or ones)
        for k, (before, after) in enumerate(_pairs(pads or zeros * 2)):
            y = y.narrow(2 + k, before, y.shape[2 + k] - before - after)
        return y

    return run


def max_pool(a: Attributes) -> Operator:
    """MaxPool, without the places of the largest."""
    a.must(a.outputs == 1, "a second output")
    a.ignore("storage_order")  # it orders those places
    kernel, strides, dilations = a.wholes("kernel_shape") or (), a.wholes("strides"), a.wholes("dilations")
    padding, up = _padding(a), a.whole("ceil_mode", 0) == 1
    n = len(kernel)
    stride, dilation = strides or (1,) * n, dilations or (1,) * n

    def run(x: Tensor) -> Tensor:
        pads = padding(x.shape[2:], kernel, stride, dilation)
        if up or any(before != after or before > size // 2 for (before, after), size in zip(pads, kernel, strict=True)):
            lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
            x = _pad(x, _to_the_end(x.shape[2:], pads, kernel, stride, dilation, up), lowest)
            pads = [(0, 0)] * n
        done: Tensor = MAX_POOLS[n](x, kernel, stride, [before for before, _ in pads], dilation)
        return done

    return run


def mean_pool(a: Attributes) -> Operator:
    """AveragePool; where padding counts or not is decided by dividing by a pooled mask."""
    kernel, strides, dilations = a.wholes("kernel_shape") or (), a.wholes("strides"), a.wholes("dilations")
    padding, up, counts = _padding(a), a.whole("ceil_mode", 0) == 1, a.whole("count_include_pad", 0) == 1
    n = len(kernel)
    stride = strides or (1,) * n
    a.must(not dilations or set(dilations) == {1}, "`dilations`")

    def run(x: Tensor) -> Tensor:
        pads = padding(x.shape[2:], kernel, stride, (1,) * n)
        if not up and all(before == after <= size // 2 for (before, after), size in zip(pads, kernel, strict=True)):
            same = [before for before, _ in pads]
            direct: Tensor = MEAN_POOLS[n](x, kernel, stride, same, False, counts)
            return direct
        mask = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        mask = _pad(mask, pads, 1.0 if counts else 0.0)
        ends = _to_the_end(x.shape[2:], pads, kernel, stride, (1,) * n, up)
        mask = _pad(mask, [(0, end - after) for (_, end), (_, after) in zip(ends, pads, strict=True)], 0.0)
        pooled: Tensor = MEAN_POOLS[n](_pad(x, ends, 0.0), kernel, stride)
        return pooled / MEAN_POOLS[n](mask, kernel, stride)

    return run


def batch_norm(a: Attributes) -> Operator:
    """BatchNormalization with the statistics of the training."""
    epsilon = a.fraction("epsilon", 1e-5)
    a.must(a.whole("training_mode", 0) == 0 and a.outputs == 1, "training")
    a.ignore("momentum", "spatial")

    def run(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return nnf.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)

    return run


def layer_norm(a: Attributes) -> Operator:
    """LayerNormalization over the axes from `axis` on."""
    axis, epsilon = a.whole("axis", -1), a.fraction("epsilon", 1e-5)
    a.must(a.outputs == 1 and a.whole("stash_type", 1) == 1, "a second output")
    return lambda x, scale, bias=None: nnf.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def instance_norm(a: Attributes) -> Operator:
    """InstanceNormalization."""
    epsilon = a.fraction("epsilon", 1e-5)
    return lambda x, scale, bias: nnf.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def padded(a: Attributes) -> Operator:
    """Pad."""
    mode, value, attribute = a.text("mode", "constant"), a.fraction("value", 0.0), a.wholes("pads")
    a.must(mode in ("constant", "reflect", "edge", "wrap"), f"mode `{mode}`")

    def run(x: Tensor, pads: Tensor | None = None, filling: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        pairs = _pairs(list(attribute) if attribute is not None else ints(pads))
        at = [axis % x.ndim for axis in ints(axes)] if axes is not None else list(range(x.ndim))
        if mode == "constant":
            whole = [(0, 0)] * x.ndim
            for axis, pair in zip(at, pairs, strict=True):
                whole[axis] = pair
            return _pad(x, whole, float(filling.item()) if filling is not None else value)
        for axis, (before, after) in zip(at, pairs, strict=True):
            if before or after:
                x = x.index_select(axis, _beyond(mode, x.shape[axis], before, after).to(x.device))
        return x

    return run


def resized(a: Attributes) -> Operator:
    """Resize, nearest or linear, axis by axis, with ONNX's own rule for where an output pixel lies."""
    mode, nearest = a.text("mode", "nearest"), a.text("nearest_mode", "round_prefer_floor")
    where = a.text("coordinate_transformation_mode", "asymmetric" if a.opset < 11 else "half_pixel")
    a.must(mode in ("nearest", "linear"), f"mode `{mode}`")
    a.must(where in PLACES, f"coordinate_transformation_mode `{where}`")
    a.must(nearest in NEAREST, f"nearest_mode `{nearest}`")
    a.must(not a.whole("antialias", 0) and not a.whole("exclude_outside", 0), "`antialias` or `exclude_outside`")
    a.must(a.text("keep_aspect_ratio_policy", "stretch") == "stretch", "`keep_aspect_ratio_policy`")
    a.ignore("cubic_coeff_a", "extrapolation_value")
    chosen = a.wholes("axes")

    def run(x: Tensor, *others: Tensor | None) -> Tensor:
        scales, sizes = (others[0], None) if a.opset < 11 else (others[1], others[2] if len(others) > 2 else None)
        for k, axis in enumerate(chosen or range(x.ndim)):
            inside = x.shape[axis]
            scale = float(scales[k]) if sizes is None and scales is not None else ints(sizes)[k] / inside
            outside = floor(inside * scale) if sizes is None else ints(sizes)[k]
            if outside != inside:
                places = PLACES[where](torch.arange(outside, dtype=torch.float64), scale, inside, outside)
                x = _taken(x, axis, places, NEAREST[nearest] if mode == "nearest" else None)
        return x

    return run


def upsampled(a: Attributes) -> Operator:
    """Upsample, which came before Resize."""
    mode = a.text("mode", "nearest")
    a.must(mode == "nearest" and a.opset >= 9, f"mode `{mode}`")
    return lambda x, scales: _repeated(x, [float(scale) for scale in scales])


PLACES: dict[str, Callable[[Tensor, float, int, int], Tensor]] = {  # output pixel -> place in the input
    "half_pixel": lambda x, scale, _i, _o: (x + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda x, scale, _i, o: (x + 0.5) / scale - 0.5 if o > 1 else x * 0.0,
    "asymmetric": lambda x, scale, _i, _o: x / scale,
    "align_corners": lambda x, _scale, i, o: x * (i - 1) / (o - 1) if o > 1 else x * 0.0,
}
NEAREST: dict[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": lambda x: torch.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: torch.floor(x + 0.5),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def _taken(x: Tensor, axis: int, places: Tensor, nearest: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Take an axis at the given places: the nearest pixel, or the two around it by their nearness."""
    last = x.shape[axis] - 1
    if nearest is not None:
        return x.index_select(axis, nearest(places).clamp(0, last).long().to(x.device))
    places = places.clamp(0, last)
    low = places.floor()
    share = (places - low).to(x).reshape([-1 if k == axis % x.ndim else 1 for k in range(x.ndim)])
    below = x.index_select(axis, low.long().to(x.device))
    above = x.index_select(axis, (low + 1).clamp(0, last).long().to(x.device))
    return below + (above - below) * share


def _repeated(x: Tensor, scales: Sequence[float]) -> Tensor:
    """Repeat pixels."""
    for axis, scale in enumerate(scales):
        outside = floor(x.shape[axis] * scale)
        places = PLACES["asymmetric"](torch.arange(outside, dtype=torch.float64), scale, x.shape[axis], outside)
        x = _taken(x, axis, places, torch.floor)
    return x


def _padding(a: Attributes) -> Callable[[Sequence[int], Sequence[int], Sequence[int], Sequence[int]], Pads]:
    """Read how a window pads: from its attributes, or so that output and input have the same size by their stride."""
    automatic, pads = a.text("auto_pad", "NOTSET"), a.wholes("pads")
    a.must(automatic in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"auto_pad `{automatic}`")

    def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        return (less, more) if automatic == "SAME_UPPER" else (more, less)

    def padding(size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Pads:
        if automatic.startswith("SAME"):
            return [same(*row) for row in zip(size, kernel, stride, dilation, strict=True)]
        return _pairs(pads) if pads and automatic == "NOTSET" else [(0, 0)] * len(kernel)

    return padding


def _to_the_end(
    size: Sequence[int], pads: Pads, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], up: bool
) -> Pads:
    """Widen the padding so that the last window is whole; a window that begins in the padding behind is left out."""
    ends = []
    for inside, (before, after), k, step, d in zip(size, pads, kernel, stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        room = inside + before + after - reach
        windows = (-(-room // step) if up else room // step) + 1
        if up and (windows - 1) * step >= inside + before:
            windows -= 1
        ends.append((before, (windows - 1) * step + reach - inside - before))
    return ends


def _padded(x: Tensor, pads: Pads, value: float) -> tuple[Tensor, list[int]]:
    """Leave padding that is alike at both ends to the layer; do the rest now."""
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return _pad(x, pads, value), [0] * len(pads)


def _pad(x: Tensor, pads: Pads, value: float) -> Tensor:
    """Pad the last dimensions with a value, or cut them where a number is below 0."""
    if not any(before or after for before, after in pads):
        return x
    return nnf.pad(x, [side for pair in reversed(pads) for side in pair], value=value)


def _pairs(pads: Sequence[int]) -> Pads:
    """Turn ONNX's order, all before then all after, into pairs."""
    half = len(pads) // 2
    return list(zip(pads[:half], pads[half:], strict=True))


def _beyond(mode: str, size: int, before: int, after: int) -> Tensor:
    """Return which pixels stand where padding repeats the edge, mirrors at it, or begins anew."""
    places = torch.arange(-before, size + after)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    period = max(1, 2 * (size - 1))
    return (size - 1) - ((places % period) - (size - 1)).abs()
