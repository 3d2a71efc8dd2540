"""`backup` and `restore`: a copy of what must not be lost, and the way back."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
