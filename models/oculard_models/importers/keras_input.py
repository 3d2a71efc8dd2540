"""What an imported network wants to see: the range of its numbers and the order of its colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from oculard_models.export import INPUT
from oculard_models.importers.keras_head import Unsaid
from oculard_models.importers.keras_modules import Affine, Standardised
from oculard_models.importers.keras_net import KerasNet
from oculard_models.manifest import Crop, InputSpec

Triple = tuple[float, float, float]

WHITE = 255.0
SCALED_MAX = 16.0  # what scaled pixels reach at most: white minus the mean is a few deviations, unscaled it is hundreds


@dataclass(frozen=True, slots=True)
class Range:
    """(pixel / 255 - mean) / std, both for red, green, blue; and the colour order that usually goes with it."""

    mean: Triple
    std: Triple
    colour: str = "RGB"


RANGES: Mapping[str, Range] = MappingProxyType(  # as keras.applications' preprocess_input functions have them
    {
        "0-255": Range((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
        "0-1": Range((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "-1-1": Range((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "imagenet": Range((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "caffe": Range((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255), "BGR"),
    }
)
COLOURS = ("RGB", "BGR")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a photograph becomes the network's input, but for its range and colours."""

    size_px: tuple[int, int]
    crop: Crop
    mirror_left: bool

    def spec(self, range_: str, colour: str) -> InputSpec:
        """Describe the whole input."""
        mean, std = RANGES[range_].mean, RANGES[range_].std
        if colour == "BGR":
            mean, std = mean[::-1], std[::-1]
        return InputSpec(
            kind="fundus",
            tensor=INPUT,
            size_px=self.size_px,
            colour=colour,
            mean=mean,
            std=std,
            crop=self.crop,
            mirror_left=self.mirror_left,
        )


def scales_by_itself(net: KerasNet) -> bool:
    """Tell whether the file's first layers bring raw pixels, 0 to 255, into a network's usual range."""
    white = torch.full((1, 3, 1, 1), WHITE)
    scaled, number = False, 0
    while True:
        users = [at for at, part in enumerate(net.parts) if number in part.inputs]
        if len(users) != 1 or not isinstance(net.layers[users[0]], Affine | Standardised | nn.Identity):
            break
        number = users[0]
        scaled = scaled or not isinstance(net.layers[number], nn.Identity)
        white = net.layers[number](white)
    return scaled and bool(white.abs().max() <= SCALED_MAX)


def wanted_range(net: KerasNet, given: str | None) -> str | None:
    """Give the range that was asked for, else the file's own, else None."""
    if given is not None:
        return given
    return "0-255" if scales_by_itself(net) else None


def unsaid_range() -> Unsaid:
    """Say what to give where the file does not say the range."""
    return Unsaid(
        f"the file does not say which range of pixels the network wants; hint: give --range ({', '.join(RANGES)}),"
        " or --probe TABLE with labelled photographs"
    )
