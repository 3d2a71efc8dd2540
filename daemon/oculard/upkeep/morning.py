"""The morning report: what a night did, what it did not, and why. Its periods follow each other without a gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from oculard.clock import Clock
from oculard.errors import Misconfigured
from oculard.night import Window, last_window, window_of
from oculard.settings import Settings
from oculard.settings_night import DAYS
from oculard.store.backfills import ARCHIVE_UNKNOWN, why_waiting
from oculard.store.database import Database
from oculard.store.forecast import days_left
from oculard.store.mornings import Mornings, Row, Span
from oculard.store.vault import GIB, Vault
from oculard.upkeep.morning_rows import bad_ends, families, not_reached, peers, reasons

TELL_WITHIN = timedelta(days=2)  # an older night is no news
A_MOMENT = timedelta(microseconds=1)
FIRST_DAY = date(2000, 1, 1)  # no night is older; the calendar has an end on that side too


@dataclass(frozen=True, slots=True, kw_only=True)
class Morning:
    """Everything that the report says; plain values, the same on every surface."""

    night: date
    window: Window
    span: Span  # from the end of the night before
    is_over: bool
    events: dict[str, dict[str, int]]
    received: list[Row]
    families: list[Row]  # family, estimator, done, rejected, failed, mean_s
    reasons: list[Row]  # outcome, family, reason, count
    not_reached: list[Row]  # family, why, count
    peers: list[Row]  # peer, delivered, committed, retried, parked; at the end under_way, parked_still; reasons
    slowest: list[Row]
    new_senders: list[str]
    refused_callers: list[Row]
    backfills: list[Row]
    folders: list[Row]
    alarms: list[Row]
    models: list[Row]
    bad_ends: list[Row]  # job_id, family, eye, outcome, reason; the patient only where the site asks for it
    failed_still: int
    free_gib: float
    disk_days: float | None

    def total(self, column: str) -> int:
        """A column of the families, added up."""
        return _sum(self.families, column)

    @property
    def missed(self) -> int:
        """Jobs that the night did not reach."""
        return _sum(self.not_reached, "count")

    @property
    def totals(self) -> dict[str, int]:
        """The numbers that are asked for first."""
        return {
            "images": self.events.get("instance", {}).get("received", 0),
            "studies": self.events.get("study", {}).get("settled", 0),
            **{name: self.total(name) for name in ("done", "rejected", "failed")},
            "not_reached": self.missed,
            "reports": _sum(self.models, "count"),
            **{name: _sum(self.peers, name) for name in ("delivered", "committed", "under_way", "parked_still")},
        }

    @property
    def standing(self) -> int:
        """Alarms that stood at the end."""
        return sum(row["cleared_at"] is None for row in self.alarms)

    @property
    def unfetched(self) -> int:
        """Studies that an archive has and did not give."""
        return sum(
            _sum([state for state in row["studies"] if state["state"] == "failed"], "count") for row in self.backfills
        )

    @property
    def open_matters(self) -> dict[str, int]:
        """What does not go away by itself: a person should look."""
        matters = {
            "failed": self.failed_still,
            "parked": self.totals["parked_still"],
            "standing": self.standing,
            "unfetched": self.unfetched,
            "unasked": _sum(self.backfills, "gaps"),
            "stranded": sum(row["reason"] == ARCHIVE_UNKNOWN for row in self.backfills),
        }
        return {name: count for name, count in matters.items() if count}

    @property
    def is_demonstration(self) -> bool:
        """Whether weights were used that mean nothing for people."""
        return any(row["demonstration"] for row in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class MorningMaker:
    """Makes reports from the database."""

    settings: Settings
    database: Database
    vault: Vault
    clock: Clock

    def night(self, day: date | None) -> Window:
        """The night that began on that date; the last that is over when none is given. Raises Misconfigured."""
        night, zone, now = self.settings.night, self.settings.night_zone, self.clock.now()
        if day is None:
            return last_window(night, now, zone)
        if day < FIRST_DAY:
            raise Misconfigured(f"nothing is known of {day}", hint="as in 2026-11-28: the evening on which it began")
        window = window_of(night, day, zone) if day <= now.astimezone(ZoneInfo(zone)).date() else None
        if window is None and DAYS[day.weekday()] not in night.days:
            raise Misconfigured(f"no night begins on {day}", hint="[night] days says on which days one does")
        if window is None or window.start > now:
            raise Misconfigured(f"the night of {day} has not begun", hint="`oculard night plan` looks ahead")
        return window

    def make(self, window: Window) -> Morning:
        """The report of a night; of one that is not over, so far."""
        night, zone, now = self.settings.night, self.settings.night_zone, self.clock.now()
        before = last_window(night, window.end - A_MOMENT, zone)
        span = Span(start=before.end, end=min(window.end, now))
        told = Mornings(self.database)
        ended, bad = told.ended(span), told.bad_ends(span)
        patients = told.patients([row["job_id"] for row in bad]) if night.report_patients else {}
        free, mark = self.vault.free_gib(), self.settings.store.disk_free_min_gib
        return Morning(
            night=window.day,
            window=window,
            span=span,
            is_over=window.end <= now,
            events=told.events(span),
            received=told.received(span),
            families=families(ended, told.took(span)),
            reasons=reasons(ended),
            not_reached=not_reached(
                told.not_reached(span, window.start), told.let_run(span, window.start), night.quotas
            ),
            peers=peers(told.deliveries(span), told.owed(span)),
            slowest=told.slowest(span),
            new_senders=told.new_senders(span),
            refused_callers=told.refused_callers(span),
            backfills=self._backfills(told.backfills(span)),
            folders=told.folders(span),
            alarms=told.alarms(span),
            models=told.models(span),
            bad_ends=bad_ends(bad, patients),
            failed_still=told.failed_still(span),
            free_gib=free,
            disk_days=days_left(self.database, free * GIB, mark * GIB, now),
        )

    def _backfills(self, rows: list[Row]) -> list[Row]:
        """With those that cannot go on, since their archive is in the configuration no more."""
        known = {archive.name for archive in self.settings.archives}
        return [row | {"reason": why_waiting(row["archive"], row["state"], row["reason"], known=known)} for row in rows]


def as_json(morning: Morning, language: str) -> dict[str, Any]:
    """The report for a program; keys stay."""
    from oculard.upkeep.morning_page import verdict

    return {
        "night": morning.night.isoformat(),
        "window": {"start": morning.window.start, "end": morning.window.end},
        "period": {"start": morning.span.start, "end": morning.span.end},
        "over": morning.is_over,
        "verdict": verdict(morning, language),
        "needs_a_person": bool(morning.open_matters),
        "open_matters": morning.open_matters,
        "demonstration": morning.is_demonstration,
        "totals": morning.totals,
        "disk": {"free_gib": round(morning.free_gib, 2), "days_left": morning.disk_days},
        **{name: getattr(morning, name) for name in LISTS},
    }


LISTS = (
    "families",
    "reasons",
    "not_reached",
    "peers",
    "bad_ends",
    "slowest",
    "received",
    "new_senders",
    "refused_callers",
    "backfills",
    "folders",
    "alarms",
    "models",
    "events",
)


def is_news(window: Window, now: datetime) -> bool:
    """Whether people should still be told of a night that is over."""
    return window.end <= now < window.end + TELL_WITHIN


def _sum(rows: list[Row], column: str) -> int:
    return sum(row[column] for row in rows)
