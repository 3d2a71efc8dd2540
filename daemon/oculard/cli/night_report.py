"""`night report`: what the night did, what it did not, and why."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from oculard.cli.context import AsJson, context, print_json, print_lines, print_table, say
from oculard.errors import Misconfigured
from oculard.upkeep.morning_words import Language


def report(
    ctx: typer.Context,
    night: Annotated[
        str | None, typer.Argument(help="The date on whose evening it began, as 2026-11-28; the last one that is over.")
    ] = None,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page there.")] = None,
    language: Annotated[
        Language | None, typer.Option(help="en | ja; as [night] report_language when not given.")
    ] = None,
) -> None:
    """What the night did, what it did not, and why. Exit code 1 when something needs a person."""
    from oculard.upkeep.morning import MorningMaker
    from oculard.upkeep.morning import as_json as told
    from oculard.upkeep.morning_page import page, tables, verdict

    app = context(ctx).checked_app
    settings, spoken = app.settings, language or app.settings.night.report_language
    maker = MorningMaker(settings=settings, database=app.database, vault=app.vault, clock=app.clock)
    morning, zone = maker.make(maker.night(_day(night))), ZoneInfo(settings.night_zone)
    if html is not None:
        _write(html, page(morning, spoken, zone, station=settings.site.station))
    if as_json:
        print_json(told(morning, spoken))
    elif html is None:
        print_lines([f"{morning.night}: {verdict(morning, spoken)}", ""])
        for table in tables(morning, spoken, zone):
            if table.rows:
                print_table(table.columns, table.rows, title=table.title)
                print_lines([""])
    if morning.needs_a_person:
        raise typer.Exit(1)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  a date has no zone
    except ValueError:
        raise Misconfigured(
            f"`{text}` is no date", hint="as in 2026-11-28: the evening on which the night began"
        ) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as why:
        raise Misconfigured(f"cannot write {path}: {why.strerror}") from why
    say(f"written: {path}")
