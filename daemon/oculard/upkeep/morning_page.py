"""The morning report as people read it: a verdict, numbers, tables; as one page, as text, or for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from oculard import __version__
from oculard.upkeep.morning import Morning
from oculard.upkeep.morning_tables import Table, clock, tables
from oculard.upkeep.morning_words import WORDS

JOBS = ("done", "rejected", "failed", "not_reached")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One part of the bar of jobs."""

    name: str
    title: str
    count: int
    percent: float


def verdict(morning: Morning, language: str) -> str:
    """One sentence or two, so that a busy reader may stop there."""
    words, totals = WORDS[language], morning.totals
    counts = {name: totals[name] for name in JOBS}
    rest = [words[f"verdict_{name}"].format(count=counts[name]) for name in JOBS[1:] if counts[name]]
    if not sum(counts.values()):
        said = words["nothing"]
    elif not rest:
        said = words["verdict_all"].format(done=counts["done"])
    else:
        some = {"done": counts["done"], "all": sum(counts.values()), "rest": words["comma"].join(rest)}
        said = words["verdict_some"].format(**some)
    what = words["comma"].join(words[f"look_{name}"].format(count=n) for name, n in morning.open_matters.items())
    return said + words["between"] + (words["look"].format(what=what) if what else words["fine"])


def notes(morning: Morning, language: str, zone: ZoneInfo) -> list[str]:
    """What a reader must know of the numbers that follow."""
    words = WORDS[language]
    period = words["period"].format(
        start=clock(morning.span.start, zone),
        end=clock(morning.span.end, zone),
        zone=zone.key,
        open=clock(morning.window.start, zone),
        close=clock(morning.window.end, zone),
    )
    so_far = [] if morning.is_over else [words["so_far"]]
    demonstration = [words["demonstration"]] if morning.is_demonstration else []
    return [period, *so_far, words["estimates"], *demonstration]


def numbers(morning: Morning, language: str) -> list[tuple[str, str]]:
    """The numbers that are asked for first, each with its name."""
    words, totals, days = WORDS[language], morning.totals, morning.disk_days
    left = words["days_unknown"] if days is None else words["days_left"].format(days=f"{days:.0f}")
    return [
        (words["images"], str(totals["images"])),
        (words["settled"], str(totals["studies"])),
        (words["reports"], str(totals["reports"])),
        (words["all_delivered"], str(totals["delivered"])),
        (words["all_under_way"], str(totals["under_way"])),
        (words["all_parked"], str(totals["parked_still"])),
        (words["disk_free"], words["gib"].format(free=f"{morning.free_gib:.1f}")),
        (words["disk_mark"], left),
    ]


def page(morning: Morning, language: str, zone: ZoneInfo, *, station: str) -> str:
    """One self-contained HTML page: no script, nothing from elsewhere."""
    environment = Environment(
        loader=PackageLoader("oculard.upkeep", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    told = tables(morning, language, zone)
    return environment.get_template("morning.html").render(
        language=language,
        station=station,
        title=title(morning, language),
        verdict=verdict(morning, language),
        needs_a_person=bool(morning.open_matters),
        notes=notes(morning, language, zone),
        numbers=numbers(morning, language),
        shares=shares(morning, language),
        tables=[table for table in told if table.rows],
        empty=_empty(told, language),
        footer=WORDS[language]["footer"].format(version=__version__),
        words=WORDS[language],
    )


def text(morning: Morning, language: str, zone: ZoneInfo) -> str:
    """For mail programs and chats without HTML: what is empty is named in one line."""
    words, told = WORDS[language], tables(morning, language, zone)
    lines = [verdict(morning, language), "", *notes(morning, language, zone), ""]
    lines += [f"{name}{words['colon']}{value}" for name, value in numbers(morning, language)]
    for table in told:
        if table.rows:
            lines += ["", f"■ {table.title}", *(f"  {' · '.join(pairs)}" for pairs in table.pairs())]
            lines += [f"  {table.cut}"] if table.cut else []
    return "\n".join([*lines, "", *_empty(told, language), words["footer"].format(version=__version__)])


def notice(morning: Morning, language: str, zone: ZoneInfo, *, station: str) -> Mapping[str, str | None]:
    """Title, text and page, as a notice has them."""
    return {
        "title": f"{station}: {title(morning, language)}",
        "text": text(morning, language, zone),
        "html": page(morning, language, zone, station=station),
    }


def title(morning: Morning, language: str) -> str:
    """What the report is of."""
    return WORDS[language]["title"].format(night=morning.night.isoformat())


def shares(morning: Morning, language: str) -> list[Share]:
    """The jobs as parts of one bar; [] when there were none."""
    words, totals = WORDS[language], morning.totals
    whole = sum(totals[name] for name in JOBS)
    return [
        Share(
            name=name,
            title=words["missed" if name == "not_reached" else name],
            count=totals[name],
            percent=100 * totals[name] / whole,
        )
        for name in JOBS
        if totals[name]
    ]


def _empty(told: list[Table], language: str) -> list[str]:
    """One line that names the tables without rows: that nothing happened there is an answer too."""
    words, empty = WORDS[language], [table.title for table in told if not table.rows]
    return [words["none"].format(what=words["comma"].join(empty))] if empty else []
