"""A small convolutional trunk of inverted residuals with one linear head per output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# One row a stage: expansion, channels, blocks, stride of the first block.
STAGES: tuple[tuple[int, int, int, int], ...] = (
    (2, 40, 2, 1),
    (3, 80, 3, 2),
    (4, 144, 3, 2),
)
STEM_CHANNELS = (16, 40)  # two plain convolutions that halve the picture: quicker on a processor than depthwise ones
FEATURES = 512


def convolution(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, activation."""
    conv = nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))


class InvertedResidual(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Widen, filter every channel by itself, narrow again; add the input where shapes allow (MobileNetV2)."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers: list[nn.Module] = [convolution(inside, wide, 1)] if expansion > 1 else []
        layers += [convolution(wide, wide, 3, stride, groups=wide)]
        layers += [nn.Conv2d(wide, outside, 1, bias=False), nn.BatchNorm2d(outside)]
        self.body = nn.Sequential(*layers)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Images x channels x rows x columns in and out."""
        y: Tensor = self.body(x)
        return x + y if self.adds else y


class MobileHeads(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """One trunk, one number per head and image: a logit or a standardised value."""

    def __init__(self, heads: Sequence[str], dropout: float = 0.1) -> None:
        super().__init__()
        self.names = tuple(heads)
        layers: list[nn.Module] = [convolution(3, STEM_CHANNELS[0], 3, 2), convolution(*STEM_CHANNELS, 3, 2)]
        inside = STEM_CHANNELS[1]
        for expansion, outside, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(inside, outside, expansion, stride if block == 0 else 1))
                inside = outside
        layers.append(convolution(inside, FEATURES, 1))
        self.trunk = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.Linear(2 * FEATURES, len(self.names))

    def forward(self, x: Tensor) -> Tensor:
        """Images x 3 x rows x columns, normalised, to images x heads.

        Mean and deviation over the picture are pooled: the one says how much of a thing there is, the other how
        unevenly it lies.
        """
        features: Tensor = self.trunk(x)
        flat = features.flatten(2)
        mean = flat.mean(dim=2)
        spread = ((flat - mean[..., None]).square().mean(dim=2) + 1e-4).sqrt()
        out: Tensor = self.heads(self.dropout(torch.cat([mean, spread], dim=1)))
        return out
