"""The few things that Keras's layers do and torch's modules do not. Pictures are images x channels x rows x columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Pad = tuple[int, int, int, int]  # left, right, top, bottom


def same_padding(size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> Pad:
    """Return TensorFlow's "same" padding: an odd pixel goes to the right and to the bottom."""
    totals = [
        max((-(-side // stride) - 1) * stride + (reach - 1) * spread + 1 - side, 0)
        for side, reach, stride, spread in zip(size, kernel, strides, dilation, strict=True)
    ]
    (top, left), (bottom, right) = ([total // 2 for total in totals], [total - total // 2 for total in totals])
    return left, right, top, bottom


class Padded(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """A convolution with its padding."""

    def __init__(self, pad: Pad, conv: nn.Conv2d) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(pad) if any(pad) else nn.Identity()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        y: Tensor = self.conv(self.pad(x))
        return y


class Separable(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Every channel by itself, then all of them at each pixel."""

    def __init__(self, depthwise: Padded, pointwise: nn.Conv2d) -> None:
        super().__init__()
        self.depthwise = depthwise
        self.pointwise = pointwise

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class Normalised(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Batch normalisation of a trained network, of pictures and of plain numbers."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        for name in ("weight", "bias", "mean", "variance"):
            self.register_buffer(name, torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift every channel."""
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, 0.0, self.epsilon)


class Standardised(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Keras's Normalization: (x - mean) / deviation, the deviation at least 1e-7."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(channels, 1, 1))
        self.register_buffer("variance", torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise every channel."""
        return (x - self.mean) / torch.clamp(torch.sqrt(self.variance), min=1e-7)


class Affine(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """x * scale + offset; one pair of numbers, or one a channel."""

    scale: Tensor
    offset: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.empty(count, 1, 1))
        self.register_buffer("offset", torch.empty(count, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift."""
        return x * self.scale + self.offset


class MaxPool(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The largest of every window; padding never wins."""

    def __init__(self, pad: Pad, kernel: tuple[int, int], strides: tuple[int, int]) -> None:
        super().__init__()
        self.pad, self.kernel, self.strides = pad, kernel, strides

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then pool."""
        padded = functional.pad(x, self.pad, value=float("-inf")) if any(self.pad) else x
        return functional.max_pool2d(padded, self.kernel, self.strides)


class MeanPool(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The mean of every window; padding does not count. `share` is how much of each window is picture."""

    share: Tensor

    def __init__(self, pad: Pad, kernel: tuple[int, int], strides: tuple[int, int], size: tuple[int, int]) -> None:
        super().__init__()
        self.pad, self.kernel, self.strides = pad, kernel, strides
        self.register_buffer("share", torch.empty(1, 1, *size))

    def forward(self, x: Tensor) -> Tensor:
        """Pad, pool, and undo what the padding took."""
        return functional.avg_pool2d(functional.pad(x, self.pad), self.kernel, self.strides) / self.share


class Whole(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The mean over the picture, per channel."""

    def __init__(self, keeps_sides: bool) -> None:
        super().__init__()
        self.keeps_sides = keeps_sides

    def forward(self, x: Tensor) -> Tensor:
        """Average rows and columns."""
        return x.mean((2, 3), keepdim=self.keeps_sides)


class Peak(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The largest value of the picture, per channel."""

    def __init__(self, keeps_sides: bool) -> None:
        super().__init__()
        self.keeps_sides = keeps_sides

    def forward(self, x: Tensor) -> Tensor:
        """Take the largest of rows and columns."""
        return x.amax((2, 3), keepdim=self.keeps_sides)


class Reshaped(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Another shape for the same numbers, in Keras's order (channels last)."""

    def __init__(self, target: Sequence[int]) -> None:
        super().__init__()
        self.target = tuple(target)

    def forward(self, x: Tensor) -> Tensor:
        """Go to Keras's order, reshape, and come back."""
        last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
        y = last.reshape(x.shape[0], *self.target)
        return y.permute(0, 3, 1, 2) if len(self.target) == 3 else y


class Clipped(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """A rectifier with an upper end."""

    def __init__(self, upper: float) -> None:
        super().__init__()
        self.upper = upper

    def forward(self, x: Tensor) -> Tensor:
        """Clip to 0 and the upper end."""
        return x.clamp(0.0, self.upper)


class Sum(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The sum of the first input and `scale` times each other one."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Add up."""
        for one in others:
            first = first + (one if self.scale == 1.0 else one * self.scale)
        return first


class Product(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The product of all inputs."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        """Multiply."""
        for one in others:
            first = first * one
        return first


class Joined(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The channels of all inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Concatenate."""
        return torch.cat(inputs, 1)
