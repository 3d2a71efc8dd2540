"""`backfill`: the studies of an archive, fetched by the daemon and annotated by what serves now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oculard.cli.context import AsJson, Context, context, local, print_json, print_table, say
from oculard.cli.people import who
from oculard.cli.preview import print_preview
from oculard.errors import Misconfigured

if TYPE_CHECKING:
    from rich.progress import Progress

    from oculard.app import App
    from oculard.settings_night import Archive as Entry
    from oculard.store.backfills import Backfill, Range

FORMATS = ["%Y-%m-%d", "%Y%m%d"]
LOOK_S = 1.0
EXIT_INTERRUPTED = 130
WANTED = ("id", "archive", "origin", "from", "to", "modalities", "families")
COLUMNS = (*WANTED, "state", "asked_to", "found", "complete", "gone", "failed", "reason", "remarks")
TROUBLED = ("study_date", "study_instance_uid", "state", "reason", "attempts", "lacks")
From = Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="The first study date.")]
To = Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="The last study date.")]
Family = Annotated[list[str] | None, typer.Option(help="Only this family of estimators; may be repeated.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="The night")(backfill)


def backfill(
    ctx: typer.Context,
    from_: From = None,
    to: To = None,
    archive: Annotated[str | None, typer.Option(help="An archive of the configuration; its only one.")] = None,
    modality: Annotated[
        str | None, typer.Option(help="As in OP,OPT, or `all`; else those that the night fetches.")
    ] = None,
    family: Family = None,
    anytime: Annotated[bool, typer.Option("--anytime", help="Fetch also outside the night.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only ask the archive, and say what would come.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Order, and do not wait.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="The newest orders, and how far they are.")] = False,
    stop: Annotated[int | None, typer.Option(help="Stop this order; the same order continues it.")] = None,
    retry: Annotated[int | None, typer.Option(help="Try again what failed or was gone in this order.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the studies of some days from an archive and annotate them. Exit code 1 when not all came, or are known."""
    found = context(ctx)
    if list_:
        _print_list(found.checked_app, as_json)
    elif stop is not None:
        _stop(found.checked_app, stop)
    elif retry is not None:
        _retry(found.checked_app, retry)
    else:
        entry = _entry(found, archive)
        wanted = _range(found, entry, from_, to, modality, family or [], anytime=anytime)
        if dry_run:
            print_preview(found.checked_app, entry, wanted, as_json=as_json)
        else:
            _order(found.checked_app, wanted, detach=detach, as_json=as_json)


def backfill_rows(app: App, *, active: bool) -> list[dict[str, Any]]:
    """The newest orders as data, or those that are under way."""
    return [_row(app, one) for one in app.backfills.recent(active=active)]


def _row(app: App, one: Backfill) -> dict[str, Any]:
    """What was wanted, and how far it is."""
    from oculard.store.backfills import why_waiting

    known = {archive.name for archive in app.settings.archives}
    return {
        "id": one.id,
        "archive": one.range.archive,
        "origin": one.origin,
        "from": one.range.first.isoformat(),
        "to": one.range.last.isoformat(),
        "modalities": list(one.range.modalities),
        "families": list(one.range.families),
        "anytime": one.range.anytime,
        "state": one.state,
        "asked_to": None if one.found_to is None else one.found_to.isoformat(),
        "reason": why_waiting(one.range.archive, one.state, one.reason, known=known),
        "remarks": dict(one.remarks),
        "gaps": one.gaps,
        **app.backfills.progress(one.id),
    }


def print_backfills(rows: Sequence[dict[str, Any]], *, title: str | None = None) -> None:
    """The orders as a table."""
    told = [
        row
        | {"modalities": " ".join(row["modalities"]) or "all", "families": " ".join(row["families"]) or "as planned"}
        | {"remarks": ", ".join(f"{reason} {count}" for reason, count in row["remarks"].items())}
        for row in rows
    ]
    print_table(COLUMNS, [[row[column] for column in COLUMNS] for row in told], title=title)


def days_of(from_: datetime | None, to: datetime | None) -> tuple[date, date]:
    """Both ends of the range. Raises Misconfigured."""
    from oculard.store.backfills import YEARS

    if from_ is None or to is None:
        raise Misconfigured("say which days", hint="--from 2026-01-01 --to 2026-01-31")
    if to < from_:
        raise Misconfigured("the range ends before it begins")
    if not YEARS[0] <= from_.year <= to.year <= YEARS[1]:
        raise Misconfigured(f"years are {YEARS[0]} to {YEARS[1]}", hint="--from 2026-01-01 --to 2026-01-31")
    return from_.date(), to.date()


def known_families(found: Context, families: Sequence[str]) -> tuple[str, ...]:
    """The families, which must be in the configuration. Raises Misconfigured."""
    for name in families:
        if name not in found.settings.worker.estimators:
            raise Misconfigured(f"no family is called `{name}`", hint="`oculard models` lists them")
    return tuple(dict.fromkeys(families))


