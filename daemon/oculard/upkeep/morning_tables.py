"""The tables of the morning report, in the order in which they are asked for; every cell is one printable line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from oculard.store.mornings import LISTED_MAX, Row
from oculard.upkeep.morning import Morning
from oculard.upkeep.morning_words import WORDS

Words = Mapping[str, str]
SHOWN_SHA = 12  # characters of a digest that tell weights apart at a glance


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    cut: str  # says that there are more rows; '' when there are not

    def pairs(self) -> Iterator[list[str]]:
        """Each row in words: what stands in it under which column."""
        for row in self.rows:
            yield [f"{column} {cell}" for column, cell in zip(self.columns, row, strict=True) if cell != ""]


def tables(morning: Morning, language: str, zone: ZoneInfo) -> list[Table]:
    """All of them, also those without rows."""
    words = WORDS[language]
    return [
        *_jobs(morning, words),
        _alarms(morning, words, zone),
        *_ways(morning, words, zone),
        *_details(morning, words),
    ]


def clean(cell: Any) -> Any:
    """A cell as one line of printable text: AE titles and subjects come from strangers."""
    if not isinstance(cell, str):
        return "" if cell is None else cell
    return "".join(sign if sign.isprintable() else "?" for sign in cell)


def clock(moment: datetime, zone: ZoneInfo) -> str:
    """A moment to the minute, as the site's clock shows it."""
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _table(words: Words, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    cells = tuple(tuple(clean(cell) for cell in row) for row in rows)
    return Table(
        name=name,
        title=words[name],
        columns=tuple(words[column] for column in columns),
        rows=cells,
        cut=words["cut"].format(count=len(cells)) if len(cells) >= LISTED_MAX else "",
    )


def _jobs(morning: Morning, words: Words) -> list[Table]:
    """What became of the jobs, and why."""
    ends = ("family", "estimator", "done", "rejected", "failed")
    return [
        _table(
            words,
            "families",
            (*ends, "mean_s"),
            ((*(row[name] for name in ends), _seconds(row["mean_s"])) for row in morning.families),
        ),
        _table(
            words,
            "reasons",
            ("outcome", "family", "reason", "count"),
            ((words[row["outcome"]], row["family"], row["reason"], row["count"]) for row in morning.reasons),
        ),
        _table(
            words,
            "not_reached",
            ("family", "why", "count"),
            ((row["family"], words[f"why_{row['why']}"], row["count"]) for row in morning.not_reached),
        ),
    ]


def _alarms(morning: Morning, words: Words, zone: ZoneInfo) -> Table:
    def cleared(moment: datetime | None) -> str:
        return words["stands"] if moment is None else clock(moment, zone)

    return _table(
        words,
        "alarms",
        ("alarm", "subject", "raised", "cleared"),
        (
            (row["name"], row["subject"], clock(row["raised_at"], zone), cleared(row["cleared_at"]))
            for row in morning.alarms
        ),
    )


def _ways(morning: Morning, words: Words, zone: ZoneInfo) -> list[Table]:
    """What came in by which way, and what went out."""
    sent = ("peer", "delivered", "committed", "retried", "parked", "under_way", "parked_still")
    return [
        _table(
            words,
            "peers",
            (*sent, "reason"),
            ((*(row[name] for name in sent), _counts(row["reasons"])) for row in morning.peers),
        ),
        _table(
            words,
            "backfills",
            ("archive", "days", "state", "found", "missing", "remarks"),
            (_backfill(row, words) for row in morning.backfills),
        ),
        _table(
            words,
            "received",
            ("sender", "outcome", "count"),
            ((row["sender"], _named(words, row["outcome"]), row["count"]) for row in morning.received),
        ),
        _table(words, "callers", ("sender", "reason"), _callers(morning, words, zone)),
        _table(
            words,
            "folders",
            ("folder", "outcome", "reason", "count"),
            ((row["folder"], _named(words, row["outcome"]), row["reason"], row["count"]) for row in morning.folders),
        ),
    ]


def _details(morning: Morning, words: Words) -> list[Table]:
    """What is looked up: single jobs, and the weights."""
    patient = [name for name in ("patient_id", "accession_number") if any(name in row for row in morning.bad_ends)]
    kinds = {0: words["is_research"], 1: words["is_demonstration"]}
    return [
        _table(
            words,
            "bad_ends",
            ("job", "outcome", "reason", "family", "eye", *patient),
            (
                (
                    row["job_id"],
                    words[row["outcome"]],
                    row["reason"],
                    row["family"],
                    words[f"eye_{row['eye']}"],
                    *(row.get(name, "") for name in patient),
                )
                for row in morning.bad_ends
            ),
        ),
        _table(
            words,
            "slowest",
            ("job", "family", "eye", "estimator", "seconds"),
            (
                (row["job_id"], row["family"], words[f"eye_{row['eye']}"], row["estimator"], _seconds(row["seconds"]))
                for row in morning.slowest
            ),
        ),
        _table(
            words,
            "models",
            ("estimator", "weights", "kind", "reports"),
            (
                (row["estimator"], row["weights_sha256"][:SHOWN_SHA], kinds[row["demonstration"]], row["count"])
                for row in morning.models
            ),
        ),
    ]


def _backfill(row: Row, words: Words) -> tuple[Any, ...]:
    days = [f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in (row["date_from"], row["date_to"])]
    studies: dict[str, int] = {}
    for state in row["studies"]:
        ended = state["reason"] if state["ended"] else None  # of one that is tried again, the reason is of a try
        name = _named(words, state["state"], ended)
        studies[name] = studies.get(name, 0) + state["count"]
    return (
        row["archive"],
        days[0] if days[0] == days[1] else " ~ ".join(days),
        _named(words, row["state"], row["reason"]),
        _counts(studies),
        row["missing"],
        _counts(row["remarks"]),
    )


def _callers(morning: Morning, words: Words, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    yield from ((name, words["new"]) for name in morning.new_senders)
    for row in morning.refused_callers:
        calls = words["calls"].format(count=row["count"], since=clock(row["first_at"], zone))
        who = f"{row['calling_ae']} > {row['called_ae']} ({row['address']})"
        yield who, words["colon"].join((row["reason"], calls))


def _named(words: Words, state: str, reason: str | None = None) -> str:
    """A state in words, with its reason; a state that has no words keeps its own."""
    name = words.get(f"is_{state}", state)
    return f"{name} ({reason})" if reason else name


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _seconds(value: float | None) -> float | str:
    return "" if value is None else round(value, 2)
