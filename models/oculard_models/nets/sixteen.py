"""The sixteen networks that JOIR's release of 2023 compares, by name, and our small one; never with a download."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from oculard_models.nets.mobile import MobileHeads
from oculard_models.nets.timm_nets import create_model

WEIGHTS_MAX_BYTES = 2 << 30  # of a file of initial weights

UNREADABLE = (  # what the parsers of torch and safetensors raise on files that are broken or not theirs
    SafetensorError,
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

Three = tuple[float, float, float]
IMAGENET: tuple[Three, Three] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES: tuple[Three, Three] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PAINTED: tuple[Three, Three] = ((0.50, 0.21, 0.12), (0.28, 0.13, 0.07))  # roughly standardises a fundus, RGB


class NetWrong(ValueError):
    """No such network, or initial weights that do not fit it. The message says which, and what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One network by the name that our commands use.

    `size_px` is the size it was designed for (the default of Keras's applications, as in the release), `least_px` the
    smallest that its strides leave something of. `mean` and `std` are what timm's weights of it were trained with.
    """

    name: str
    title: str  # as the release writes it
    timm: str
    size_px: int
    least_px: int = 32
    mean: Three = IMAGENET[0]
    std: Three = IMAGENET[1]


def _row(
    name: str, title: str, timm: str, size_px: int, least_px: int = 32, norm: tuple[Three, Three] = IMAGENET
) -> Any:
    return name, Architecture(
        name=name, title=title, timm=timm, size_px=size_px, least_px=least_px, mean=norm[0], std=norm[1]
    )


SIXTEEN: Mapping[str, Architecture] = MappingProxyType(
    dict(
        (
            _row("densenet-121", "DenseNet-121", "densenet121", 224),
            _row("densenet-169", "DenseNet-169", "densenet169", 224),
            _row("densenet-201", "DenseNet-201", "densenet201", 224),
            _row("inception-v3", "Inception-V3", "inception_v3", 299, 75, HALVES),
            _row("inception-resnet-v2", "Inception-ResNet-V2", "inception_resnet_v2", 299, 75, HALVES),
            _row("mobilenet", "MobileNet", "mobilenetv1_100", 224),
            _row("mobilenet-v2", "MobileNetV2", "mobilenetv2_100", 224),
            _row("xception", "Xception", "legacy_xception", 299, 32, HALVES),
            _row("efficientnet-b0", "EfficientNet-B0", "tf_efficientnet_b0", 224),
            _row("efficientnet-b1", "EfficientNet-B1", "tf_efficientnet_b1", 240),
            _row("efficientnet-b2", "EfficientNet-B2", "tf_efficientnet_b2", 260),
            _row("efficientnet-b3", "EfficientNet-B3", "tf_efficientnet_b3", 300),
            _row("efficientnet-b4", "EfficientNet-B4", "tf_efficientnet_b4", 380),
            _row("efficientnet-b5", "EfficientNet-B5", "tf_efficientnet_b5", 456),
            _row("efficientnet-b6", "EfficientNet-B6", "tf_efficientnet_b6", 528),
            _row("efficientnet-b7", "EfficientNet-B7", "tf_efficientnet_b7", 600),
        )
    )
)

SMALL = Architecture(name="oculard-small", title="oculard small", timm="", size_px=160, mean=PAINTED[0], std=PAINTED[1])
NETS: Mapping[str, Architecture] = MappingProxyType(dict(SIXTEEN) | {SMALL.name: SMALL})


class Separate(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Several networks of one head each that look at the same picture."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: Tensor) -> Tensor:
        """Images x 3 x rows x columns to images x heads."""
        return torch.cat([net(x) for net in self.nets], dim=1)


def architecture(name: str) -> Architecture:
    """Look a network up. Raises NetWrong, which names those that there are."""
    if name not in NETS:
        raise NetWrong(f"there is no network `{name}`; hint: one of {', '.join(NETS)}")
    return NETS[name]


def build(name: str, heads: Sequence[str], *, initial: Path | None = None) -> nn.Module:
    """Build a network of one trunk with a number per head: images x 3 x rows x columns to images x heads.

    `initial` is a local file of weights (.safetensors, or .pt with nothing but tensors); its head is left out where it
    does not fit. Raises NetWrong.
    """
    chosen = architecture(name)
    if not heads:
        raise NetWrong(f"network `{name}` needs at least one head")
    net: nn.Module = MobileHeads(heads) if chosen is SMALL else _from_timm(chosen, len(heads))
    if initial is not None:
        _begin_with(net, initial, name)
    return net


def _from_timm(chosen: Architecture, heads: int) -> nn.Module:
    """Ask timm for a network without weights."""
    more: dict[str, Any] = {"aux_logits": False} if chosen.timm == "inception_v3" else {}
    net: nn.Module = create_model(chosen.timm, pretrained=False, num_classes=heads, **more)
    return net


def _begin_with(net: nn.Module, path: Path, name: str) -> None:
    """Load initial weights; everything but the head must fit."""
    weights = read_weights(path)
    own = net.state_dict()
    classifier = getattr(net, "default_cfg", {}).get("classifier", "heads")
    head = {key for key in own if key.startswith(f"{classifier}.")}
    fits = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    absent = sorted(set(own) - set(fits) - head - {key for key in own if key.endswith("num_batches_tracked")})
    if absent:
        raise NetWrong(
            f"{path} does not fit `{name}`: {len(absent)} tensors are missing or shaped otherwise, first `{absent[0]}`;"
            f" hint: weights of timm's `{architecture(name).timm or name}` are needed"
        )
    net.load_state_dict(fits, strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of tensors by name; nothing in it is ever executed. Raises NetWrong."""
    if not path.is_file():
        raise NetWrong(f"there are no weights at {path}")
    if path.stat().st_size > WEIGHTS_MAX_BYTES:
        raise NetWrong(f"{path} has {path.stat().st_size} bytes, {WEIGHTS_MAX_BYTES} are allowed")
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _tensors(path)
    except UNREADABLE as why:
        words = (str(why).splitlines() or [type(why).__name__])[0][:200]
        raise NetWrong(f"{path} cannot be read as weights: {words}") from why
    wrong = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if wrong or not content:
        raise NetWrong(f"{path} does not hold tensors by name; hint: save `net.state_dict()`")
    return content


def _safetensors(path: Path) -> dict[str, Tensor]:
    """Read what safetensors wrote; it comes with timm."""
    return dict(load_file(path))


def _tensors(path: Path) -> dict[str, Tensor]:
    """Read what torch wrote, tensors only."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    inner = content.get("state_dict", content) if isinstance(content, dict) else {}
    return inner if isinstance(inner, dict) else {}
