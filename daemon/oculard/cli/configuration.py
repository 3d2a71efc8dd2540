"""`config check|show|example` and `db upgrade`."""

from __future__ import annotations

import typer

from oculard.cli.context import AsJson, context, print_json, print_lines, say

config = typer.Typer(no_args_is_help=True, help="The configuration: check it, show it, write an example.")
db = typer.Typer(no_args_is_help=True, help="The database.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(config, name="config")
    app.add_typer(db, name="db")


@config.command()
def check(ctx: typer.Context) -> None:
    """Read the configuration and say whether it is right; exit code 2 when it is not."""
    found = context(ctx)
    assert found.settings
    say(f"{found.file}: fine")


@config.command()
def show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Print what is in force: the file, the environment and the defaults together. Secrets are masked."""
    from oculard.cli.example import as_toml

    settings = context(ctx).settings
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        print_lines([as_toml(settings, commented=False)])


@config.command()
def example() -> None:
    """Print a configuration with every key, its default and a comment."""
    from oculard.cli.example import as_toml
    from oculard.settings import Settings

    print_lines([as_toml(Settings.model_construct(), commented=True).rstrip()])


@db.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the database to the revision this program needs. Safe to run again."""
    before, after = context(ctx).app.database.upgrade()
    say(f"database: {'new' if before is None else before} -> {after}")
