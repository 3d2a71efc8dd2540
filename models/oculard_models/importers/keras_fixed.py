"""Layers of Keras whose description says everything: arithmetic, pooling, shapes, sums."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from torch import nn

from oculard_models.importers import keras_modules as own
from oculard_models.importers.keras_made import Made, Shape, alike, anything, padding, per_channel, picture
from oculard_models.importers.keras_settings import Settings

SCALED_BLOCKS = re.compile(r"(block35|block17|block8)_\d+")  # the one Lambda whose meaning is known: it adds and scales
ARITHMETIC: Mapping[str, str] = MappingProxyType(  # TensorFlow's functions and Keras 3's classes
    {
        "math.truediv": "TrueDivide",
        "math.subtract": "Subtract",
        "math.multiply": "Multiply",
        "math.add": "Add",
        "__operators__.add": "Add",
        "TrueDivide": "TrueDivide",
        "Divide": "TrueDivide",
        "Subtract": "Subtract",
        "Multiply": "Multiply",
        "Add": "Add",
    }
)


def rescaling(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Rescaling."""
    shape = anything(settings, shapes)
    settings.must(len(shape) == 3, "only pictures can be rescaled")
    given = {key: per_channel(settings, key, shape[0]) for key in ("scale", "offset") if settings.has(key)}
    return Made(own.Affine(shape[0]), (), {"scale": [1.0] * shape[0], "offset": [0.0] * shape[0]} | given)


def arithmetic(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """A picture and a number: what preprocessing within a model leaves in the file."""
    kind = settings.function() if settings.step.kind == "TFOpLambda" else settings.step.kind
    shape, constants = picture(settings, shapes), settings.step.constants
    settings.must(kind in ARITHMETIC and len(constants) == 1, f"the function `{kind}` is not known")
    number, sort = constants[0], ARITHMETIC[kind]
    settings.must(sort != "TrueDivide" or number != 0.0, "it divides by 0")
    scale = {"TrueDivide": 1.0 / (number or 1.0), "Multiply": number}.get(sort, 1.0)
    offset = {"Subtract": -number, "Add": number}.get(sort, 0.0)
    return Made(own.Affine(shape[0]), (), {"scale": [scale] * shape[0], "offset": [offset] * shape[0]})


def zero_padding(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """ZeroPadding2D."""
    picture(settings, shapes)
    return Made(nn.ZeroPad2d(settings.margins("padding")))


def max_pool(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """MaxPooling2D."""
    _, rows, columns = picture(settings, shapes)
    kernel = settings.pair("pool_size")
    strides = settings.pair("strides", otherwise=kernel)
    return Made(own.MaxPool(padding(settings, (rows, columns), kernel, strides), kernel, strides))


def mean_pool(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """AveragePooling2D: within torch's own where the padding is even, else with the share of each window."""
    _, rows, columns = picture(settings, shapes)
    kernel = settings.pair("pool_size")
    strides = settings.pair("strides", otherwise=kernel)
    pad = left, right, top, bottom = padding(settings, (rows, columns), kernel, strides)
    if (left, top) == (right, bottom):
        return Made(nn.AvgPool2d(kernel, strides, (top, left), count_include_pad=False))
    down = _share(rows, kernel[0], strides[0], top, bottom)
    across = _share(columns, kernel[1], strides[1], left, right)
    share = np.outer(down, across).astype(np.float32)
    return Made(own.MeanPool(pad, kernel, strides, (len(down), len(across))), (), {"share": share})


def _share(side: int, kernel: int, stride: int, before: int, after: int) -> list[float]:
    """Say how much of each window lies in the picture, along one side."""
    starts = range(-before, side + after - kernel + 1, stride)
    return [(min(start + kernel, side) - max(start, 0)) / kernel for start in starts]


def global_mean(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """GlobalAveragePooling2D."""
    picture(settings, shapes)
    return Made(own.Whole(settings.flag("keepdims", False)))


def global_max(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """GlobalMaxPooling2D."""
    picture(settings, shapes)
    return Made(own.Peak(settings.flag("keepdims", False)))


def reshape(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Reshape between pictures and plain numbers."""
    anything(settings, shapes)
    target = settings.target("target_shape")
    settings.must(len(target) != 2, f"`target_shape` is {list(target)}, neither a picture nor plain numbers")
    return Made(own.Reshaped(target))


def flatten(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Flatten, in Keras's order."""
    return Made(own.Reshaped((int(np.prod(anything(settings, shapes))),)))


def activation_only(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Activation."""
    anything(settings, shapes)
    return Made(nn.Identity(), activation=settings.activation("activation"))


def softmax(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Softmax over the channels."""
    settings.must(settings.axis_is_last("axis", len(anything(settings, shapes))), "it is not over the channels")
    return Made(nn.Identity(), activation="softmax")


def relu(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """ReLU, plain or with an upper end."""
    anything(settings, shapes)
    plain = settings.number("negative_slope", 0.0) == 0.0 and settings.number("threshold", 0.0) == 0.0
    settings.must(plain, "a slope or a threshold is not supported")
    upper = settings.number("max_value", 0.0)
    settings.must(upper > 0.0 or not settings.has("max_value"), f"`max_value` is {upper}")
    return Made(own.Clipped(upper) if upper else nn.ReLU())


def identity(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """What does something in training only."""
    anything(settings, shapes)
    return Made(nn.Identity())


def add(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Add."""
    alike(settings, shapes)
    return Made(own.Sum())


def multiply(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Multiply."""
    alike(settings, shapes)
    return Made(own.Product())


def concatenate(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Concatenate the channels."""
    alike(settings, shapes)
    settings.must(settings.axis_is_last("axis", len(shapes[0])), "it does not join channels")
    return Made(own.Joined())


def scaled_sum(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """The layer of Inception-ResNet-V2: first + scale * second."""
    alike(settings, shapes)
    settings.must(len(shapes) == 2, f"it is given {len(shapes)} inputs, not two")
    return Made(own.Sum(settings.number("scale", 1.0)))


def scaled_sum_as_code(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """The same as Keras wrote it until 2.11. Its code is not looked at: name, argument and inputs must be those."""
    scale = settings.argument("scale")
    known = SCALED_BLOCKS.fullmatch(settings.step.path[-1]) is not None and len(shapes) == 2
    settings.must(known, "it holds code of its own, which is never executed")
    alike(settings, shapes)
    return Made(own.Sum(scale))
