"""A light network for the layers of a B-scan: a narrow U-Net whose four surfaces are soft places in every column.

Source: He et al., "Fully convolutional boundary regression for retina OCT segmentation", MICCAI 2019 (arXiv
1909.11770): a soft-argmax along each column gives a place between pixels, and a surface that would lie above the one
before it is set onto it, so that they never cross. Narrower than theirs, and it sees the two neighbouring B-scans too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (12, 20, 32, 48, 64)
SURFACES, PRESENCES = 4, 2


class LayerNet(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """B-scans x 3 x rows x columns (multiples of 32) to logits by half row, and to presence by column."""

    def __init__(self) -> None:
        super().__init__()
        widths = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], (5, 3), stride=(2, 1), padding=(2, 1), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.down = nn.ModuleList(
            _double(widths[max(level - 1, 0)], width, once=level == 0) for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _double(widths[level] + widths[level + 1], widths[level], once=False)
            for level in reversed(range(len(widths) - 1))
        )
        self.surfaces = nn.Conv2d(widths[0], SURFACES, 3, padding=1)
        self.presence = nn.Conv1d(2 * widths[1], PRESENCES, 9, padding=4)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, B-scans x 4 x rows / 2 x columns, and presence logits, B-scans x 2 x columns."""
        x = self.stem(seen)
        skips = []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            if skip is skips[0]:
                seldom = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)  # by column, half as many of them
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = up(torch.cat([skip, x], dim=1))
        presence = functional.interpolate(self.presence(seldom), scale_factor=2.0, mode="linear", align_corners=False)
        return self.surfaces(x), presence


class Places(nn.Module):  # type: ignore[misc, unused-ignore]  # likewise
    """The network as it is used: rows in their order, and presence as probabilities."""

    def __init__(self, net: LayerNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Rows, B-scans x 4 x columns, in rows of `seen`; presence, B-scans x 2 x columns."""
        logits, presence = self.net(seen)
        return places(logits), torch.sigmoid(presence)


def places(logits: Tensor) -> Tensor:
    """The mean place of each surface in each column, none above the one before it; in rows of what was seen."""
    half = torch.arange(logits.shape[2], device=logits.device, dtype=torch.float32)[None, None, :, None]
    rows = 2.0 * (functional.softmax(logits, dim=2) * half).sum(dim=2) + 0.5
    ordered = [rows[:, 0]]
    for surface in range(1, SURFACES):
        ordered.append(torch.maximum(ordered[-1], rows[:, surface]))
    return torch.stack(ordered, dim=1)


def _double(inside: int, outside: int, *, once: bool) -> nn.Sequential:
    """One or two 3 x 3 convolutions, each normalised and rectified."""
    layers: list[nn.Module] = []
    for channels in (inside,) if once else (inside, outside):
        layers += [
            nn.Conv2d(channels, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
