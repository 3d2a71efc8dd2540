"""U-Nets: the published one of 31 million parameters, and a small one of depthwise separable convolutions.

Source: Ronneberger et al., MICCAI 2015 (arXiv 1505.04597), with padding and batch normalisation as is common now; the
small one takes MobileNet's separable convolution (Howard et al. 2017, arXiv 1704.04861). Neither narrows its channels
at the bottom nor has attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Encoder, decoder and concatenated skips: images x 3 x height x width (multiples of 2^(levels - 1)) to logits.

    `width` channels at the top, doubled at every level down to `width_max`.
    """

    def __init__(
        self,
        classes: int = 1,
        *,
        width: int = 64,
        width_max: int = 1024,
        levels: int = 5,
        separable: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [min(width * 2**level, width_max) for level in range(levels)]
        self.down = nn.ModuleList(
            _double(3 if level == 0 else widths[level - 1], widths[level], separable and level > 0)
            for level in range(levels)
        )
        self.rise = nn.ModuleList(
            _rise(widths[level + 1], widths[level], separable) for level in reversed(range(levels - 1))
        )
        self.up = nn.ModuleList(
            _double(2 * widths[level], widths[level], separable) for level in reversed(range(levels - 1))
        )
        self.drop = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the size of the images."""
        skips = []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        x = self.drop(x)
        for rise, up, skip in zip(self.rise, self.up, reversed(skips[:-1]), strict=True):
            x = up(torch.cat([skip, rise(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _rise(inside: int, outside: int, separable: bool) -> nn.Module:
    """Double the size and halve the channels: learnt as published, or nearest and a 1 x 1 convolution."""
    if not separable:
        return nn.ConvTranspose2d(inside, outside, 2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(inside, outside, 1))


def _double(inside: int, outside: int, separable: bool) -> nn.Sequential:
    """Two 3 x 3 convolutions, each normalised and rectified."""
    return nn.Sequential(*_step(inside, outside, separable), *_step(outside, outside, separable))


def _step(inside: int, outside: int, separable: bool) -> tuple[nn.Module, ...]:
    """One of them; separable: every channel on its own, then all channels at every place."""
    convolution: tuple[nn.Module, ...] = (nn.Conv2d(inside, outside, 3, padding=1, bias=False),)
    if separable:
        convolution = (
            nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False),
            nn.Conv2d(inside, outside, 1, bias=False),
        )
    return *convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
