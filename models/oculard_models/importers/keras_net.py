"""A torch network out of a Keras file, layer by layer. Nothing of Keras is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oculard_models.importers.keras_file import KerasFile, KerasRefused
from oculard_models.importers.keras_graph import Graph, Step, read_graph
from oculard_models.importers.keras_layers import activation, make
from oculard_models.importers.keras_made import Made, Shape
from oculard_models.importers.keras_settings import SIDE_MAX, Settings

VALUES_MAX = 1 << 27  # of one layer for one picture: 0.5 GiB; the widest of the sixteen has 17 million


@dataclass(frozen=True, slots=True)
class Part:
    """One module of the network: what it works on, and what it is called in the file."""

    name: str
    inputs: tuple[int, ...]  # numbers of earlier parts; 0 is the picture
    shape: Shape
    step: Step
    function: str = ""  # an activation's name


class KerasNet(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Pictures (images x 3 x rows x columns, in the range that the file wants) to images x units.

    `parts[n]` describes `layers[n]`; part `output` is what the network says. A result is let go of after its last use:
    those of a deep network would need gigabytes.
    """

    def __init__(self, parts: Sequence[Part], layers: Sequence[nn.Module], output: int) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.layers = nn.ModuleList(layers)
        self.output = output
        self._last_use = _last_uses(self.parts)

    @property
    def units(self) -> int:
        """How many numbers the network says about a picture."""
        return prod(self.parts[self.output].shape)

    def ending_at(self, output: int) -> KerasNet:
        """The same network, but what it says is an earlier part."""
        end = output + 1
        return KerasNet(self.parts[:end], list(self.layers)[:end], output)

    def forward(self, images: Tensor) -> Tensor:
        """Run every part."""
        found: dict[int, Tensor] = {0: images}
        for number, part in enumerate(self.parts[1 : self.output + 1], start=1):
            found[number] = self.layers[number](*(found[one] for one in part.inputs))
            for one in set(part.inputs):
                if self._last_use[one] == number and one != self.output:
                    del found[one]
        return found[self.output].flatten(1)


def read_net(file: KerasFile, size_px: tuple[int, int] | None) -> KerasNet:
    """Build the network of a file, for pictures of `size_px` where the file leaves it open.

    Raises KerasRefused, which names the layer that cannot be read.
    """
    graph = read_graph(file.config)
    building = _Building(file, picture_size(graph, size_px))
    for number, step in enumerate(graph.steps[1:], start=1):
        building.add(number, step)
    left = file.left_over()
    if left:
        raise KerasRefused(f"nothing takes the array `{left[0]}` (one of {len(left)}); hint: is a layer missing?")
    return KerasNet(building.parts, building.layers, building.part_of[graph.output]).eval()


def picture_size(graph: Graph, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width: the file's, or the wanted ones where it has none."""
    height, width = graph.size
    if height is None or width is None:
        if wanted is None:
            raise KerasRefused("the file leaves the size of its pictures open; hint: say it with --size HEIGHT WIDTH")
        height, width = wanted
    elif wanted is not None and wanted != (height, width):
        raise KerasRefused(f"the file wants pictures of {height} x {width}, not {wanted[0]} x {wanted[1]}")
    if not (16 <= height <= SIDE_MAX and 16 <= width <= SIDE_MAX):
        raise KerasRefused(f"the file wants pictures of {height} x {width}; 16 to {SIDE_MAX} are supported")
    return height, width


class _Building:
    """Parts and modules so far. Shapes are worked out on torch's meta device, which computes nothing."""

    def __init__(self, file: KerasFile, size_px: tuple[int, int]) -> None:
        self._file = file
        start = Step(("input",), "InputLayer", {}, ())
        self.parts = [Part("input", (), (3, *size_px), start)]
        self.layers: list[nn.Module] = [nn.Identity()]
        self.part_of = {0: 0}  # step -> part
        self._shared: dict[tuple[tuple[str, ...], tuple[Shape, ...]], nn.Module] = {}

    def add(self, number: int, step: Step) -> None:
        """Add a step: its module, and its activation as a part of its own."""
        inputs = tuple(self.part_of[one] for one in step.inputs)
        shapes = tuple(self.parts[one].shape for one in inputs)
        settings = Settings(step)
        with torch.device("meta"):
            made = make(settings, shapes)
            after = activation(settings, made.activation)
        shape = _shape(step, made.module, shapes)
        key = (step.path, shapes)
        if key not in self._shared:  # a layer that is called twice is read once
            _fill(self._file, step, made)
            self._shared[key] = made.module
        self._append(Part(step.name, inputs, shape, step), self._shared[key])
        if made.activation != "linear":
            self._append(Part(step.name, (len(self.parts) - 1,), shape, step, made.activation), after)
        self.part_of[number] = len(self.parts) - 1

    def _append(self, part: Part, module: nn.Module) -> None:
        """Add one part."""
        self.parts.append(part)
        self.layers.append(module)


def _shape(step: Step, module: nn.Module, shapes: Sequence[Shape]) -> Shape:
    """Work out what a module makes of its inputs' shapes."""
    try:
        result = module(*(torch.empty((1, *shape), device="meta") for shape in shapes))
    except (RuntimeError, ValueError, IndexError) as why:
        raise KerasRefused(f"layer `{step.name}`, a `{step.kind}`, cannot work on {list(shapes)}: {why}") from why
    shape = tuple(result.shape[1:])
    if len(shape) not in (1, 3) or not 0 < prod(shape) <= VALUES_MAX:
        raise KerasRefused(f"layer `{step.name}`, a `{step.kind}`, makes {shape} of {list(shapes)}")
    return shape


def _fill(file: KerasFile, step: Step, made: Made) -> None:
    """Put the file's arrays, and what the description gives, into a module."""
    empty: Mapping[str, Any] = made.module.state_dict()
    arrays = {name: np.asarray(numbers, dtype=np.float32) for name, numbers in made.given.items()}
    for slot in made.slots:
        arrays[slot.parameter] = file.array(step.path, slot.names, slot.shape).transpose(slot.order)
    ready = {
        name: torch.from_numpy(np.ascontiguousarray(array)).reshape(empty[name].shape) for name, array in arrays.items()
    }
    made.module.load_state_dict(ready, strict=True, assign=True)
    made.module.requires_grad_(False)


def _last_uses(parts: Sequence[Part]) -> dict[int, int]:
    """Say for every part which later one needs it last."""
    return {one: number for number, part in enumerate(parts) for one in part.inputs}
