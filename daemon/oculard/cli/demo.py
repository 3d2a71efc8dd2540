"""`demo`: the whole path on painted eyes, with the real daemon, over the network, into a built-in PACS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from oculard.cli.context import AsJson, print_json, print_table, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Running")(demo)


def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep everything that was sent and received here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Paint a study of both eyes, send it, and show the reports that come back. Exit 0 only when each was checked."""
    from oculard.rehearsal import rehearse
    from oculard.settings import forget_environment

    forget_environment()
    folder = keep or Path(tempfile.mkdtemp(prefix="oculard-demo-"))
    if keep is not None and folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    result = rehearse(folder, say=say)
    if as_json:
        print_json({"folder": folder, **result.as_json()})
    else:
        print_table(
            ("eye", "finding", "value", "planted"), result.rows, title="What came back (painted eyes: no person)"
        )
        say(f"page: {result.page}")
        say(f"sent, received, reports, log: {folder}")
    for fault in result.faults:
        say(f"FAULT: {fault}")
    if result.faults:
        raise typer.Exit(1)
    say(f"every report arrived and was checked, {result.seconds:.1f} s after the start")
