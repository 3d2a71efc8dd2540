"""The end of an imported network: which function it ends with, and how it becomes one logit or values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor, nn

from oculard_models.importers.keras_file import KerasRefused
from oculard_models.importers.keras_modules import Reshaped
from oculard_models.importers.keras_net import KerasNet

SEXES = ("F", "M")  # the order of every bundle's `choices`: the logit of the second


class Unsaid(KerasRefused):
    """The file does not say something, and it must not be guessed. The message says which option says it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the network ends with: `sigmoid`, `softmax`, another activation, or nothing (`linear`)."""

    function: str
    units: int
    before: int  # the part whose result goes into that function

    def __str__(self) -> str:
        return f"{self.units} x {self.function}"


class OneLogit(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The logit of the second choice: a unit itself, or the second of two units less the first; turned if need be."""

    def __init__(self, net: KerasNet, *, turned: bool) -> None:
        super().__init__()
        self.net = net
        self.sign = -1.0 if turned else 1.0

    def forward(self, images: Tensor) -> Tensor:
        """Images x 3 x rows x columns to images x 1."""
        units: Tensor = self.net(images)
        logit = units if self.net.units == 1 else units[:, 1:2] - units[:, 0:1]
        return logit * self.sign


def head_of(net: KerasNet) -> Head:
    """Find the last function of a network, behind what only passes on or reshapes."""
    number = net.output
    while not net.parts[number].function and isinstance(net.layers[number], nn.Identity | Reshaped):
        if not net.parts[number].inputs:
            break
        number = net.parts[number].inputs[0]
    function = net.parts[number].function
    if not function:
        return Head("linear", net.units, net.output)
    return Head(function, net.units, net.parts[number].inputs[0])


def values_net(net: KerasNet, outputs: int) -> nn.Module:
    """Give the network that says values as they are. Raises KerasRefused where their number is another."""
    if net.units != outputs:
        raise KerasRefused(
            f"the network says {net.units} numbers, {outputs} were named; hint: give --output once for each, in order"
        )
    return net


def logit_net(net: KerasNet, *, turned: bool, trained_on_logits: bool) -> nn.Module:
    """Give the network that says the logit of the second sex: the last function is taken off, exactly.

    `turned` where the file's classes are M, F. Raises KerasRefused or Unsaid.
    """
    head = head_of(net)
    if (head.function, head.units) in (("sigmoid", 1), ("softmax", 2)):
        return OneLogit(net.ending_at(head.before), turned=turned).eval()
    if head.function in ("sigmoid", "softmax") or head.units > 2:
        _refuse(head)
    if not trained_on_logits:
        raise Unsaid(
            f"the network ends with {head}, neither sigmoid nor softmax; hint: say --logits if it was trained so"
        )
    return OneLogit(net, turned=turned).eval()


def _refuse(head: Head) -> NoReturn:
    """Refuse a head that says no sex."""
    raise KerasRefused(f"the network ends with {head}; for sex it must be 1 x sigmoid or 2 x softmax")
