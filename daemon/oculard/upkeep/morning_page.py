"""The morning report as people read it: a verdict, then tables; as one page, as text, or for the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from oculard import __version__
from oculard.upkeep.morning import Morning
from oculard.upkeep.morning_words import WORDS

SHOWN_SHA = 12  # characters of a digest that tell weights apart at a glance
NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of the report; without rows it says that there are none."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def verdict(morning: Morning, language: str) -> str:
    """One sentence or two, so that a busy reader may stop there."""
    words = WORDS[language]
    counts = {name: morning.total(name) for name in ("done", "rejected", "failed")} | {"missed": morning.missed}
    said = words["verdict"].format(**counts) if any(counts.values()) else words["nothing"]
    look = {
        "look_failed": counts["failed"],
        "look_parked": morning.parked,
        "look_standing": morning.standing,
        "look_unfetched": morning.unfetched,
    }
    what = words["comma"].join(words[name].format(count=count) for name, count in look.items() if count)
    return f"{said} {words['look'].format(what=what) if what else words['fine']}"


def tables(morning: Morning, language: str, zone: ZoneInfo) -> list[Table]:
    """Everything else, in the order in which it is asked for."""
    return list(_tables(morning, WORDS[language], zone))


def page(morning: Morning, language: str, zone: ZoneInfo, *, station: str) -> str:
    """One self-contained HTML page: no script, nothing from elsewhere."""
    environment = Environment(
        loader=PackageLoader("oculard.upkeep", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("morning.html").render(
        language=language,
        station=station,
        needs_a_person=morning.needs_a_person,
        tables=tables(morning, language, zone),
        notes=_notes(morning, WORDS[language], zone),
        title=_title(morning, language),
        verdict=verdict(morning, language),
        footer=WORDS[language]["footer"].format(version=__version__),
        nothing=WORDS[language]["none"],
        is_number=lambda cell: isinstance(cell, NUMBERS),
    )


def text(morning: Morning, language: str, zone: ZoneInfo) -> str:
    """For mail programs and chats without HTML: what is empty is left out."""
    lines = [verdict(morning, language), *_notes(morning, WORDS[language], zone)]
    for table in tables(morning, language, zone):
        if table.rows:
            lines += ["", f"{table.title}:", *(f"  {' · '.join(_pairs(table, row))}" for row in table.rows)]
    return "\n".join([*lines, "", WORDS[language]["footer"].format(version=__version__)])


def notice(morning: Morning, language: str, zone: ZoneInfo, *, station: str) -> Mapping[str, str | None]:
    """Title, text and page, as a notice has them."""
    return {
        "title": f"{station}: {_title(morning, language)}",
        "text": text(morning, language, zone),
        "html": page(morning, language, zone, station=station),
    }


def _title(morning: Morning, language: str) -> str:
    return WORDS[language]["title"].format(night=morning.night.isoformat())


def _pairs(table: Table, row: Sequence[Any]) -> Iterator[str]:
    return (
        f"{column} {clean(cell)}" for column, cell in zip(table.columns, row, strict=True) if cell not in ("", None)
    )


def clean(cell: Any) -> str:
    """A cell as one line of printable text: AE titles come from strangers."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(cell))


def _notes(morning: Morning, words: Mapping[str, str], zone: ZoneInfo) -> list[str]:
    notes = [
        words["period"].format(
            start=_clock(morning.span.start, zone),
            end=_clock(morning.span.end, zone),
            zone=zone.key,
            open=_clock(morning.window.start, zone),
            close=_clock(morning.window.end, zone),
        )
    ]
    notes += [] if morning.is_over else [words["so_far"]]
    notes.append(words["estimates"])
    return notes + ([words["demonstration"]] if any(row["demonstration"] for row in morning.models) else [])


