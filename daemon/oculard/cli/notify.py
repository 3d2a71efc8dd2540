"""`notify`: a test message to every address of [notify], now."""

from __future__ import annotations

from typing import Any

import typer

from oculard.cli.context import AsJson, context, print_json, print_table, say
from oculard.errors import Misconfigured

TITLE, TEXT = "oculard {station}: test", "This is a test of oculard. これは oculard のテスト送信です。"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Watching")(notify)


def notify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Send a test message to everyone who is told of alarms and nights. Exit code 1 when it did not go to one."""
    from oculard.store.notices import ALARM, Content
    from oculard.upkeep.addresses import read_addresses

    settings = context(ctx).settings
    addresses = read_addresses(settings.notify_urls)
    if not addresses:
        raise Misconfigured("nobody is to be told", hint="[notify] urls_file names a file with one Apprise URL a line")
    content = Content(title=TITLE.format(station=settings.site.station), text=TEXT)
    rows: list[dict[str, Any]] = [
        {"address": one.place, "is_understood": one.is_understood, "sent": one.give(ALARM, content)}
        for one in addresses
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("address", "understood", "sent"), [list(row.values()) for row in rows])
    failed = sum(not row["sent"] for row in rows)
    say(f"{len(rows) - failed} of {len(rows)} took it")
    if failed:
        raise typer.Exit(1)
