"""What is new of the alarms and nobody was told: each raising and each clearing becomes part of one notice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database
from oculard.store.notices import ALARM, Notices

TOGETHER_MAX = 5000  # in one notice; the next holds the rest
STALE = timedelta(days=1)  # what was cleared longer ago is news to nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmNews:
    """An alarm that was raised, or cleared, or both, since people were told last."""

    id: int
    name: str
    subject: str
    raised_at: datetime
    cleared_at: datetime | None
    was_told: bool  # that it was raised


class News:
    """Turns what is new of the alarms into notices; doing it twice tells nobody twice."""

    def __init__(self, database: Database, clock: Clock, notices: Notices) -> None:
        self._database, self._clock, self._notices = database, clock, notices

    def told_at(self) -> datetime | None:
        """When a notice of alarms was written last."""
        table = tables.notice
        query = select(table.c.created_at).where(table.c.kind == ALARM).order_by(table.c.id.desc()).limit(1)
        with self._database.read() as connection:
            at: datetime | None = connection.execute(query).scalar_one_or_none()
        return at

    def tell(
        self, write: Callable[[Sequence[AlarmNews]], Mapping[str, str | None]], *, silent: Collection[str] = ()
    ) -> int:
        """Write one notice of everything that is new, except of the silent names. Says how many alarms it speaks of."""
        new = self._new(silent)
        with self._database.read() as connection:
            if connection.execute(select(tables.alarm.c.id).where(new).limit(1)).first() is None:
                return 0
        with self._database.write() as connection:
            news = _read(connection, new)
            if news:
                is_new = self._notices.tell_in(connection, ALARM, _subject(news), write(news))
                assert is_new, "each raising and each clearing is told once"
                self._mark(connection, news)
        return len(news)

    def _new(self, silent: Collection[str]) -> ColumnElement[bool]:
        table, fresh = tables.alarm, self._clock.now() - STALE
        raised = and_(table.c.cleared_at.is_(None), table.c.raise_told_at.is_(None))
        cleared = and_(table.c.cleared_at > fresh, table.c.clear_told_at.is_(None))
        return and_(or_(raised, cleared), table.c.name.not_in(silent))

    def _mark(self, connection: Connection, news: Sequence[AlarmNews]) -> None:
        table, now = tables.alarm, self._clock.now()
        ids = [one.id for one in news]
        cleared = [one.id for one in news if one.cleared_at is not None]
        raise_told = func.coalesce(table.c.raise_told_at, now)
        connection.execute(update(table).where(table.c.id.in_(ids)).values(raise_told_at=raise_told))
        connection.execute(update(table).where(table.c.id.in_(cleared)).values(clear_told_at=now))


def _read(connection: Connection, new: ColumnElement[bool]) -> list[AlarmNews]:
    table = tables.alarm
    query = select(table).where(new).order_by(table.c.id).limit(TOGETHER_MAX).with_for_update(skip_locked=True)
    return [
        AlarmNews(
            id=row.id,
            name=row.name,
            subject=row.subject,
            raised_at=row.raised_at,
            cleared_at=row.cleared_at,
            was_told=row.raise_told_at is not None,
        )
        for row in connection.execute(query).all()
    ]


def _subject(news: Sequence[AlarmNews]) -> str:
    """What no other notice is called: the last alarm's own words, its moment, and how many there are beside it."""
    last = news[-1]
    moved, at = ("cleared", last.cleared_at) if last.cleared_at is not None else ("raised", last.raised_at)
    words = f"{last.name} {last.id} {moved} {at:%Y-%m-%dT%H:%M:%SZ}"
    return words if len(news) == 1 else f"{words} and {len(news) - 1} more"
