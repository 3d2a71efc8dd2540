"""The settings of one Keras layer, read with checks: a wrong one refuses the layer by name."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NoReturn

from oculard_models.importers.keras_file import KerasRefused
from oculard_models.importers.keras_graph import Step

SIDE_MAX = 4096  # of kernels, strides, paddings
CHANNELS_MAX = 65_536


class Settings:
    """What a step's description says. Every method raises KerasRefused, which names layer, class and value."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self._config = step.config
        if self._config.get("data_format") not in (None, "channels_last"):
            self.refuse(f"`data_format` is `{self._config['data_format']}`; only channels_last is supported")

    def refuse(self, words: str) -> NoReturn:
        """Refuse the layer."""
        raise KerasRefused(f"layer `{self.step.name}`, a `{self.step.kind}`: {words}")

    def must(self, holds: bool, otherwise: str) -> None:
        """Refuse the layer unless a condition holds."""
        if not holds:
            self.refuse(otherwise)

    def has(self, key: str) -> bool:
        """Say whether a setting is there and not None."""
        return self._config.get(key) is not None

    def flag(self, key: str, otherwise: bool) -> bool:
        """Read true or false."""
        value = self._config.get(key, otherwise)
        self.must(isinstance(value, bool), f"`{key}` is {value!r}, not true or false")
        return bool(value)

    def word(self, key: str, allowed: Sequence[str]) -> str:
        """Read one of a few words."""
        value = self._config.get(key)
        self.must(value in allowed, f"`{key}` is {value!r}, expected one of {', '.join(allowed)}")
        return str(value)

    def whole(self, key: str, largest: int = CHANNELS_MAX, *, otherwise: int | None = None) -> int:
        """Read a whole number from 1."""
        return self._whole(key, self._config.get(key, otherwise), 1, largest)

    def pair(self, key: str, *, otherwise: tuple[int, int] | None = None) -> tuple[int, int]:
        """Read two whole numbers from 1: rows, columns."""
        value = self._config.get(key)
        value = otherwise if value is None else value
        value = [value, value] if isinstance(value, int) else value
        if not isinstance(value, list | tuple) or len(value) != 2:
            self.refuse(f"`{key}` is {value!r}, not two whole numbers")
        rows, columns = (self._whole(key, one, 1, SIDE_MAX) for one in value)
        return rows, columns

    def margins(self, key: str) -> tuple[int, int, int, int]:
        """Read what is added around a picture: left, right, top, bottom."""
        value = self._config.get(key)
        if not isinstance(value, list) or [isinstance(one, list) and len(one) for one in value] != [2, 2]:
            self.refuse(f"`{key}` is {value!r}, not [[top, bottom], [left, right]]")
        top, bottom, left, right = (self._whole(key, one, 0, SIDE_MAX) for side in value for one in side)
        return left, right, top, bottom

    def number(self, key: str, otherwise: float) -> float:
        """Read one finite number."""
        numbers = self.numbers(key) if self.has(key) else [otherwise]
        self.must(len(numbers) == 1, f"`{key}` has {len(numbers)} numbers, one is expected")
        return numbers[0]

    def numbers(self, key: str) -> list[float]:
        """Read one finite number or a list of them, however they are wrapped."""
        found = _unwrapped(self._config.get(key))
        for one in found:
            if isinstance(one, bool) or not isinstance(one, int | float) or not isfinite(one):
                self.refuse(f"`{key}` holds {one!r}, not a finite number")
        return [float(one) for one in found]

    def axis_is_last(self, key: str, rank: int) -> bool:
        """Say whether an axis is the one of the channels, of pictures (rank 3) or of plain numbers (rank 1)."""
        value = self._config.get(key, -1)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return value in (-1, rank)

    def target(self, key: str) -> tuple[int, ...]:
        """Read a shape: whole numbers, one of which may be -1."""
        value = self._config.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= 3:
            self.refuse(f"`{key}` is {value!r}, not a shape of pictures or of numbers")
        sides = tuple(self._whole(key, one, -1, 1 << 30) for one in value)
        self.must(sides.count(-1) <= 1 and 0 not in sides, f"`{key}` is {value!r}, which is no shape")
        return sides

    def activation(self, key: str) -> str:
        """Read the name of an activation, as text or as Keras 3 wraps a function of its own."""
        value = self._config.get(key)
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        value = "linear" if value is None else value
        if not isinstance(value, str):
            self.refuse(f"`{key}` is {value!r}, not the name of one of Keras's functions")
        return value

    def argument(self, key: str) -> float:
        """Read the only argument of a function, which must be called so and be a number."""
        value = self._config.get("arguments")
        if not isinstance(value, dict) or set(value) != {key} or not isinstance(value[key], int | float):
            self.refuse(
                "it holds code of its own, which is never executed; hint: build the model without Lambda layers"
            )
        return float(value[key])

    def function(self) -> str:
        """Read the name of a TensorFlow function."""
        return str(self._config.get("function"))

    def _whole(self, key: str, value: Any, smallest: int, largest: int) -> int:
        """Check one whole number."""
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            self.refuse(f"`{key}` is {value!r}, not a whole number from {smallest} to {largest}")
        return value


def _unwrapped(value: Any) -> list[Any]:
    """Open the wrappings of arrays: lists of lists, and Keras 3's dictionaries."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    if not isinstance(value, list):
        return [value]
    return [inner for one in value for inner in (_unwrapped(one) if isinstance(one, list) else [one])]
