"""The words of a notice of alarms, in English and Japanese: grouped, and short however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal
from zoneinfo import ZoneInfo

from oculard.alarm import RUNBOOK, sentence
from oculard.store.news import AlarmNews

SHOWN_MAX = 5  # subjects of one alarm
Language = Literal["en", "ja"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a language calls things."""

    raised: str
    cleared: str
    passed: str
    title: str
    since: str
    until: str
    more: str
    what_to_do: str


WORDS: dict[Language, Words] = {
    "en": Words(
        raised="Raised",
        cleared="Cleared",
        passed="Came and went",
        title="alarms: {raised} raised, {cleared} cleared",
        since="{subject}: since {raised}",
        until="{subject}: {raised} to {cleared}",
        more="... and {count} more",
        what_to_do="What to do: {runbook}; `oculard status` shows what stands now.",
    ),
    "ja": Words(
        raised="発生",
        cleared="解除",
        passed="発生後、自動解除",
        title="アラーム: 発生{raised}件、解除{cleared}件",
        since="{subject}: {raised} から",
        until="{subject}: {raised} から {cleared} まで",
        more="… ほか{count}件",
        what_to_do="対処: {runbook}。現在の状態は `oculard status` で確認できます。",
    ),
}


def write_alarms(
    news: Sequence[AlarmNews], *, language: Language, zone: ZoneInfo, station: str
) -> dict[str, str | None]:
    """Title and text of one notice of everything that is new."""
    words = WORDS[language]
    raised = [one for one in news if one.cleared_at is None]
    cleared = [one for one in news if one.cleared_at is not None and one.was_told]
    passed = [one for one in news if one.cleared_at is not None and not one.was_told]
    title = words.title.format(raised=len(raised) + len(passed), cleared=len(cleared) + len(passed))
    lines = list[str]()
    for heading, some in ((words.raised, raised), (words.cleared, cleared), (words.passed, passed)):
        if some:
            lines += [heading, *_grouped(some, words, language, zone), ""]
    lines.append(words.what_to_do.format(runbook=RUNBOOK))
    return {"title": f"oculard {station}: {title}", "text": "\n".join(lines), "html": None}


def _grouped(news: Sequence[AlarmNews], words: Words, language: Language, zone: ZoneInfo) -> Iterable[str]:
    for name, group in groupby(sorted(news, key=_by_name), key=lambda one: one.name):
        alarms = list(group)
        yield f"- {name}: {sentence(name, language)}"
        yield from (f"    {_line(one, words, zone)}" for one in alarms[:SHOWN_MAX])
        if len(alarms) > SHOWN_MAX:
            yield f"    {words.more.format(count=len(alarms) - SHOWN_MAX)}"


def _by_name(one: AlarmNews) -> tuple[str, int]:
    return one.name, one.id


def _line(one: AlarmNews, words: Words, zone: ZoneInfo) -> str:
    # A device may call itself anything: what it wrote is text here, and no line of its own.
    subject = "".join(sign if sign.isprintable() else "?" for sign in one.subject)
    raised = f"{one.raised_at.astimezone(zone):%Y-%m-%d %H:%M}"
    if one.cleared_at is None:
        return words.since.format(subject=subject, raised=raised)
    return words.until.format(subject=subject, raised=raised, cleared=f"{one.cleared_at.astimezone(zone):%m-%d %H:%M}")
