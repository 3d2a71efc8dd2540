"""What every command needs: the settings, the objects, and a way to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oculard.loading import loading

if TYPE_CHECKING:
    from oculard.app import App
    from oculard.settings import Settings

SHORT_CHARS = 28  # a column as narrow as that is never wrapped
WIDE_COLUMNS = 5  # a table of no more columns is wrapped rather than turned into records
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass
class Context:
    """Reads the configuration when a command first asks for it."""

    config: Path | None

    @cached_property
    def file(self) -> Path:
        """The configuration file in use."""
        from oculard.settings import find_file

        return find_file(self.config)

    @cached_property
    def settings(self) -> Settings:
        from oculard.settings import load

        return load(self.file)

    @cached_property
    def app(self) -> App:
        """The objects, on a database that was not looked at yet."""
        with loading():
            from oculard import log
            from oculard.app import App
            from oculard.clock import SystemClock

            log.configure(level="warning", form="console", role="cli")  # a role configures its own
            return App(self.settings, SystemClock())

    @property
    def checked_app(self) -> App:
        """The objects, on a database of the right revision."""
        self.app.database.check()
        return self.app

    def close(self) -> None:
        """The command ends: let go of what it opened."""
        if "app" in vars(self):
            self.app.close()


def context(ctx: typer.Context) -> Context:
    """The context of this call."""
    found = ctx.find_object(Context)
    assert found is not None, "the callback makes it"
    return found


def say(words: str) -> None:
    """Words for a person."""
    print(words, file=sys.stderr)  # noqa: T201  stderr is where words go


def print_json(data: Any) -> None:
    """Data for a program."""
    print(json.dumps(data, indent=2, default=_plain))  # noqa: T201  stdout is where data goes


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Data for a person: a table on a terminal, tab-separated lines in a pipe."""
    if not sys.stdout.isatty():
        print_lines(
            [
                *([f"# {title}"] if title else []),
                "\t".join(columns),
                *("\t".join(_cell(cell) for cell in row) for row in rows),
            ]
        )
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, cells = Console(), [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    if sum(widths) + 3 * len(columns) > console.width and len(columns) > WIDE_COLUMNS:
        _print_records(columns, cells, title)
        return
    table = Table(title=title, title_justify="left", header_style="bold", show_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", no_wrap=width <= SHORT_CHARS)
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    console.print(table)


def _print_records(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> None:
    """What is too wide for the terminal: one line a value, empty ones left out."""
    print_lines([title] if title else [])
    width = max(len(column) for column in columns)
    for row in rows:
        values = [(column, text) for column, text in zip(columns, row, strict=True) if text]
        print_lines([*(f"  {column:<{width}}  {text}" for column, text in values), ""])


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines of data."""
    print("\n".join(lines))  # noqa: T201  stdout is where data goes


def local(moment: datetime | None) -> str:
    """A moment in the machine's own time zone, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return local(value)
    text = "" if value is None else str(value)
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
