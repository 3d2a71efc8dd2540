"""The table of ONNX's operators that the torch runner knows, and the plain ones among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as nnf
from torch import Tensor

from oculard_models.runners import torch_layers as layers
from oculard_models.runners import torch_shapes as shapes
from oculard_models.runners.torch_attributes import Attributes, GraphWrong
from oculard_models.runners.torch_layers import Operator, together

Factory = Callable[[Attributes], Operator]  # reads a node's attributes once, and gives what runs it


def _plain(function: Callable[..., Tensor]) -> Factory:
    """An operator without attributes."""
    return lambda _: function


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Factory:
    """An operator on two tensors."""
    return lambda _: lambda x, y: function(*together(x, y))


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Factory:
    """An operator on any number of tensors, two at a time."""

    def run(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(*together(first, other))
        return first

    return lambda _: run


def _divide(x: Tensor, y: Tensor) -> Tensor:
    """Divide; whole numbers lose their fraction, as in C."""
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _modulo(a: Attributes) -> Operator:
    """Mod, with the sign of the divisor or, like C's fmod, of the dividend."""
    function = torch.fmod if a.whole("fmod", 0) else torch.remainder
    return lambda x, y: function(*together(x, y))


def _mean(*tensors: Tensor) -> Tensor:
    """Mean of several tensors."""
    return torch.stack(torch.broadcast_tensors(*together(*tensors))).mean(dim=0)  # type: ignore[no-untyped-call, unused-ignore]