def _entry(found: Context, name: str | None) -> Entry:
    archives = found.settings.archives
    chosen = [entry for entry in archives if name in (None, entry.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(entry.name for entry in archives)
    if not archives:
        raise Misconfigured("no archive is configured", hint="[[archives]] says where studies are fetched from")
    raise Misconfigured(f"say which archive: {names}" if name is None else f"no archive is called `{name}`: {names}")


def _range(
    found: Context,
    entry: Entry,
    from_: datetime | None,
    to: datetime | None,
    modality: str | None,
    families: Sequence[str],
    *,
    anytime: bool,
) -> Range:
    from oculard.store.backfills import Range

    first, last = days_of(from_, to)
    named = found.settings.night.backfill_modalities if modality is None else modality.upper().split(",")
    modalities = [name.strip() for name in named if name.strip()]
    return Range(
        archive=entry.name,
        first=first,
        last=last,
        modalities=() if modalities == ["ALL"] else tuple(dict.fromkeys(modalities)),
        families=known_families(found, families),
        anytime=anytime,
    )


def _print_list(app: App, as_json: bool) -> None:
    rows = backfill_rows(app, active=False)
    if as_json:
        print_json(rows)
    else:
        print_backfills(rows)


def _stop(app: App, backfill_id: int) -> None:
    if not app.backfills.stop(backfill_id, actor=who()):
        raise Misconfigured(f"back-fill {backfill_id} is not under way", hint="`oculard backfill --list`")
    say(f"back-fill {backfill_id} is stopped; what is being fetched now still comes")


def _retry(app: App, backfill_id: int) -> None:
    moved = app.backfills.retry(backfill_id, actor=who())
    if not moved:
        raise Misconfigured(f"back-fill {backfill_id} has nothing to try again", hint="`oculard backfill --list`")
    say(f"{moved} studies of back-fill {backfill_id} will be tried again")


def _order(app: App, wanted: Range, *, detach: bool, as_json: bool) -> None:
    backfill_id = app.backfills.order(wanted, actor=who())
    say(f"back-fill {backfill_id} is ordered: {wanted.first} to {wanted.last} of `{wanted.archive}`")
    if not any(role.role == "fetcher" and app.roles.is_alive(role) for role in app.roles.list()):
        say("but no fetcher runs: start `oculard run` or `oculard fetcher`, and it begins")
        raise typer.Exit(1)
    _say_when(app, wanted)
    if not detach:
        _follow(app, backfill_id)
    row = _row(app, _kept(app, backfill_id))
    troubled = [one | {"lacks": _lacks(one)} for one in app.backfills.troubled(backfill_id)]
    if as_json:
        print_json(row | {"troubled": troubled})
    elif not detach:
        print_backfills([row])
        if troubled:
            print_table(TROUBLED, [[one[column] for column in TROUBLED] for one in troubled], title="Did not come")
    if row["gaps"]:
        say("the archive did not answer for all of these days (see the remarks): their studies are not all known")
    if row["failed"] or row["gaps"] or (row["state"] != "done" and not detach):
        raise typer.Exit(1)


def _say_when(app: App, wanted: Range) -> None:
    from oculard.night import next_window

    window = next_window(app.settings.night, app.clock.now(), app.settings.night_zone)
    if not wanted.anytime and not window.holds(app.clock.now()):
        say(f"it waits for the night, which begins at {local(window.start)}; --anytime does not wait")


def _follow(app: App, backfill_id: int) -> None:
    """Show how it goes on until it ends; Ctrl-C ends the showing alone."""
    with _progress() as progress:
        bar, begun, first = progress.add_task("finding", total=None, told=""), app.clock.now(), None
        try:
            for one, counts in _looks(app, backfill_id):
                ended = counts["complete"] + counts["gone"] + counts["failed"]
                first = ended if first is None else first
                minutes = max((app.clock.now() - begun).total_seconds(), LOOK_S) / 60
                told = f"{counts['complete']} complete, {counts['failed']} failed, {counts['gone']} gone"
                told += f", {(ended - first) / minutes:.0f} a minute"
                told += f", {one.reason}" if one.reason else ""
                total = counts["found"] if one.state != "finding" else None
                progress.update(bar, completed=ended, total=total, description=one.state, told=told)
        except KeyboardInterrupt:
            how = f"`oculard backfill --list` shows it, `--stop {backfill_id}` stops it"
            say(f"back-fill {backfill_id} goes on in the daemon: {how}")
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _kept(app: App, backfill_id: int) -> Backfill:
    one = app.backfills.get(backfill_id)
    assert one is not None, "it was ordered"
    return one


def _looks(app: App, backfill_id: int) -> Iterator[tuple[Backfill, dict[str, int]]]:
    while True:
        one = _kept(app, backfill_id)
        yield one, app.backfills.progress(backfill_id)
        if one.state in ("done", "stopped"):
            return
        app.clock.sleep(LOOK_S)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _lacks(one: dict[str, Any]) -> str:
    """Which series are short, and by how much."""
    short = {uid: count - one["held"].get(uid, 0) for uid, count in one["expected"].items()}
    return ", ".join(f"{count} of {uid}" for uid, count in short.items() if count > 0)
