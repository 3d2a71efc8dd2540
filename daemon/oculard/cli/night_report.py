"""`night report`: what the night did, what it did not, and why."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from oculard.cli.context import AsJson, context, print_json, print_lines, print_table, say
from oculard.errors import Misconfigured
from oculard.upkeep.morning_words import Language

if TYPE_CHECKING:
    from oculard.upkeep.morning import Morning


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
    from oculard.upkeep.morning_page import page

    app = context(ctx).checked_app
    settings, spoken = app.settings, language or app.settings.night.report_language
    maker = MorningMaker(settings=settings, database=app.database, vault=app.vault, clock=app.clock)
    morning, zone = maker.make(maker.night(_day(night))), ZoneInfo(settings.night_zone)
    if html is not None:
        _write(html, page(morning, spoken, zone, station=settings.site.station))
    if as_json:
        print_json(told(morning, spoken))
    elif html is None:
        _print(morning, spoken, zone)
    if morning.open_matters:
        raise typer.Exit(1)


def _print(morning: Morning, language: Language, zone: ZoneInfo) -> None:
    from oculard.upkeep.morning_page import notes, numbers, verdict
    from oculard.upkeep.morning_tables import tables

    print_lines([verdict(morning, language), "", *notes(morning, language, zone), ""])
    print_lines([f"{value:>12}  {name}" for name, value in numbers(morning, language)])
    for table in tables(morning, language, zone):
        if table.rows:
            print_lines([""])
            print_table(table.columns, table.rows, title=table.title)
            if table.cut:
                print_lines([table.cut])


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
