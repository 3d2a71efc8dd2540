"""`run` and the single roles: what systemd, compose or Kubernetes start."""

from __future__ import annotations

from typing import Annotated

import typer

from oculard.cli.context import context

Name = Annotated[str | None, typer.Option(help="Name under which leases are held; made up when not given.")]
Supervised = Annotated[bool, typer.Option(hidden=True, help="End when stdin ends: `run` holds its other end.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Running")(run)
    for role in (intake, worker, sender, fetcher, upkeep, web):
        app.command(rich_help_panel="Running")(role)


def run(ctx: typer.Context) -> None:
    """Start every role on this machine, and start again what dies."""
    from oculard.supervisor import Supervisor

    found = context(ctx)
    Supervisor(found.app, found.file).run()


def intake(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Receive images: the Storage SCP alone."""
    _role(ctx, "intake", name, supervised)


def worker(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Run estimators: one worker alone."""
    _role(ctx, "worker", name, supervised)


def sender(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Send reports: the sender alone."""
    _role(ctx, "sender", name, supervised)


def fetcher(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Fetch from archives and watched folders: the fetcher alone."""
    _role(ctx, "fetcher", name, supervised)


def upkeep(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Settle studies and do the chores: upkeep alone."""
    _role(ctx, "upkeep", name, supervised)


def web(ctx: typer.Context, name: Name = None, supervised: Supervised = False) -> None:
    """Serve /healthz, /readyz and /metrics alone."""
    _role(ctx, "web", name, supervised)


def _role(ctx: typer.Context, role: str, name: str | None, supervised: bool) -> None:
    from oculard.roles import run_role

    run_role(context(ctx).app, role, name=name, supervised=supervised)
