"""The morning report: what a night did, what it did not, and why. Its periods follow each other without a gap."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from oculard.clock import Clock
from oculard.errors import Misconfigured
from oculard.job import DeliveryEvent, JobEvent
from oculard.night import Window, last_window, window_of
from oculard.settings import Settings
from oculard.store.database import Database
from oculard.store.forecast import days_left
from oculard.store.mornings import SLOWEST, Mornings, Row, Span
from oculard.store.vault import GIB, Vault

TELL_WITHIN = timedelta(days=2)  # an older night is no news
A_MOMENT = timedelta(microseconds=1)


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
    peers: list[Row]  # peer, delivered, committed, parked, retried, under_way, reasons
    slowest: list[Row]
    new_senders: list[str]
    refused_callers: list[Row]
    backfills: list[Row]
    folders: list[Row]
    alarms: list[Row]
    models: list[Row]
    people: list[Row]  # [] unless the site asks for them
    free_gib: float
    disk_days: float | None

    def total(self, column: str) -> int:
        """A column of the families, added up."""
        return sum(row[column] for row in self.families)

    @property
    def parked(self) -> int:
        """Reports that no peer took, and that wait for a person."""
        return sum(row["parked"] for row in self.peers)

    @property
    def missed(self) -> int:
        """Jobs that the night did not reach."""
        return sum(row["count"] for row in self.not_reached)

    @property
    def standing(self) -> int:
        """Alarms that stood at the end."""
        return sum(row["cleared_at"] is None for row in self.alarms)

    @property
    def unfetched(self) -> int:
        """Studies of back-fills that could not be fetched."""
        return sum(
            state["count"] for row in self.backfills for state in row["studies"] if state["state"] in ("failed", "gone")
        )

    @property
    def needs_a_person(self) -> bool:
        """Whether there is something that does not go away by itself."""
        return bool(self.total("failed") or self.parked or self.standing or self.unfetched)


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
        window = window_of(night, day, zone)
        if window is None:
            raise Misconfigured(f"no night begins on {day}", hint="[night] days says on which days one does")
        if window.start > now:
            raise Misconfigured(f"the night of {day} has not begun", hint="`oculard night plan` looks ahead")
        return window

    def make(self, window: Window) -> Morning:
        """The report of a night; of one that is not over, so far."""
        night, zone, now = self.settings.night, self.settings.night_zone, self.clock.now()
        before = last_window(night, window.end - A_MOMENT, zone)
        span = Span(start=before.end, end=min(window.end, now))
        told, took = Mornings(self.database), Mornings(self.database).took(span)
        free, mark = self.vault.free_gib(), self.settings.store.disk_free_min_gib
        return Morning(
            night=window.day,
            window=window,
            span=span,
            is_over=window.end <= now,
            events=told.events(span),
            received=told.received(span),
            families=families(told.ended(span), took),
            reasons=reasons(told.ended(span)),
            not_reached=not_reached(told.not_reached(span), frozenset(night.quotas)),
            peers=peers(told.deliveries(span), told.under_way()),
            slowest=took[:SLOWEST],
            new_senders=told.new_senders(span),
            refused_callers=told.refused_callers(span),
            backfills=told.backfills(span),
            folders=told.folders(span),
            alarms=told.alarms(span),
            models=told.models(span),
            people=told.people(span) if night.report_patients else [],
            free_gib=free,
            disk_days=days_left(self.database, free * GIB, mark * GIB, now),
        )


OUTCOMES = {JobEvent.DONE: "done", JobEvent.REJECT: "rejected", JobEvent.GIVE_UP: "failed"}


def families(ended: list[Row], took: list[Row]) -> list[Row]:
    """How many jobs of each family and estimator ended how, and how long one took."""
    lines: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in ended:
        lines[row["family"], row["estimator"]][OUTCOMES[row["event"]]] += row["count"]
    for row in took:
        seconds[row["family"], row["estimator"]].append(row["seconds"])
    return [
        {
            "family": family,
            "estimator": estimator,
            **{name: counts[name] for name in OUTCOMES.values()},
            "mean_s": _mean(seconds[family, estimator]),
        }
        for (family, estimator), counts in sorted(lines.items())
    ]


def reasons(ended: list[Row]) -> list[Row]:
    """Why jobs were rejected or failed."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in ended:
        if row["event"] != JobEvent.DONE:
            counts[OUTCOMES[row["event"]], row["family"], row["reason"] or ""] += row["count"]
    return [
        {"outcome": outcome, "family": family, "reason": reason, "count": count}
        for (outcome, family, reason), count in sorted(counts.items())
    ]


def not_reached(rows: list[Row], with_quota: frozenset[str]) -> list[Row]:
    """Why night jobs had not begun: what was never let run, where the family has a quota, waits for that."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        was_let_run = row["name"] in (JobEvent.RELEASE, JobEvent.WITHDRAW, JobEvent.RETRY, JobEvent.LOST)
        why = "quota" if row["family"] in with_quota and not was_let_run else "time"
        counts[row["family"], why] += row["count"]
    return [{"family": family, "why": why, "count": count} for (family, why), count in sorted(counts.items())]


def peers(rows: list[Row], under_way: list[Row]) -> list[Row]:
    """What each peer took, promised to keep, refused and is owed."""
    lines: dict[str, Counter[str]] = defaultdict(Counter)
    why: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        lines[row["peer"]][row["event"]] += row["count"]
        if row["event"] in (DeliveryEvent.PARK, DeliveryEvent.RETRY) and row["reason"]:
            why[row["peer"]][row["reason"]] += row["count"]
    for row in under_way:
        lines[row["peer"]]["under_way"] += row["count"]
    return [
        {
            "peer": peer,
            "delivered": counts[DeliveryEvent.DONE] + counts[DeliveryEvent.COMMIT],
            "committed": counts[DeliveryEvent.COMMIT],
            "retried": counts[DeliveryEvent.RETRY],
            "parked": counts[DeliveryEvent.PARK],
            "under_way": counts["under_way"],
            "reasons": dict(why[peer]),
        }
        for peer, counts in sorted(lines.items())
    ]


def as_json(morning: Morning, language: str) -> dict[str, Any]:
    """The report for a program; keys stay."""
    from oculard.upkeep.morning_page import verdict

    return {
        "night": morning.night.isoformat(),
        "window": {"start": morning.window.start, "end": morning.window.end},
        "period": {"start": morning.span.start, "end": morning.span.end},
        "over": morning.is_over,
        "verdict": verdict(morning, language),
        "needs_a_person": morning.needs_a_person,
        "disk": {"free_gib": round(morning.free_gib, 2), "days_left": morning.disk_days},
        **{name: getattr(morning, name) for name in LISTS},
        **({"people": morning.people} if morning.people else {}),
    }


LISTS = (
    "families",
    "reasons",
    "not_reached",
    "peers",
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


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
