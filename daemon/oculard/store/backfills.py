"""Back-fills: ranges of an archive that somebody wants annotated, and how far each has been asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select, update

from oculard.clock import Clock
from oculard.job import RETRIEVAL, RetrievalEvent, RetrievalState
from oculard.store import tables
from oculard.store.database import Database, insert_or
from oculard.store.events import record
from oculard.store.queue import Queue

DAY = "%Y%m%d"  # DICOM DA
YEARS = 1900, 2999  # of study dates: a year without its four digits would be no DICOM date
REMARKS_MAX = 50  # different ones
ACTIVE = tables.BACKFILL_ACTIVE
ARCHIVE_UNKNOWN = "archive-unknown"
NOT_ANSWERED = "day-not-answered"
GAPS = (NOT_ANSWERED, "too-many-matches")  # remarks that say that not all studies of the days are known
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What somebody wants annotated: the studies of some days."""

    archive: str
    first: date
    last: date
    modalities: tuple[str, ...] = ()  # () means all
    families: tuple[str, ...] = ()  # () means all that the plan wants
    anytime: bool = False  # also outside the night

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range ends on {self.last}, before it begins on {self.first}")
        if not YEARS[0] <= self.first.year <= self.last.year <= YEARS[1]:
            raise ValueError(f"years are {YEARS[0]} to {YEARS[1]}, got {self.first} to {self.last}")

    def columns(self) -> dict[str, Any]:
        """As the table has it."""
        return {
            "archive": self.archive,
            "date_from": self.first.strftime(DAY),
            "date_to": self.last.strftime(DAY),
            "modalities": sorted(self.modalities),
            "families": sorted(self.families),
            "anytime": int(self.anytime),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """One back-fill as it stands."""

    id: int
    range: Range
    origin: str
    state: str
    found_to: date | None
    remarks: Mapping[str, int]
    reason: str | None
    created_at: datetime

    @property
    def gaps(self) -> int:
        """How many days or hours the archive could not be asked for."""
        return gaps(self.remarks)

    @property
    def next_day(self) -> date | None:
        """The first day that has not been asked for; None when all have."""
        day = self.range.first if self.found_to is None else self.found_to + ONE_DAY
        return day if day <= self.range.last else None


class Backfills:
    """The back-fills."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self.queue = Queue(database, clock, tables.retrieval, RETRIEVAL)

    def order(self, wanted: Range, *, actor: str) -> int:
        """A person orders a range; one that is not done yet is continued, not doubled. Gives its id."""
        table, columns = tables.backfill, wanted.columns()
        same = [table.c.origin == "person", table.c.state != "done"]
        same += [table.c[name] == columns[name] for name in ("archive", "date_from", "date_to")]
        with self._database.write() as connection:
            for row in connection.execute(select(table).where(*same).order_by(table.c.id).with_for_update()).all():
                if _backfill(row).range.columns() == columns:
                    if row.state == "stopped":
                        self._resume(connection, row, actor=actor)
                    return int(row.id)
            return self._insert(connection, columns, actor=actor)

    def order_night(self, archive: str, day: date, modalities: tuple[str, ...], *, days_max: int) -> int | None:
        """The back-fill of the night that begins on a day, once: from the last such night's end, at least yesterday.

        A night that was missed is made good for, as far as `days_max` reaches. None when it has been ordered.
        """
        table = tables.backfill
        earlier = select(func.max(table.c.date_to)).where(table.c.origin == "night", table.c.archive == archive)
        with self._database.write() as connection:
            newest = connection.execute(earlier).scalar_one()
            if newest is not None and newest >= day.strftime(DAY):
                return None
            since = day - ONE_DAY if newest is None else min(day - ONE_DAY, _day(newest))
            wanted = Range(archive=archive, first=max(since, day - days_max * ONE_DAY), last=day, modalities=modalities)
            return self._insert(connection, wanted.columns(), actor="upkeep", origin="night")

    def next_to_find(self, archive: str, *, anytime_only: bool, after: int = 0) -> Backfill | None:
        """Of those that have days to ask for, the one whose turn it is after the one that had it last."""
        table = tables.backfill
        query = select(table).where(table.c.archive == archive, table.c.state == "finding")
        if anytime_only:
            query = query.where(table.c.anytime == 1)
        with self._database.read() as connection:
            row = connection.execute(query.order_by(*in_turn(after)).limit(1)).first()
        return None if row is None else _backfill(row)

    def found(self, backfill: Backfill, day: date, studies: Iterable[tuple[str, str]]) -> bool:
        """A day has been asked for: its studies (UID and date) and the cursor, in one transaction.

        False when somebody was faster, or the back-fill was stopped.
        """
        table, now, day_text = tables.backfill, self._clock.now(), day.strftime(DAY)
        before = None if backfill.found_to is None else backfill.found_to.strftime(DAY)
        with self._database.write() as connection:
            still = (table.c.id == backfill.id, table.c.state == "finding")
            state = "finding" if day < backfill.range.last else "retrieving"
            moved = connection.execute(
                update(table)
                .where(*still, table.c.found_to.is_(None) if before is None else table.c.found_to == before)
                .values(found_to=day_text, state=state, changed_at=now)
            )
            if moved.rowcount != 1:
                return False
            rows = [_wanted(backfill.id, uid, study_date, now) for uid, study_date in studies]
            if rows:
                connection.execute(insert_or(connection, tables.retrieval).on_conflict_do_nothing(), rows)
            if state != "finding":
                self._record(connection, backfill.id, "found", source="finding", target=state, actor="fetcher")
        return True

    def remark(self, backfill_id: int, reasons: Mapping[str, int]) -> None:
        """Remember what the archive did wrong, and how often."""
        if not reasons:
            return
        table = tables.backfill
        with self._database.write() as connection:
            query = select(table.c.remarks).where(table.c.id == backfill_id).with_for_update()
            known: dict[str, int] = dict(connection.execute(query).scalar_one())
            for reason, count in reasons.items():
                if reason in known or len(known) < REMARKS_MAX:
                    known[reason] = known.get(reason, 0) + count
            connection.execute(update(table).where(table.c.id == backfill_id).values(remarks=known))

    def note(self, archive: str, reason: str | None) -> None:
        """Say why an archive's back-fills do not go on, or that they do."""
        table = tables.backfill
        other = table.c.reason.is_not(None) if reason is None else table.c.reason.is_distinct_from(reason)
        which = (table.c.archive == archive, table.c.state.in_(ACTIVE), other)
        if self._has(*which):
            with self._database.write() as connection:
                connection.execute(update(table).where(*which).values(reason=reason, changed_at=self._clock.now()))

    def finish(self, archive: str) -> list[int]:
        """End the back-fills that have nothing left to do. Gives them."""
        table, retrieval = tables.backfill, tables.retrieval
        under_way = retrieval.c.state.in_((RETRIEVAL.ready, RETRIEVAL.held))  # as the index has it
        left = exists().where(retrieval.c.backfill_id == table.c.id, under_way)
        over = (table.c.archive == archive, table.c.state == "retrieving", ~left)
        if not self._has(*over):
            return []
        with self._database.write() as connection:
            done = {"state": "done", "reason": None, "changed_at": self._clock.now()}
            ids = connection.execute(update(table).where(*over).values(**done).returning(table.c.id)).scalars().all()
            for backfill_id in ids:
                self._record(connection, backfill_id, "done", source="retrieving", target="done", actor="fetcher")
        return list(ids)

    def stop(self, backfill_id: int, *, actor: str) -> bool:
        """A person stops one; what runs ends, and the same order continues it. False when it is not under way."""
        table = tables.backfill
        with self._database.write() as connection:
            row = self._locked(connection, backfill_id)
            if row is None or row.state not in ACTIVE:
                return False
            values = {"state": "stopped", "reason": None, "changed_at": self._clock.now()}
            connection.execute(update(table).where(table.c.id == backfill_id).values(**values))
            self._record(connection, backfill_id, "stopped", source=row.state, target="stopped", actor=actor)
        return True

    def retry(self, backfill_id: int, *, actor: str) -> int | None:
        """A person lets what failed, and what was gone, be tried again. Says how many; None for an unknown one."""
        table, moved, now = tables.retrieval, 0, self._clock.now()
        with self._database.write() as connection:
            row = self._locked(connection, backfill_id)
            if row is None:
                return None
            for state in (RetrievalState.FAILED, RetrievalState.GONE):
                query = select(table.c.id).where(table.c.backfill_id == backfill_id, table.c.state == state)
                for row_id in connection.execute(query).scalars().all():
                    fresh: dict[str, Any] = {"attempts": 0, "reason": None, "run_after": now}
                    moved += self.queue.move(connection, row_id, state, RetrievalEvent.REQUEUE, actor=actor, **fresh)
            if moved and row.state not in ACTIVE:
                self._resume(connection, row, actor=actor)
        return moved

    def has_active(self, archive: str) -> bool:
        """Whether somebody wants something from an archive."""
        return self._has(tables.backfill.c.archive == archive, tables.backfill.c.state.in_(ACTIVE))

    def get(self, backfill_id: int) -> Backfill | None:
        """One of them."""
        with self._database.read() as connection:
            row = connection.execute(select(tables.backfill).where(tables.backfill.c.id == backfill_id)).first()
        return None if row is None else _backfill(row)

    def recent(self, *, active: bool = False, limit: int = 100) -> list[Backfill]:
        """The newest; or those alone that are under way."""
        table = tables.backfill
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if active:
            query = query.where(table.c.state.in_(ACTIVE))
        with self._database.read() as connection:
            return [_backfill(row) for row in connection.execute(query).all()]

    def progress(self, backfill_id: int) -> dict[str, int]:
        """How many of its studies stand in each state, and `found`: all of them."""
        table = tables.retrieval
        query = select(table.c.state, func.count()).where(table.c.backfill_id == backfill_id).group_by(table.c.state)
        with self._database.read() as connection:
            counts = {str(state): 0 for state in RetrievalState} | {
                row[0]: row[1] for row in connection.execute(query).all()
            }
        return counts | {"found": sum(counts.values())}

    def troubled(self, backfill_id: int, *, limit: int = 1000) -> list[dict[str, Any]]:
        """The studies that did not come whole: which, why, and what is missing in which series."""
        table = tables.retrieval
        columns = (table.c.study_instance_uid, table.c.study_date, table.c.state, table.c.reason, table.c.attempts)
        query = select(*columns, table.c.expected, table.c.held).where(table.c.backfill_id == backfill_id)
        query = query.where(table.c.state.in_((RetrievalState.FAILED, RetrievalState.GONE)))
        with self._database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query.order_by(table.c.id).limit(limit)).all()]

    def _has(self, *which: ColumnElement[bool]) -> bool:
        with self._database.read() as connection:
            return connection.execute(select(tables.backfill.c.id).where(*which).limit(1)).first() is not None

    def _locked(self, connection: Connection, backfill_id: int) -> Row[Any] | None:
        return connection.execute(
            select(tables.backfill).where(tables.backfill.c.id == backfill_id).with_for_update()
        ).first()

    def _insert(self, connection: Connection, columns: Mapping[str, Any], *, actor: str, origin: str = "person") -> int:
        now, table = self._clock.now(), tables.backfill
        values = {**columns, "origin": origin, "state": "finding", "remarks": {}, "created_at": now, "changed_at": now}
        backfill_id = connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
        self._record(connection, backfill_id, "ordered", source=None, target="finding", actor=actor)
        return int(backfill_id)

    def _resume(self, connection: Connection, row: Row[Any], *, actor: str) -> None:
        state = "retrieving" if _backfill(row).next_day is None else "finding"
        values = {"state": state, "reason": None, "changed_at": self._clock.now()}
        connection.execute(update(tables.backfill).where(tables.backfill.c.id == row.id).values(**values))
        self._record(connection, row.id, "resumed", source=row.state, target=state, actor=actor)

    def _record(
        self, connection: Connection, backfill_id: int, name: str, *, source: str | None, target: str, actor: str
    ) -> None:
        what = {"kind": "backfill", "subject_id": backfill_id, "study_id": None, "name": name}
        record(connection, at=self._clock.now(), actor=actor, source=source, target=target, **what)  # type: ignore[arg-type]


