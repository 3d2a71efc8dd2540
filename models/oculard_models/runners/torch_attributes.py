"""The attributes of one ONNX node: typed, with defaults, and none of them may go unread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class GraphWrong(ValueError):
    """An ONNX graph that the torch runner cannot execute, or not rightly. The message names the node."""


class Attributes:
    """What a node says about itself. An operator reads all it knows; what is left over it would do wrongly."""

    def __init__(self, values: Mapping[str, Any], *, title: str, opset: int, outputs: int) -> None:
        self.title, self.opset, self.outputs = title, opset, outputs
        self._values = dict(values)

    def whole(self, name: str, default: int) -> int:
        """Read a number."""
        return int(self._values.pop(name, default))

    def fraction(self, name: str, default: float) -> float:
        """Read a fraction."""
        return float(self._values.pop(name, default))

    def text(self, name: str, default: str) -> str:
        """Read a word."""
        value = self._values.pop(name, default)
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)

    def wholes(self, name: str) -> tuple[int, ...] | None:
        """Read numbers, or None where they are not given."""
        value = self._values.pop(name, None)
        return None if value is None else tuple(map(int, value))

    def tensor(self, name: str) -> Tensor | None:
        """Read a tensor, or None."""
        value = self._values.pop(name, None)
        return None if value is None else as_tensor(value)

    def number(self, name: str) -> Tensor | None:
        """Read a number or numbers as a tensor with the type that ONNX gives them, or None."""
        value = self._values.pop(name, None)
        if value is None:
            return None
        return torch.tensor(value, dtype=torch.float32 if "float" in name else torch.int64)

    def ignore(self, *names: str) -> None:
        """Drop what makes no difference to what comes out."""
        for name in names:
            self._values.pop(name, None)

    def must(self, holds: bool, otherwise: str) -> None:
        """Refuse the node unless a condition holds."""
        if not holds:
            raise GraphWrong(f"{self.title}: {otherwise} is not supported")

    def must_be_read(self) -> None:
        """Refuse a node with an attribute that its operator does not know."""
        self.must(not self._values, f"attribute {', '.join(f'`{name}`' for name in sorted(self._values))}")


def as_tensor(proto: Any) -> Tensor:
    """Read ONNX's tensor from the message itself. Raises GraphWrong."""
    from onnx import numpy_helper

    try:
        return torch.from_numpy(numpy_helper.to_array(proto).copy())
    except (TypeError, ValueError, KeyError) as why:  # a type that torch has not, or fewer bytes than its shape says
        raise GraphWrong(f"tensor `{proto.name}` cannot be read: {why}") from why
