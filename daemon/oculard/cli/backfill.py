"""`backfill` and `reannotate`: archives and earlier studies, annotated by what serves now."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
