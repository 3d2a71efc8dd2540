"""`retry`, `allow`, `settle`, `acknowledge`: what only a person may decide. Each leaves an event with who did it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from oculard.cli.context import AsJson, context, print_json, print_table, say
from oculard.cli.watch import NotFound
from oculard.errors import Misconfigured


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retry, allow, settle, acknowledge):
        app.command(rich_help_panel="Deciding")(command)


def retry(
    ctx: typer.Context,
    job: Annotated[int | None, typer.Option(help="This failed job.")] = None,
    jobs: Annotated[bool, typer.Option("--all-jobs", help="Every failed job.")] = False,
    delivery: Annotated[int | None, typer.Option(help="This parked delivery.")] = None,
    peer: Annotated[str | None, typer.Option(help="Every parked delivery to this peer.")] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Every parked commitment answer.")] = False,
) -> None:
    """Let failed jobs run again, and parked deliveries and commitment answers be sent again."""
    if not any((job is not None, jobs, delivery is not None, peer, answers)):
        hint = "--job N, --all-jobs, --delivery N, --peer NAME or --answers"
        raise Misconfigured("nothing to retry was named", hint=hint)
    app, actor, moved = context(ctx).checked_app, who(), 0
    if job is not None or jobs:
        moved += app.jobs.requeue(job_id=job, actor=actor)
    if delivery is not None or peer:
        moved += app.deliveries.resend(peer=peer, delivery_id=delivery, actor=actor)
    if answers:
        moved += app.answers.resend(actor=actor)
    say(f"{moved} will be tried again")
    if moved == 0:
        raise NotFound("nothing of that kind has failed or is parked", hint="`oculard jobs --state failed` lists them")


def allow(
    ctx: typer.Context,
    who_: Annotated[
        str | None, typer.Argument(metavar="WHO", help="Number, AE title or address of a refused caller.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a refused sender in. Without a name: list who was refused, and why."""
    callers = context(ctx).checked_app.callers
    found = callers.list(state="refused") if who_ is None else callers.allow(who_)
    if who_ is not None and not found:
        raise NotFound("nobody of that name was refused", hint="`oculard allow` lists who was")
    rows = [{name: getattr(caller, name) for name in caller.__dataclass_fields__} for caller in found]
    if as_json:
        print_json(rows)
        return
    columns = ("id", "calling_ae", "called_ae", "address", "state", "reason", "count", "last_at")
    print_table(columns, [[row[column] for column in columns] for row in rows])


def settle(ctx: typer.Context, identity: str) -> None:
    """Settle a study now, without waiting until its device has been quiet."""
    from oculard.inference.estimators import families, find
    from oculard.upkeep.settling import Settling

    app = context(ctx).checked_app
    bundles, _ = find(app.settings.worker.bundles)
    settling = Settling(app.settings, app.studies, families(bundles, app.settings.worker.estimators), app.clock)
    settled = [study for study in app.trace.find(identity) if settling.settle_now(study, actor=who())]
    say(f"{len(settled)} settled")
    if not settled:
        raise NotFound("no open study is known under that name")


def acknowledge(ctx: typer.Context, name: str, subject: str) -> None:
    """Clear an alarm that somebody has looked at."""
    if not context(ctx).checked_app.alarms.clear(name, subject):
        raise NotFound("no such alarm stands", hint="`oculard status` lists them: give its name and its subject")
    say("cleared")


def who() -> str:
    """Who gives the command."""
    return f"person:{getpass.getuser()}"[:128]
