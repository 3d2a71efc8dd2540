"""Tables of medians, and the clock that every benchmark uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one benchmark found: a title, rows of text, remarks, and the raw figures."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str]
    raw: object

    def text(self) -> str:
        """The table as lines that line up."""
        lines = [self.heads, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.heads))]
        body = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([self.title, "-" * len(self.title), *body, *self.remarks])


def seconds(work: Callable[[], object]) -> float:
    """How long something takes, once."""
    began = perf_counter()
    work()
    return perf_counter() - began


def median_ms(work: Callable[[], object], *, rounds: int) -> float:
    """The median of `rounds` times, in milliseconds, after one that does not count."""
    work()
    return 1000.0 * median(seconds(work) for _ in range(rounds))


def middle(values: Sequence[float]) -> str:
    """The median, and the smallest and largest value beside it."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
