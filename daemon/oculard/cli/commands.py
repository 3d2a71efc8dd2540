"""The tree of commands; each file beside this one holds a group of verbs and loads what it needs when it is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from oculard import __version__
from oculard.cli.context import Context, print_lines

# Which file has which verbs: only what was called is loaded. In the order in which `--help` shows them.
VERBS: Mapping[str, tuple[str, ...]] = {
    "roles": ("run", "intake", "worker", "sender", "fetcher", "upkeep", "web"),
    "doctor": ("doctor",),
    "watch": ("status", "trace", "jobs", "deliveries", "models"),
    "notify": ("notify",),
    "people": ("retry", "allow", "settle", "acknowledge"),
    "transfer": ("import", "send"),
    "backfill": ("backfill",),
    "reannotate": ("reannotate",),
    "keeping": ("backup", "restore"),
    "licences": ("licences",),
    "demo": ("demo",),
    "configuration": ("config", "db"),
    "night": ("night",),
}


def build(words: Collection[str] = ()) -> typer.Typer:
    """The commands that may be meant by these words; every command of `oculard` where none is among them."""
    app = typer.Typer(
        name="oculard",
        help="DICOM daemon for eye clinics: images in, estimates out, Structured Reports back to the PACS.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_begin)
    meant = [group for group, verbs in VERBS.items() if not set(verbs).isdisjoint(words)]
    for group in meant or VERBS:
        import_module(f"oculard.cli.{group}").register(app)
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
    ctx.call_on_close(ctx.obj.close)
