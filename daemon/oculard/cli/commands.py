"""The tree of commands; each file beside this one holds a group of verbs and loads what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oculard import __version__
from oculard.cli import (
    backfill,
    configuration,
    demo,
    doctor,
    keeping,
    night,
    notify,
    people,
    reannotate,
    roles,
    transfer,
    watch,
)
from oculard.cli.context import Context, print_lines


def build() -> typer.Typer:
    """Every command of `oculard`."""
    app = typer.Typer(
        name="oculard",
        help="DICOM daemon for eye clinics: images in, estimates out, Structured Reports back to the PACS.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_begin)
    for group in (roles, doctor, watch, notify, people, transfer, backfill, reannotate, keeping, demo):
        group.register(app)
    app.add_typer(configuration.config, name="config")
    app.add_typer(configuration.db, name="db")
    app.add_typer(night.night, name="night")
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print_lines([f"oculard {__version__}"])
        raise typer.Exit


def _begin(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration file; else $OCULARD_CONFIG, else /etc/oculard/oculard.toml."
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has done the work
    ctx.obj = Context(config)