def _where(which: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Choose one of two tensors, number by number."""
    which, x, y = together(which, x, y)
    return torch.where(which, x, y)


def _clip(a: Attributes) -> Operator:
    """Clip, with limits as attributes before opset 11."""
    low, high = a.fraction("min", -torch.inf), a.fraction("max", torch.inf)

    def run(x: Tensor, least: Tensor | None = None, most: Tensor | None = None) -> Tensor:
        least_, most_ = (None if t is None else t.item() for t in (least, most))
        return x.clamp(low if least_ is None else least_, high if most_ is None else most_)

    return run if a.opset >= 11 else lambda x: x.clamp(low, high)


def _softmax(function: Callable[..., Tensor]) -> Factory:
    """Softmax over one axis; before opset 13 over all axes from one on."""

    def make(a: Attributes) -> Operator:
        axis = a.whole("axis", -1 if a.opset >= 13 else 1)
        if a.opset >= 13:
            return lambda x: function(x, dim=axis)
        return lambda x: function(x.flatten(axis % x.ndim), dim=-1).reshape(x.shape)

    return make


def _gemm(a: Attributes) -> Operator:
    """Gemm: alpha * A * B + beta * C."""
    alpha, beta = a.fraction("alpha", 1.0), a.fraction("beta", 1.0)
    turn_a, turn_b = a.whole("transA", 0) == 1, a.whole("transB", 0) == 1

    def run(x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
        product = (x.T if turn_a else x) @ (y.T if turn_b else y)
        product = product if alpha == 1.0 else product * alpha
        return product if bias is None else product + bias * beta

    return run


def _einsum(a: Attributes) -> Operator:
    """Einsum."""
    equation = a.text("equation", "")
    return lambda *tensors: torch.einsum(equation, *together(*tensors))


def _gelu(a: Attributes) -> Operator:
    """Gelu, exact or by tanh."""
    approximate = a.text("approximate", "none")
    return lambda x: nnf.gelu(x, approximate=approximate)


def _hard_sigmoid(a: Attributes) -> Operator:
    """HardSigmoid."""
    alpha, beta = a.fraction("alpha", 0.2), a.fraction("beta", 0.5)
    return lambda x: (alpha * x + beta).clamp(0.0, 1.0)


def _elu(a: Attributes) -> Operator:
    """Elu."""
    alpha = a.fraction("alpha", 1.0)
    return lambda x: nnf.elu(x, alpha)


def _selu(a: Attributes) -> Operator:
    """Selu."""
    alpha, gamma = a.fraction("alpha", 1.67326319217681884765625), a.fraction("gamma", 1.05070102214813232421875)
    return lambda x: gamma * nnf.elu(x, alpha)


def _leaky(a: Attributes) -> Operator:
    """LeakyRelu."""
    alpha = a.fraction("alpha", 0.01)
    return lambda x: nnf.leaky_relu(x, alpha)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PRelu: the slope may have any shape that fits."""
    return torch.where(x < 0, x * slope, x)


def _quantised(a: Attributes) -> Operator:
    """QuantizeLinear: one byte a number, rounded half to even, cut at the ends of the byte."""
    axis = a.whole("axis", 1)
    a.must(a.whole("block_size", 0) == 0 and a.whole("output_dtype", 0) == 0, "`block_size` or `output_dtype`")
    a.ignore("saturate")  # it is about float8

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        kind = torch.uint8 if zero is None else zero.dtype
        _must_be_byte(a, kind)
        x, scale = together(x, scale)
        whole = torch.round(x / _along(scale, axis, x.ndim))
        whole = whole if zero is None else whole + _along(zero.to(x), axis, x.ndim)
        return whole.clamp(torch.iinfo(kind).min, torch.iinfo(kind).max).to(kind)

    return run


def _dequantised(a: Attributes) -> Operator:
    """DequantizeLinear."""
    axis = a.whole("axis", 1)
    a.must(a.whole("block_size", 0) == 0, "`block_size`")

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        _must_be_byte(a, x.dtype, torch.int32)
        x, scale = together(x, scale)
        number = x.to(scale.dtype)
        number = number if zero is None else number - _along(zero.to(number), axis, x.ndim)
        return number * _along(scale, axis, x.ndim)

    return run


def _must_be_byte(a: Attributes, kind: torch.dtype, *more: torch.dtype) -> None:
    """Refuse what is quantised to anything but bytes."""
    if kind not in (torch.int8, torch.uint8, *more):
        raise GraphWrong(f"{a.title}: quantised {kind} is not supported")


def _along(values: Tensor, axis: int, dimensions: int) -> Tensor:
    """Shape one value per slice of an axis so that it fits a tensor of so many dimensions."""
    if values.numel() == 1:
        return values.reshape(())
    return values.reshape([-1 if k == axis % dimensions else 1 for k in range(dimensions)])


def _pooled(function: Callable[[Tensor, tuple[int, ...]], Tensor]) -> Factory:
    """GlobalAveragePool and GlobalMaxPool."""
    return lambda _: lambda x: function(x, tuple(range(2, x.ndim)))


OPERATORS: Mapping[str, Factory] = MappingProxyType(
    {
        # one number at a time
        "Abs": _plain(torch.abs),
        "Ceil": _plain(torch.ceil),
        "Clip": _clip,
        "Elu": _elu,
        "Erf": _plain(torch.erf),
        "Exp": _plain(torch.exp),
        "Floor": _plain(torch.floor),
        "Gelu": _gelu,
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": _plain(nnf.hardswish),
        "LeakyRelu": _leaky,
        "Log": _plain(torch.log),
        "Mish": _plain(nnf.mish),
        "Neg": _plain(torch.neg),
        "Not": _plain(torch.logical_not),
        "PRelu": _pairwise(_prelu),
        "Reciprocal": _plain(torch.reciprocal),
        "Relu": _plain(torch.relu),
        "Round": _plain(torch.round),
        "Selu": _selu,
        "Sigmoid": _plain(torch.sigmoid),
        "Softplus": _plain(nnf.softplus),
        "Sqrt": _plain(torch.sqrt),
        "Tanh": _plain(torch.tanh),
        # two or more tensors
        "Add": _pairwise(torch.add),
        "And": _pairwise(torch.logical_and),
        "Div": _pairwise(_divide),
        "Equal": _pairwise(torch.eq),
        "Greater": _pairwise(torch.gt),
        "GreaterOrEqual": _pairwise(torch.ge),
        "Less": _pairwise(torch.lt),
        "LessOrEqual": _pairwise(torch.le),
        "Max": _folded(torch.maximum),
        "Mean": _plain(_mean),
        "Min": _folded(torch.minimum),
        "Mod": _modulo,
        "Mul": _pairwise(torch.mul),
        "Or": _pairwise(torch.logical_or),
        "Pow": _pairwise(lambda x, y: torch.pow(x, y).to(x.dtype)),
        "Sub": _pairwise(torch.sub),
        "Sum": _folded(torch.add),
        "Where": _plain(_where),
        # layers
        "AveragePool": layers.mean_pool,
        "BatchNormalization": layers.batch_norm,
        "Conv": layers.convolution,
        "ConvTranspose": layers.transposed_convolution,
        "DequantizeLinear": _dequantised,
        "Einsum": _einsum,
        "Gemm": _gemm,
        "GlobalAveragePool": _pooled(lambda x, axes: x.mean(axes, keepdim=True)),
        "GlobalMaxPool": _pooled(lambda x, axes: x.amax(axes, keepdim=True)),
        "InstanceNormalization": layers.instance_norm,
        "LayerNormalization": layers.layer_norm,
        "LogSoftmax": _softmax(torch.log_softmax),
        "MatMul": _pairwise(torch.matmul),
        "MaxPool": layers.max_pool,
        "Pad": layers.padded,
        "QuantizeLinear": _quantised,
        "Resize": layers.resized,
        "Softmax": _softmax(torch.softmax),
        "Upsample": layers.upsampled,
        # shapes and places
        **shapes.OPERATORS,
    }
)
