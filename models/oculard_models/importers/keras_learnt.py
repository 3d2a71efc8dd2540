"""Layers of Keras that take arrays from the file: convolutions, dense ones, normalisations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from oculard_models.importers import keras_modules as own
from oculard_models.importers.keras_made import Made, Shape, Slot, anything, padding, per_channel, picture
from oculard_models.importers.keras_settings import CHANNELS_MAX, Settings


def _convolution(
    settings: Settings, shape: tuple[int, int, int], outside: int, groups: int, *, bias: bool
) -> own.Padded:
    """Make a convolution with its padding: within torch's own where both sides are alike, before it where not."""
    channels, rows, columns = shape
    settings.must(
        channels % groups == 0 and outside % groups == 0 and outside <= CHANNELS_MAX,
        f"{channels} channels to {outside} in {groups} groups",
    )
    kernel, strides = settings.pair("kernel_size"), settings.pair("strides", otherwise=(1, 1))
    left, right, top, bottom = padding(settings, (rows, columns), kernel, strides)
    even = (left, top) == (right, bottom)
    conv = nn.Conv2d(
        channels,
        outside,
        kernel,
        strides,
        (top, left) if even else 0,
        settings.pair("dilation_rate", otherwise=(1, 1)),
        groups,
        bias,
    )
    return own.Padded((0, 0, 0, 0) if even else (left, right, top, bottom), conv)


def _bias(parameter: str, count: int, *, used: bool) -> tuple[Slot, ...]:
    """Say where the bias is, if there is one."""
    return (Slot(parameter, ("bias",), (count,), (0,)),) if used else ()


def conv(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Conv2D."""
    shape = picture(settings, shapes)
    filters, groups = settings.whole("filters"), settings.whole("groups", otherwise=1)
    bias = settings.flag("use_bias", True)
    module = _convolution(settings, shape, filters, groups, bias=bias)
    kernel = Slot(
        "conv.weight", ("kernel",), (*settings.pair("kernel_size"), shape[0] // groups, filters), (3, 2, 0, 1)
    )
    return Made(module, (kernel, *_bias("conv.bias", filters, used=bias)), activation=settings.activation("activation"))


def depthwise(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """DepthwiseConv2D: the channel before the multiplier in torch's order, too."""
    shape = picture(settings, shapes)
    times, bias = settings.whole("depth_multiplier", otherwise=1), settings.flag("use_bias", True)
    module = _convolution(settings, shape, shape[0] * times, shape[0], bias=bias)
    kernel = _depthwise_kernel("conv.weight", settings, shape[0], times)
    slots = (kernel, *_bias("conv.bias", shape[0] * times, used=bias))
    return Made(module, slots, activation=settings.activation("activation"))


def _depthwise_kernel(parameter: str, settings: Settings, channels: int, times: int) -> Slot:
    """Say where a depthwise kernel is: Keras 3 calls it `kernel`."""
    shape = (*settings.pair("kernel_size"), channels, times)
    return Slot(parameter, ("depthwise_kernel", "kernel"), shape, (2, 3, 0, 1))


def separable(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """SeparableConv2D."""
    shape = picture(settings, shapes)
    times, filters = settings.whole("depth_multiplier", otherwise=1), settings.whole("filters")
    bias = settings.flag("use_bias", True)
    depthwise = _convolution(settings, shape, shape[0] * times, shape[0], bias=False)
    module = own.Separable(depthwise, nn.Conv2d(shape[0] * times, filters, 1, bias=bias))
    slots = (
        _depthwise_kernel("depthwise.conv.weight", settings, shape[0], times),
        Slot("pointwise.weight", ("pointwise_kernel",), (1, 1, shape[0] * times, filters), (3, 2, 0, 1)),
        *_bias("pointwise.bias", filters, used=bias),
    )
    return Made(module, slots, activation=settings.activation("activation"))


def dense(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Dense, of plain numbers."""
    shape = anything(settings, shapes)
    settings.must(len(shape) == 1, f"it is given {shape}; hint: only plain numbers, after pooling or Flatten")
    units, bias = settings.whole("units"), settings.flag("use_bias", True)
    slots = (Slot("weight", ("kernel",), (shape[0], units), (1, 0)), *_bias("bias", units, used=bias))
    return Made(nn.Linear(shape[0], units, bias), slots, activation=settings.activation("activation"))


def batch_normalisation(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """BatchNormalization of the channels."""
    shape = anything(settings, shapes)
    settings.must(settings.axis_is_last("axis", len(shape)), "it does not normalise the channels")
    wanted = (("mean", "moving_mean", True), ("variance", "moving_variance", True))
    learnt = (("weight", "gamma", settings.flag("scale", True)), ("bias", "beta", settings.flag("center", True)))
    slots = tuple(Slot(ours, (theirs,), shape[:1], (0,)) for ours, theirs, there in (*wanted, *learnt) if there)
    given = {ours: [1.0 if ours == "weight" else 0.0] * shape[0] for ours, _, there in learnt if not there}
    return Made(own.Normalised(shape[0], settings.number("epsilon", 1e-3)), slots, given)


def normalisation(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Normalization by figures that were measured (arrays) or given (in the description)."""
    shape = picture(settings, shapes)
    known = settings.axis_is_last("axis", 3) and not settings.flag("invert", False)
    settings.must(known, "only the channels, and not inverted, are supported")
    names = ("mean", "variance")
    given = {name: per_channel(settings, name, shape[0]) for name in names if settings.has(name)}
    slots = tuple(Slot(name, (name,), shape[:1], (0,)) for name in names if name not in given)
    return Made(own.Standardised(shape[0]), slots, given)
