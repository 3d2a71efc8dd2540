"""The table of the layers of Keras that can be imported. What is not in it is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from oculard_models.importers import keras_fixed as fixed
from oculard_models.importers import keras_learnt as learnt
from oculard_models.importers.keras_made import Made, Maker, Shape
from oculard_models.importers.keras_settings import Settings

KINDS: Mapping[str, Maker] = MappingProxyType(
    {
        "Activation": fixed.activation_only,
        "Add": fixed.add,
        "AveragePooling2D": fixed.mean_pool,
        "BatchNormalization": learnt.batch_normalisation,
        "Concatenate": fixed.concatenate,
        "Conv2D": learnt.conv,
        "CustomScaleLayer": fixed.scaled_sum,
        "Dense": learnt.dense,
        "DepthwiseConv2D": learnt.depthwise,
        "Dropout": fixed.identity,
        "FixedDropout": fixed.identity,
        "Flatten": fixed.flatten,
        "GaussianDropout": fixed.identity,
        "GaussianNoise": fixed.identity,
        "GlobalAveragePooling2D": fixed.global_mean,
        "GlobalMaxPooling2D": fixed.global_max,
        "InputLayer": fixed.identity,
        "Lambda": fixed.scaled_sum_as_code,
        "MaxPooling2D": fixed.max_pool,
        "Multiply": fixed.multiply,
        "Normalization": learnt.normalisation,
        "RandomBrightness": fixed.identity,
        "RandomContrast": fixed.identity,
        "RandomFlip": fixed.identity,
        "RandomRotation": fixed.identity,
        "RandomTranslation": fixed.identity,
        "RandomZoom": fixed.identity,
        "ReLU": fixed.relu,
        "Rescaling": fixed.rescaling,
        "Reshape": fixed.reshape,
        "SeparableConv2D": learnt.separable,
        "Softmax": fixed.softmax,
        "SpatialDropout2D": fixed.identity,
        "ZeroPadding2D": fixed.zero_padding,
    }
)
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "linear": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "sigmoid": nn.Sigmoid,
        "softmax": lambda: nn.Softmax(dim=1),
        "swish": nn.SiLU,
        "silu": nn.SiLU,
        "tanh": nn.Tanh,
        "elu": nn.ELU,
        "gelu": nn.GELU,
    }
)


def make(settings: Settings, shapes: Sequence[Shape]) -> Made:
    """Make the module of a step whose inputs have these shapes. Raises KerasRefused, which names the layer."""
    kind = settings.step.kind
    if settings.step.constants or kind == "TFOpLambda":
        return fixed.arithmetic(settings, shapes)
    if kind not in KINDS:
        settings.refuse(f"this class is not known; hint: known are {', '.join(sorted(KINDS))}")
    return KINDS[kind](settings, shapes)


def activation(settings: Settings, name: str) -> nn.Module:
    """Make an activation."""
    settings.must(
        name in ACTIVATIONS, f"its activation `{name}` is not known; hint: known are {', '.join(ACTIVATIONS)}"
    )
    return ACTIVATIONS[name]()
