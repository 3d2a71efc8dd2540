"""What every command of the laboratory says and how: rows, progress, failure. Data to stdout, words to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import track

T = TypeVar("T")

STDERR = Console(stderr=True)


def print_rows(rows: Sequence[dict[str, object]] | Sequence[dict[str, str]], as_json: bool) -> None:
    """Print rows as JSON, or as columns that line up; an empty cell is a dash."""
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, *([str(row.get(key, "")) or "-" for key in keys] for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(keys))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def followed(things: Sequence[T], words: str) -> Iterable[T]:
    """Show a progress bar on a terminal's stderr while things are worked through."""
    return track(things, description=words, console=STDERR, disable=not STDERR.is_terminal, transient=True)


def fail(words: str) -> NoReturn:
    """Say what is wrong on stderr and leave with 1."""
    typer.echo(words, err=True)
    raise typer.Exit(1)


def misuse(words: str) -> NoReturn:
    """Say what was asked wrongly on stderr and leave with 2."""
    typer.echo(words, err=True)
    raise typer.Exit(2)