def _tables(morning: Morning, words: Mapping[str, str], zone: ZoneInfo) -> Iterator[Table]:
    def table(name: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> Table:
        return Table(name=name, title=words[name], columns=tuple(words[column] for column in columns), rows=tuple(rows))

    yield table(
        "families",
        ("family", "estimator", "done", "rejected", "failed", "mean_s"),
        (
            (r["family"], r["estimator"], r["done"], r["rejected"], r["failed"], _seconds(r["mean_s"]))
            for r in morning.families
        ),
    )
    yield table(
        "reasons",
        ("outcome", "family", "reason", "count"),
        ((words[r["outcome"]], r["family"], r["reason"], r["count"]) for r in morning.reasons),
    )
    yield table(
        "not_reached",
        ("family", "why", "count"),
        ((r["family"], words[f"why_{r['why']}"], r["count"]) for r in morning.not_reached),
    )
    yield table(
        "peers",
        ("peer", "delivered", "committed", "retried", "parked", "under_way", "reason"),
        (
            (
                *(r[name] for name in ("peer", "delivered", "committed", "retried", "parked", "under_way")),
                _counts(r["reasons"]),
            )
            for r in morning.peers
        ),
    )
    yield table(
        "alarms",
        ("alarm", "subject", "raised", "cleared"),
        (
            (r["name"], r["subject"], _clock(r["raised_at"], zone), _cleared(r["cleared_at"], words, zone))
            for r in morning.alarms
        ),
    )
    yield table("backfills", ("archive", "days", "state", "studies", "missing", "remarks"), _backfills(morning))
    yield table(
        "received", ("sender", "outcome", "count"), ((r["sender"], r["outcome"], r["count"]) for r in morning.received)
    )
    yield table("callers", ("sender", "reason"), _callers(morning, words))
    yield table(
        "folders",
        ("folder", "outcome", "reason", "count"),
        ((r["folder"], r["outcome"], r["reason"] or "", r["count"]) for r in morning.folders),
    )
    yield table(
        "slowest",
        ("job", "family", "eye", "estimator", "seconds"),
        ((r["job_id"], r["family"], r["eye"], r["estimator"], _seconds(r["seconds"])) for r in morning.slowest),
    )
    yield table(
        "models",
        ("estimator", "weights", "kind", "reports"),
        (
            (
                r["estimator"],
                r["weights_sha256"][:SHOWN_SHA],
                words["is_demonstration" if r["demonstration"] else "is_research"],
                r["count"],
            )
            for r in morning.models
        ),
    )
    if morning.people:
        yield table(
            "people",
            ("job", "family", "eye", "reason", "patient", "accession"),
            (
                (r["id"], r["family"], r["eye"], r["reason"] or "", r["patient_id"], r["accession_number"])
                for r in morning.people
            ),
        )
    yield table("disk", ("disk",), iter([(_disk(morning, words),)]))


def _backfills(morning: Morning) -> Iterator[tuple[Any, ...]]:
    for row in morning.backfills:
        days = row["date_from"] if row["date_from"] == row["date_to"] else f"{row['date_from']}-{row['date_to']}"
        studies: dict[str, int] = {}
        for state in row["studies"]:
            name = f"{state['state']} ({state['reason']})" if state["reason"] else state["state"]
            studies[name] = studies.get(name, 0) + state["count"]
        state = f"{row['state']} ({row['reason']})" if row["reason"] else row["state"]
        yield row["archive"], days, state, _counts(studies), row["missing"], _counts(row["remarks"])


def _callers(morning: Morning, words: Mapping[str, str]) -> Iterator[tuple[Any, ...]]:
    yield from ((name, words["new"]) for name in morning.new_senders)
    for row in morning.refused_callers:
        who = f"{row['calling_ae']} > {row['called_ae']} ({row['address']})"
        yield who, f"{row['reason']}; {words['calls'].format(count=row['count'])}"


def _disk(morning: Morning, words: Mapping[str, str]) -> str:
    days = morning.disk_days
    left = words["days_unknown"] if days is None else words["days_left"].format(days=f"{days:.0f}")
    return words["free"].format(free=f"{morning.free_gib:.1f}", days=left)


def _cleared(moment: datetime | None, words: Mapping[str, str], zone: ZoneInfo) -> str:
    return words["stands"] if moment is None else _clock(moment, zone)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _seconds(value: float | None) -> float | str:
    return "" if value is None else round(value, 2)


def _clock(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")
