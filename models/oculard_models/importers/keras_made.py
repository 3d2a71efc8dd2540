"""What a layer becomes: a torch module and where its numbers come from; and checks of what a layer is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from oculard_models.importers.keras_modules import Pad, same_padding
from oculard_models.importers.keras_settings import Settings

Shape = tuple[int, ...]  # of one image: channels, rows, columns; or numbers
Numbers = Sequence[float] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Slot:
    """One array of the file and the parameter that it becomes: transposed by `order`, then in the parameter's shape."""

    parameter: str
    names: tuple[str, ...]  # as one release or another calls it
    shape: tuple[int, ...]  # in the file
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A module, the arrays that it takes from the file, and those that its description gives."""

    module: nn.Module
    slots: tuple[Slot, ...] = ()
    given: Mapping[str, Numbers] = field(default_factory=dict)
    activation: str = "linear"  # comes after the module


Maker = Callable[[Settings, Sequence[Shape]], Made]


def picture(settings: Settings, shapes: Sequence[Shape]) -> tuple[int, int, int]:
    """Take the only input, a picture: channels, rows, columns."""
    settings.must(len(shapes) == 1 and len(shapes[0]) == 3, f"it is given {list(shapes)}, not one picture")
    channels, rows, columns = shapes[0]
    return channels, rows, columns


def anything(settings: Settings, shapes: Sequence[Shape]) -> Shape:
    """Take the only input, whatever it is."""
    settings.must(len(shapes) == 1, f"it is given {len(shapes)} inputs, not one")
    return shapes[0]


def alike(settings: Settings, shapes: Sequence[Shape]) -> None:
    """See that there are several inputs of one rank; torch says whether their sides fit."""
    several = len(shapes) >= 2 and len({len(shape) for shape in shapes}) == 1
    settings.must(several, f"it is given {list(shapes)}, not several of one kind")


def padding(settings: Settings, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]) -> Pad:
    """Work out the padding."""
    if settings.word("padding", ("same", "valid")) == "valid":
        return (0, 0, 0, 0)
    dilation = settings.pair("dilation_rate", otherwise=(1, 1))
    return same_padding(size, kernel, strides, dilation)


def per_channel(settings: Settings, key: str, count: int) -> list[float]:
    """Read one number for all, or one for each."""
    numbers = settings.numbers(key)
    settings.must(len(numbers) in (1, count), f"`{key}` has {len(numbers)} numbers for {count} channels")
    return numbers if len(numbers) == count else numbers * count
