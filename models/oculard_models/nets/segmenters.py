"""The segmentation networks by name: images x 3 x height x width to logits, images x 1 x height x width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from oculard_models.nets.lwbna import Lwbna
from oculard_models.nets.sixteen import NetWrong
from oculard_models.nets.unet import UNet

STEP_PX = 16  # every height and width is a multiple of this


def build_segmenter(name: str) -> nn.Module:
    """Build one of SEGMENTERS with random weights. Raises NetWrong for another name."""
    if name not in SEGMENTERS:
        raise NetWrong(f"there is no segmentation network `{name}`; hint: one of {', '.join(SEGMENTERS)}")
    return SEGMENTERS[name]()


def _deeplab() -> nn.Module:
    """Chen et al. 2018 (arXiv 1802.02611), as segmentation-models-pytorch has it; the paper's trunk is not known."""
    from oculard_models.nets.operators import declare_operators

    declare_operators()
    import segmentation_models_pytorch

    net: nn.Module = segmentation_models_pytorch.DeepLabV3Plus("resnet50", encoder_weights=None)
    return net


SEGMENTERS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "lwbna": Lwbna,
        "unet": UNet,
        "deeplabv3plus": _deeplab,
        "small-unet": lambda: UNet(width=32, width_max=512, separable=True),
    }
)
