"""VGG16 for one grey view, full size or slim, with a class activation map that is exact.

Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D, numbered as torchvision does, so that its
ImageNet file fits; with batch normalisation where it must learn from nothing. The last pooling and the dense layers
give way to a 1 x 1 convolution of 256, global average pooling, dropout and one dense layer (Zhou et al. 2016, arXiv
1512.04150): the logit of a class is then the mean of its activation map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from oculard_models.nets.sixteen import NetWrong, read_weights

BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
FEATURES = 256  # of the layer before the average
DROPOUT = 0.5
STEP_PX = 16  # four poolings
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.4,), (0.25,)  # of our views, roughly


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which VGG16: its width as a share of the published one, and whether it normalises batches."""

    width: float
    normalised: bool
    channels: int  # 3: the grey view three times, as ImageNet's weights want it; 1: once
    poolings: int  # 4, so that the maps are a sixteenth of the view; 3 for small views: an eighth


VGGS: Mapping[str, Shape] = MappingProxyType(
    {
        "vgg16": Shape(width=1.0, normalised=False, channels=3, poolings=4),
        "vgg16-bn": Shape(width=1.0, normalised=True, channels=3, poolings=4),
        "vgg16-quarter": Shape(width=0.25, normalised=True, channels=1, poolings=3),
        "vgg16-eighth": Shape(width=0.125, normalised=True, channels=1, poolings=3),
    }
)


class Vgg(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Images x 1 x side x side, 0..1, to logits, images x classes. Sides are multiples of 16."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if shape.channels == 3 else (GREY_MEAN, GREY_STD)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])
        self.features, last = _features(shape)
        self.narrow = nn.Conv2d(last, FEATURES, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None, "every convolution here has one"
                nn.init.zeros_(layer.bias)
        self.drop = nn.Dropout(DROPOUT)
        self.head = nn.Linear(FEATURES, classes)  # last: networks of one seed differ in nothing else

    def maps(self, view: Tensor) -> Tensor:
        """What the 256 detectors see where: images x 256 x rows x columns."""
        return torch.relu(self.narrow(self.features((view - self.mean) / self.std)))

    def forward(self, view: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.drop(self.maps(view).mean((2, 3))))
        return logits

    def told(self, maps: Tensor) -> Tensor:
        """Logits out of `maps`, when nothing is dropped."""
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits

    def evidence(self, maps: Tensor) -> Tensor:
        """The activation map of every class, images x classes x rows x columns.

        A softmax does not change where all classes gain the same, so what speaks for all alike is taken out.
        """
        weight = self.head.weight - self.head.weight.mean(0)
        return nn.functional.conv2d(maps, weight[:, :, None, None])


def build_vgg(name: str, classes: int, *, initial: Path | None = None) -> Vgg:
    """Build one of VGGS with random weights, or with ImageNet's from a local file. Raises NetWrong."""
    if name not in VGGS:
        raise NetWrong(f"there is no network `{name}`; hint: one of {', '.join(VGGS)}")
    net = Vgg(VGGS[name], classes)
    if initial is not None:
        _begin_with(net, initial, name)
    return net


def begin_with(net: Vgg, taught: Vgg) -> None:
    """Take everything over but the head: hierarchical transfer."""
    weights = {key: value for key, value in taught.state_dict().items() if not key.startswith("head.")}
    net.load_state_dict(weights, strict=False)


def _features(shape: Shape) -> tuple[nn.Sequential, int]:
    """The thirteen convolutions, numbered as torchvision does; and how many channels they end with."""
    layers: list[nn.Module] = []
    inside = shape.channels
    for number, block in enumerate(BLOCKS):
        if 0 < number <= shape.poolings:
            layers.append(nn.MaxPool2d(2))
        for width in block:
            outside = round(width * shape.width)
            layers.append(nn.Conv2d(inside, outside, 3, padding=1))
            layers += [nn.BatchNorm2d(outside)] if shape.normalised else []
            layers.append(nn.ReLU(inplace=True))
            inside = outside
    return nn.Sequential(*layers), inside


def _begin_with(net: Vgg, path: Path, name: str) -> None:
    """Load the convolutions of a file of torchvision's VGG16; its dense layers are left out."""
    own = net.features.state_dict()
    given = {key.removeprefix("features."): value for key, value in read_weights(path).items()}
    fits = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    absent = sorted(key for key in set(own) - set(fits) if not key.endswith("num_batches_tracked"))
    if absent:
        raise NetWrong(
            f"{path} does not fit `{name}`: {len(absent)} tensors are missing or shaped otherwise, first `{absent[0]}`;"
            " hint: torchvision's vgg16 fits `vgg16`, its vgg16_bn fits `vgg16-bn`"
        )
    net.features.load_state_dict(fits, strict=False)