def gaps(remarks: Mapping[str, int]) -> int:
    """How many days or hours an archive could not be asked for."""
    return sum(remarks.get(reason, 0) for reason in GAPS)


def why_waiting(archive: str, state: str, reason: str | None, *, known: Collection[str]) -> str | None:
    """Why an order does not go on; one whose archive is in the configuration no more never will."""
    return ARCHIVE_UNKNOWN if state in ACTIVE and archive not in known else reason


def in_turn(after: int) -> tuple[ColumnElement[Any], ...]:
    """The order in which orders are served: that of the night first, then each in turn after the last one."""
    table = tables.backfill
    return (table.c.origin != "night"), (table.c.id <= after), table.c.id


def _backfill(row: Row[Any]) -> Backfill:
    wanted = Range(
        archive=row.archive,
        first=_day(row.date_from),
        last=_day(row.date_to),
        modalities=tuple(row.modalities),
        families=tuple(row.families),
        anytime=bool(row.anytime),
    )
    return Backfill(
        id=row.id,
        range=wanted,
        origin=row.origin,
        state=row.state,
        found_to=None if row.found_to is None else _day(row.found_to),
        remarks=row.remarks,
        reason=row.reason,
        created_at=row.created_at,
    )


def _day(text: str) -> date:
    return datetime.strptime(text, DAY).date()  # noqa: DTZ007  a date has no zone


def _wanted(backfill_id: int, study_instance_uid: str, study_date: str, now: datetime) -> dict[str, Any]:
    return {
        "backfill_id": backfill_id,
        "study_instance_uid": study_instance_uid,
        "study_date": study_date,
        "expected": {},
        "held": {},
        "state": RetrievalState.WANTED,
        "run_after": now,
        "changed_at": now,
    }
