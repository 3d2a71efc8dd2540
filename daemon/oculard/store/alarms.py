"""Alarms: raised once, cleared once, standing until then."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.database import Database, insert_or
from oculard.store.events import record

SUBJECT_MAX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition that somebody should look at. `subject` is a UID, a peer or an id, never a patient."""

    name: str
    subject: str
    raised_at: datetime


class Alarms:
    """The standing alarms."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def raise_(self, name: str, subject: str) -> None:
        """Raise an alarm, once."""
        with self._database.write() as connection:
            raise_alarm(connection, name=name, subject=subject, at=self._clock.now())

    def clear(self, name: str, subject: str) -> bool:
        """Clear it; False when none stood."""
        with self._database.write() as connection:
            return clear_alarm(connection, name=name, subject=subject, at=self._clock.now())

    def only(self, name: str, subjects: Collection[str]) -> tuple[list[str], list[str]]:
        """Let exactly these subjects stand under a name; gives which were raised and which were cleared."""
        wanted, standing = {fit(subject) for subject in subjects}, self.subjects(name)
        raised, cleared = sorted(wanted - standing), sorted(standing - wanted)
        if raised or cleared:
            with self._database.write() as connection:
                for subject in raised:
                    raise_alarm(connection, name=name, subject=subject, at=self._clock.now())
                for subject in cleared:
                    clear_alarm(connection, name=name, subject=subject, at=self._clock.now())
        return raised, cleared

    def subjects(self, name: str) -> set[str]:
        """What stands under a name."""
        return set(self.since(name))

    def since(self, name: str) -> dict[str, datetime]:
        """What stands under a name, and since when."""
        table = tables.alarm
        query = select(table.c.subject, table.c.raised_at).where(table.c.name == name, table.c.cleared_at.is_(None))
        with self._database.read() as connection:
            return {row.subject: row.raised_at for row in connection.execute(query).all()}

    def acknowledge(self, name: str, subject: str, *, actor: str) -> bool:
        """A person has looked at it: clear it, and record who did; False when none stood."""
        table, now = tables.alarm, self._clock.now()
        which = (table.c.name == name, table.c.subject == fit(subject), table.c.cleared_at.is_(None))
        with self._database.write() as connection:
            alarm_id = connection.execute(select(table.c.id).where(*which)).scalar_one_or_none()
            if alarm_id is None:
                return False
            clear_alarm(connection, name=name, subject=subject, at=now)
            done = {"at": now, "kind": "alarm", "subject_id": alarm_id, "study_id": None, "name": "acknowledged"}
            record(connection, **done, actor=actor, reason=name)
            return True

    def standing(self) -> list[Alarm]:
        """All that stand, oldest first."""
        table = tables.alarm
        with self._database.read() as connection:
            rows = connection.execute(select(table).where(table.c.cleared_at.is_(None)).order_by(table.c.id)).all()
        return [Alarm(name=row.name, subject=row.subject, raised_at=row.raised_at) for row in rows]


def raise_alarm(connection: Connection, *, name: str, subject: str, at: datetime) -> None:
    """Raise an alarm inside a transaction, unless it stands already."""
    new = insert_or(connection, tables.alarm).values(name=name, subject=fit(subject), raised_at=at)
    connection.execute(new.on_conflict_do_nothing())


def clear_alarm(connection: Connection, *, name: str, subject: str, at: datetime) -> bool:
    """Clear an alarm inside a transaction; False when none stood."""
    table = tables.alarm
    standing = (table.c.name == name, table.c.subject == fit(subject), table.c.cleared_at.is_(None))
    return connection.execute(update(table).where(*standing).values(cleared_at=at)).rowcount > 0


def fit(subject: str) -> str:
    """A subject that the column holds: of a long path its end, which tells more than its beginning."""
    return subject if len(subject) <= SUBJECT_MAX else f"…{subject[1 - SUBJECT_MAX :]}"
