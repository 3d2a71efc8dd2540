"""`retry`, `allow`, `settle`, `acknowledge`: what only a person may decide. Each leaves an event with who did it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from oculard.cli.context import AsJson, context, print_json, print_table, say
from oculard.cli.watch import Identity, NotFound
from oculard.errors import Misconfigured, OculardError

if TYPE_CHECKING:
    from oculard.store.callers import Caller

EVERYONE = "`oculard allow --all` lists who was refused and who is allowed, with numbers"
NUMBER_MAX = (1 << 63) - 1  # of a row
LISTED_MAX = 10


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
    to: Annotated[str | None, typer.Option(help="Send them to this peer instead, unless it has them.")] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Every parked commitment answer.")] = False,
    notices: Annotated[bool, typer.Option("--notices", help="Every parked notice, to who has it not.")] = False,
) -> None:
    """Let failed jobs run again, and parked deliveries, commitment answers and notices be sent again."""
    if not any((job is not None, jobs, delivery is not None, peer, answers, notices)):
        hint = "--job N, --all-jobs, --delivery N, --peer NAME, --answers or --notices"
        raise Misconfigured("nothing to retry was named", hint=hint)
    app, actor, moved = context(ctx).checked_app, who(), 0
    if to and delivery is None and not peer:
        raise Misconfigured("nothing to send there was named", hint="--peer NAME or --delivery N")
    _check_peer(to or peer, [known.name for known in app.settings.peers])  # with --to, the old one may be gone
    if job is not None or jobs:
        moved += app.jobs.requeue(job_id=job, actor=actor)
    if delivery is not None or peer:
        moved += app.deliveries.resend(peer=peer, delivery_id=delivery, to=to, actor=actor)
    if answers:
        moved += app.answers.resend(actor=actor)
    if notices:
        moved += app.notices.resend(actor=actor)
    say(f"{moved} will be tried again")
    if moved == 0:
        hint = "`oculard jobs --state failed` and `oculard deliveries --state parked` list what has"
        raise NotFound("nothing of that kind has failed or is parked", hint=hint)


def _check_peer(name: str | None, known: Sequence[str]) -> None:
    if name and name not in known:
        hint = f"known are {', '.join(known) or 'none'}; --peer OLD --to NEW sends elsewhere what a lost peer left"
        raise Misconfigured(f"no peer is called `{name}`", hint=hint)


def allow(
    ctx: typer.Context,
    who_: Annotated[
        str | None, typer.Argument(metavar="WHO", help="Number of a caller; or AE title or address of one refused.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="List the allowed too.")] = False,
    remove: Annotated[
        int | None, typer.Option(min=1, max=NUMBER_MAX, help="Refuse this allowed caller from its next call on.")
    ] = None,
    commitment_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where WHO listens for storage commitment answers.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a refused sender in. Without a name: list who was refused, and why."""
    if (who_ is not None) + everyone + (remove is not None) > 1 or (commitment_port is not None and who_ is None):
        raise Misconfigured("give WHO, --all or --remove N", hint="--commitment-port goes with WHO")
    app = context(ctx).checked_app
    found: list[Caller | None] = []
    if who_ is not None:
        meant = _meant(app.callers.list(), who_, app.settings.intake.ae_title)
        found = [app.callers.allow(meant.id, actor=who(), commitment_port=commitment_port)]
    elif remove is not None:
        found = [app.callers.remove(remove, actor=who())]
    else:
        found = [*app.callers.list(state=None if everyone else "refused")]
    rows = [asdict(caller) for caller in found if caller is not None]
    if len(rows) < len(found):
        raise NotFound("nobody of that number is there", hint=EVERYONE)
    if as_json:
        print_json(rows)
        return
    columns = ("id", "calling_ae", "called_ae", "address", "state", "reason", "count", "commitment_port", "last_at")
    print_table(columns, [[row[column] for column in columns] for row in rows])


def _meant(callers: Sequence[Caller], who_: str, our_ae_title: str) -> Caller:
    """The one caller that a person means. A name that several bear lets nobody in: its bearers may be strangers."""
    from oculard.intake.policy import CALLED_WRONGLY, NEVER_ALLOWED, hint_of

    if who_.isdecimal():
        named = [caller for caller in callers if str(caller.id) == who_]
    else:
        refused = [caller for caller in callers if caller.state == "refused"]
        named = [caller for caller in refused if who_ in (caller.calling_ae, caller.address)]
    possible = [caller for caller in named if caller.reason not in NEVER_ALLOWED or caller.state == "allowed"]
    if not named:
        raise NotFound(f"no caller `{who_}` was refused", hint=EVERYONE)
    if not possible:
        words = f"`{who_}` called {named[0].called_ae!a}, which is not our AE title"
        if named[0].reason != CALLED_WRONGLY:
            words = f"`{who_}` does not prove that it is {named[0].calling_ae!a}"
        raise OculardError(words, reason=named[0].reason, hint=hint_of(named[0].reason, our_ae_title))
    if len(possible) > 1:
        words = ", ".join(f"{one.id} ({one.calling_ae!a} from {one.address})" for one in possible[:LISTED_MAX])
        words = f"`{who_}` names {len(possible)} refused callers: {words}"
        raise OculardError(words, reason="caller-ambiguous", hint=f"give its number: `oculard allow {possible[0].id}`")
    return possible[0]


def settle(ctx: typer.Context, identity: Identity) -> None:
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


def acknowledge(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The alarm's name, as `oculard status` shows it.")],
    subject: Annotated[str | None, typer.Argument(help="Its subject; without one, every alarm of that name.")] = None,
) -> None:
    """Clear alarms that somebody has looked at."""
    alarms = context(ctx).checked_app.alarms
    subjects = [alarm.subject for alarm in alarms.standing() if alarm.name == name and subject in (None, alarm.subject)]
    if not [one for one in subjects if alarms.acknowledge(name, one, actor=who())]:
        raise NotFound("no such alarm stands", hint="`oculard status` lists them")
    say("cleared")


def who() -> str:
    """Who gives the command."""
    return f"person:{getpass.getuser()}"[:128]
