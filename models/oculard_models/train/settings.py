"""How to train: one record of settings, which are a command's options and travel in every checkpoint."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import Any, TypeVar

S = TypeVar("S")

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
PASSING = ("accelerator", "devices", "num_nodes", "strategy", "workers", "patience")  # may differ when continued


class TrainingWrong(ValueError):
    """A training that cannot be done as asked. The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a network is fitted. The defaults are ours, for photographs of people."""

    seed: int = 1
    epochs: int = 25
    batch: int = 32
    rate: float = 1e-4  # highest learning rate, of AdamW
    decay: float = 1e-4  # of the weights
    warm_up: float = 1.0  # epochs until the highest rate
    patience: int = 6  # epochs without a better tuning loss before the training stops
    ema: float = 0.0  # decay per step of the moving average of the weights that is kept; 0 keeps the weights themselves
    precision: str = "32-true"  # or bf16-mixed, 16-mixed
    accelerator: str = "auto"
    devices: str = "auto"  # a number, or numbers with commas
    num_nodes: int = 1
    strategy: str = "auto"
    workers: int = 0  # processes that prepare pictures
    threads: int = 1  # of torch on a processor; another number gives other last digits

    def __post_init__(self) -> None:
        for name, low in (
            ("epochs", 1),
            ("batch", 2),
            ("patience", 1),
            ("num_nodes", 1),
            ("threads", 1),
            ("workers", 0),
        ):
            if getattr(self, name) < low:
                raise TrainingWrong(f"`{name}` must be at least {low}, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise TrainingWrong(f"`seed` must lie within 0 and {2**32 - 1}, got {self.seed}")
        if not (0.0 < self.rate <= 1.0 and 0.0 <= self.ema < 1.0 and self.decay >= 0.0 and self.warm_up >= 0.0):
            raise TrainingWrong("`rate` must lie in (0, 1], `ema` in [0, 1), `decay` and `warm_up` at 0 or above")
        if self.precision not in PRECISIONS:
            raise TrainingWrong(f"there is no precision `{self.precision}`; hint: one of {', '.join(PRECISIONS)}")


def asked(kind: type[S], arguments: Sequence[str], prog: str, words: str) -> S:
    """Read a record of settings from the command line: one option a field; bad ones leave with 2."""
    parser = argparse.ArgumentParser(prog=prog, description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(kind):  # type: ignore[arg-type]  # every S is a dataclass
        parser.add_argument(_option(field.name), **_argument(field))
    values = vars(parser.parse_args(arguments))
    try:
        return kind(**values)
    except TrainingWrong as why:
        parser.error(str(why))


def part_of(kind: type[S], whole: object) -> S:
    """Take those of a record's values that a smaller record has."""
    return kind(**{field.name: getattr(whole, field.name) for field in fields(kind)})  # type: ignore[arg-type]  # likewise


def as_options(settings: object, *, without: Iterable[str]) -> str:
    """Write settings as the options that give them again, without those that hold only for one machine."""
    values: Mapping[str, object] = asdict(settings)  # type: ignore[call-overload]  # likewise
    kept = {name: value for name, value in values.items() if name not in set(without) and value != ""}
    return " ".join(f"{_option(name)} {shlex.quote(str(value))}" for name, value in kept.items())


def _option(name: str) -> str:
    """Name a field's option."""
    return f"--{name.replace('_', '-')}"


def _argument(field: Field[Any]) -> dict[str, Any]:
    """Describe a field's option: its default says its type, a field without one is required text."""
    if field.default is MISSING:
        return {"required": True, "help": field.metadata.get("help", "required")}
    if isinstance(field.default, bool):
        return {"action": "store_true", "help": field.metadata.get("help", "")}
    default = str(field.default).replace("%", "%%") or "none"
    said = f"{field.metadata['help']}; " if "help" in field.metadata else ""
    return {"type": type(field.default), "default": field.default, "help": f"{said}default: {default}"}
