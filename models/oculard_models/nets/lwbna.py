"""LWBNA-Unet: a light U-Net of one width, whose bottleneck narrows its channels under attention (Sharma et al. 2022).

Source: Sharma et al., Sci Rep 12:8508 (2022), doi 10.1038/s41598-022-12486-w; written from the published description.
Commercial use of this architecture may need a licence under patent WO2023062764A1 (Sharma, Nakazawa).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 128
LEVELS = 4
NARROWINGS = 4  # convolutions of the bottleneck: 128, 64, 32, 16 channels
DROPOUT = 0.3


class Attention(nn.Module):
    """Weights every channel by a gate in [0.5, 1), read from its mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, channels)
        nn.init.kaiming_normal_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images x channels x height x width to the same shape."""
        gate = torch.sigmoid(functional.relu(self.dense(x.mean(dim=(2, 3)))))
        return x * gate[:, :, None, None]


class Bottleneck(nn.Module):
    """Narrows the channels step by step, each step under attention, widens them again and adds what came in first."""

    def __init__(self, width: int = WIDTH, narrowings: int = NARROWINGS) -> None:
        super().__init__()
        widths = [width, *(width // 2**k for k in range(narrowings))]
        self.steps = nn.ModuleList(_conv(a, b) for a, b in pairwise(widths))
        self.gates = nn.ModuleList(Attention(b) for b in widths[1:])
        self.widen = _conv(widths[-1], width)

    def forward(self, x: Tensor) -> Tensor:
        """Images x width x height x width to the same shape."""
        first = x = functional.relu(self.steps[0](x))
        x = self.gates[0](x)
        for step, gate in zip(self.steps[1:], self.gates[1:], strict=True):
            x = gate(functional.relu(step(x)))
        widened: Tensor = functional.relu(self.widen(x)) + first
        return widened


class Encoder(nn.Module):
    """Four levels of the same width, each halved, then the bottleneck; gives the narrowed map and the skips."""

    def __init__(self, width: int = WIDTH, levels: int = LEVELS, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_double(3 if level == 0 else width, width) for level in range(levels))
        self.drop = nn.Dropout(dropout)
        self.bottleneck = Bottleneck(width)
        self.after = _double(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Images x 3 x height x width to the map at a sixteenth of the size, and each level's output."""
        skips = []
        for level in self.levels:
            x = level(x)
            skips.append(x)
            x = self.drop(functional.max_pool2d(x, 2))
        return self.after(self.bottleneck(x)), skips


class Lwbna(nn.Module):
    """The segmentation network: images x 3 x height x width (multiples of 16, values 0..1) to logits, `classes` maps.

    With three classes it has the published 2,958,819 parameters, counting the statistics of batch normalisation.
    """

    def __init__(self, classes: int = 1, width: int = WIDTH, levels: int = LEVELS, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.encoder = Encoder(width, levels, dropout)
        self.decoder = nn.ModuleList(_double(width, width) for _ in range(levels))
        self.drop = nn.Dropout(dropout)
        self.head = _conv(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits at the size of the images."""
        x, skips = self.encoder(x)
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            x = level(self.drop(functional.interpolate(x, scale_factor=2.0, mode="nearest") + skip))
        logits: Tensor = self.head(x)
        return logits


class LwbnaClassifier(nn.Module):
    """The classifier variant: encoder, narrowing, mean over the map, one dense layer; logits, images x classes."""

    def __init__(self, classes: int, width: int = WIDTH, levels: int = LEVELS, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.encoder = Encoder(width, levels, dropout)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images x 3 x height x width to logits."""
        x, _ = self.encoder(x)
        logits: Tensor = self.head(self.drop(x.mean(dim=(2, 3))))
        return logits


def _conv(inside: int, outside: int) -> nn.Conv2d:
    """A 3 x 3 convolution with He's initial weights."""
    conv = nn.Conv2d(inside, outside, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type, unused-ignore]  # it has one
    return conv


def _double(inside: int, outside: int) -> nn.Sequential:
    """Two convolutions, each normalised over the batch and rectified, then attention."""
    return nn.Sequential(*_normal(inside, outside), *_normal(outside, outside), Attention(outside))


def _normal(inside: int, outside: int) -> tuple[nn.Module, ...]:
    """Batch normalisation with Keras' epsilon; not its momentum (here: 0.01), which wants thousands of steps."""
    return _conv(inside, outside), nn.BatchNorm2d(outside, eps=1e-3, momentum=0.1), nn.ReLU(inplace=True)
