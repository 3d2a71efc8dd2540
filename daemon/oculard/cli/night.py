"""`night plan` and `night report`: what the night will do, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import typer

from oculard.cli.context import AsJson, context, print_json, print_lines, print_table
from oculard.cli.night_report import report

if TYPE_CHECKING:
    from oculard.upkeep.night_plan import Kind, Plan

COLUMNS = (
    "family",
    "estimator",
    "waiting",
    "quota left",
    "a job",
    "all of them",
    "reached",
    "not: quota",
    "not: time",
    "done at",
)
night = typer.Typer(help="What the night will do, and what it did.", no_args_is_help=True)
night.command()(report)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(night, name="night")


@night.command()
def plan(ctx: typer.Context, as_json: AsJson = False) -> None:
    """The window that is open, or the next: what it will reach, what not and why, when it will be done."""
    from oculard.upkeep.night_plan import plan_night

    app = context(ctx).checked_app
    zone = app.settings.night_zone
    found = plan_night(app.settings.night, zone, app.night_jobs, app.clock.now())
    if as_json:
        print_json(_told(found, zone))
    else:
        _print_plan(found, ZoneInfo(zone), app.settings.night.quotas)


def _told(found: Plan, zone: str) -> dict[str, Any]:
    window = found.window
    return {
        "night": window.day.isoformat(),
        "start": window.start,
        "end": window.end,
        "time_zone": zone,
        "open": found.is_open,
        "workers": found.workers,
        "ends_at": found.ends_at,
        "families": [_family(kind, found) for kind in found.kinds],
    }


def _family(kind: Kind, found: Plan) -> dict[str, Any]:
    return {
        "family": kind.family,
        "estimator": kind.estimator,
        "waiting": kind.waiting,
        "quota_left": found.left.get(kind.family),
        "job_s": round(kind.speed.mean_s, 3),
        "job_s_p90": round(kind.speed.p90_s, 3),
        "measured_on": kind.speed.reports,
        "all_s": round(kind.all_s / max(1, found.workers), 1),
        "reached": kind.reached,
        "beyond_quota": kind.beyond_quota,
        "beyond_time": kind.beyond_time,
        "ends_at": kind.ends_at,
    }


def _print_plan(found: Plan, zone: ZoneInfo, quotas: Mapping[str, int]) -> None:
    print_lines(
        [
            f"Night of {found.window.day}: {_clock(found.window.start, zone)} to {_clock(found.window.end, zone)}"
            f" ({zone.key}), {'open' if found.is_open else 'to come'}",
            f"Workers: {found.workers}" if found.workers else "Workers: none is alive, reckoned with one",
        ]
    )
    if found.kinds:
        print_table(COLUMNS, [_row(kind, found, zone, quotas) for kind in found.kinds])
    else:
        print_lines(["Nothing waits for the night."])


def _row(kind: Kind, found: Plan, zone: ZoneInfo, quotas: Mapping[str, int]) -> tuple[Any, ...]:
    left = f"{found.left[kind.family]} of {quotas[kind.family]}" if kind.family in quotas else "no quota"
    how = f"measured, {kind.speed.reports} reports" if kind.speed.reports else "assumed"
    return (
        kind.family,
        kind.estimator,
        kind.waiting,
        left,
        f"{kind.speed.mean_s:.3g} s ({how})",
        _length(kind.all_s / max(1, found.workers)),
        kind.reached,
        kind.beyond_quota,
        kind.beyond_time,
        "" if kind.ends_at is None else _clock(kind.ends_at, zone),
    )


def _clock(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%m-%d %H:%M")


def _length(seconds: float) -> str:
    minutes = -(-int(seconds) // 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
