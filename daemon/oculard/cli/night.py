"""`night plan` and `night report`: what the night will do, and what it did."""

from __future__ import annotations

import typer

night = typer.Typer(help="What the night will do, and what it did.", no_args_is_help=True)
