"""`reannotate`: what another model version has done of some days, done again by the one that serves now."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from oculard.cli.backfill import Family, From, To, days_of, known_families
from oculard.cli.context import AsJson, context, print_json, print_table, say
from oculard.cli.people import who


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="The night")(reannotate)


def reannotate(
    ctx: typer.Context,
    from_: From = None,
    to: To = None,
    family: Family = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the night.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be ordered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Order again what the models in force have not done of the studies whose images were taken on some days.

    The new reports name the older ones, which stay. Asking twice orders nothing twice.
    """
    from oculard.job import Wish
    from oculard.upkeep.reannotation import tell

    found = context(ctx)
    (first, last), families = days_of(from_, to), known_families(found, family or [])
    app, actor, wish = found.checked_app, who(), Wish(families=families, window="now" if now else "night")
    again, zone = app.reannotation, ZoneInfo(app.settings.site.time_zone)
    studies = app.reannotations.studies(first, last, zone)
    told = tell(again.look(one, wish) if dry_run else again.order(one, wish, actor=actor) for one in studies)
    if as_json:
        fields = {"jobs": dict(told.jobs), "under_way": told.under_way, "removed": told.removed}
        print_json({"studies": told.studies, "ordered": not dry_run, **fields})
        return
    print_table(("family", "would be ordered" if dry_run else "ordered"), sorted(told.jobs.items()))
    say(f"{told.studies} studies of these days are here")
    if told.under_way:
        say(f"{told.under_way} jobs were left alone: earlier ones on the same images have not ended yet")
    if told.removed:
        say(f"{told.removed} jobs need images that retention has removed: `oculard backfill` brings them back")
