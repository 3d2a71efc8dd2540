"""Custody of instances: what is acknowledged is a file in the vault and a row here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Executable, Select, bindparam, delete, insert, select, update

from oculard.clock import Clock
from oculard.store import tables
from oculard.store.alarms import raise_alarm
from oculard.store.database import Database, hold_files, insert_of
from oculard.store.events import record
from oculard.store.group import GroupCommit
from oculard.store.prepared import Prepared
from oculard.store.vault import Vault, VaultUnwritable

COLUMNS = (  # of the table, as an arrival has them
    "sop_class_uid",
    "sop_instance_uid",
    "series_instance_uid",
    "transfer_syntax_uid",
    "sha256",
    "facts",
    "sender",
    "calling_ae",
    "called_ae",
    "address",
)

KEPT_AGAIN = "kept-again"  # the event of an instance that came back after its file was removed
IDENTITY_MAX = 64  # characters by which a study can be found; the VRs allow no more (PS3.5 6.2)


def _new_instance(_: str) -> Executable:
    return insert(tables.instance).returning(tables.instance.c.id)


def _twins(_: str) -> Executable:
    table = tables.instance
    columns = (table.c.id, table.c.study_id, table.c.sha256, table.c.variant, table.c.removed_at)
    return select(*columns).where(table.c.sop_instance_uid == bindparam("sop_instance_uid"))


def _open_study(dialect: str) -> Executable:
    """A study that is new, or that is open again."""
    new = insert_of(dialect, tables.study)
    values = {"state": "open", "active_at": new.excluded.active_at}
    known = new.on_conflict_do_update(index_elements=[tables.study.c.study_instance_uid], set_=values)
    return known.returning(tables.study.c.id)


def _hold(dialect: str) -> Executable:
    """An association that holds a study open, or goes on doing so."""
    new, table = insert_of(dialect, tables.reception), tables.reception
    key = [table.c.association, table.c.study_id]
    return new.on_conflict_do_update(index_elements=key, set_={"beat_at": new.excluded.beat_at})


NEW_INSTANCE = Prepared(_new_instance, (*COLUMNS, "path", "size_bytes", "study_id", "variant", "received_at"))
TWINS = Prepared(_twins, ("sop_instance_uid",))
IDENTITY = ("study_instance_uid", "patient_id", "accession_number")
OPEN_STUDY = Prepared(_open_study, (*IDENTITY, "state", "first_received_at", "active_at"))
HOLD = Prepared(_hold, ("association", "study_id", "owner", "beat_at"))


class Received(StrEnum):
    """What an arrival turned out to be."""

    NEW = "received"
    SAME = "duplicate"  # same UID, same bytes: nothing new
    DIFFERENT = "differing-duplicate"  # same UID, other bytes: both are kept, an alarm stands


class _Twin(NamedTuple):
    """An instance of the same UID that is known already."""

    id: int
    study_id: int
    sha256: str
    variant: int
    removed_at: Any  # None while its file is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One instance that lies in the spool, checked, on its way into custody."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    accession_number: str
    facts: dict[str, Any]  # everything the header said, as plain values
    spooled: Path
    sha256: str  # of the data set
    transfer_syntax_uid: str
    sender: str
    calling_ae: str
    called_ae: str
    address: str
    association: str  # "" for an import
    handle: int | None = None  # of the spooled file, where it is still open


class Instances:
    """The door into custody."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, *, owner: str = "") -> None:
        self._database, self._vault, self._clock, self._owner = database, vault, clock, owner
        self._group: GroupCommit[Received] = GroupCommit(database)
        self._owed = set[str]()  # associations that are over, and not ended in the database yet

    def take(self, arrival: Arrival) -> Received:
        """Take custody: durable file first, then one transaction. When this returns, the instance cannot be lost.

        Who spooled it deletes the spooled name afterwards.
        Raises VaultTrouble or DatabaseDown; then nothing is promised and the sender must keep the instance.
        """
        size = (arrival.spooled.stat() if arrival.handle is None else os.fstat(arrival.handle)).st_size
        there = self._vault.has(self._vault.place("instances", arrival.sha256), size)
        if there and self._is_known(arrival) and self._again(arrival):
            return Received.SAME
        kept = self._vault.keep(arrival.spooled, arrival.sha256, arrival.handle)
        return self._group.write(
            lambda connection: self._insert(connection, arrival, kept, size),
            first=lambda: self._vault.sync_name(kept),
        )

    def beat(self, association: str) -> None:
        """Say that an association is still open, so that its studies do not settle under it."""
        with self._database.write() as connection:
            connection.execute(
                update(tables.reception)
                .where(tables.reception.c.association == association)
                .values(beat_at=self._clock.now())
            )

    def end(self, association: str) -> None:
        """An association is over: its studies are quiet from now on. What fails is owed, and done by `end_owed`."""
        self._owed.add(association)
        self._end(tables.reception.c.association == association)
        self._owed.discard(association)

    def end_owed(self) -> None:
        """End what could not be ended when it was over: its studies would wait until it is taken for dead."""
        for association in tuple(self._owed):
            self.end(association)

    def bury(self, owner: str) -> None:
        """An intake process died, and every association of its with it."""
        self._end(tables.reception.c.owner == owner)

    def owners(self) -> set[str]:
        """The intake processes that hold associations open."""
        with self._database.read() as connection:
            return set(connection.execute(select(tables.reception.c.owner).distinct()).scalars())

    def _end(self, which: ColumnElement[bool]) -> None:
        now = self._clock.now()
        with self._database.write() as connection:
            studies = select(tables.reception.c.study_id).where(which)
            connection.execute(
                update(tables.study)
                .where(tables.study.c.id.in_(studies), tables.study.c.state == "open")
                .values(active_at=now)
            )
            connection.execute(delete(tables.reception).where(which))

    def holds(self, items: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """For each (SOP class, instance): "held", "no-such-instance" or "class-conflict". Files are looked at too."""
        answers = {}
        with self._database.read() as connection:
            for sop_class_uid, sop_instance_uid in items:
                rows = connection.execute(
                    select(tables.instance.c.sop_class_uid, tables.instance.c.path, tables.instance.c.size_bytes).where(
                        tables.instance.c.sop_instance_uid == sop_instance_uid, tables.instance.c.removed_at.is_(None)
                    )
                ).all()
                answers[sop_class_uid, sop_instance_uid] = self._held(rows, sop_class_uid)
        return answers

    def _held(self, rows: Iterable[tuple[str, str, int]], sop_class_uid: str) -> str:
        whole = [kept_class for kept_class, path, size in rows if _has_size(self._vault.path(path), size)]
        if not whole:
            return "no-such-instance"
        return "held" if sop_class_uid in whole else "class-conflict"

    def _is_known(self, arrival: Arrival) -> bool:
        """Whether the same bytes are in custody: a row, and its file. What was lost or removed is kept again."""
        with self._database.read() as connection:
            row = connection.execute(_same(arrival)).first()
        return row is not None and row.removed_at is None and _has_size(self._vault.path(row.path), row.size_bytes)

    def _again(self, arrival: Arrival) -> bool:
        """Record that the same bytes came again; False where retention has removed them since we looked."""
        with self._database.write() as connection:
            study = select(tables.study.c.id).where(
                tables.study.c.id == connection.execute(_same(arrival)).one().study_id
            )
            connection.execute(study.with_for_update())  # retention deletes under this lock
            row = connection.execute(_same(arrival)).one()
            if row.removed_at is not None or not _has_size(self._vault.path(row.path), row.size_bytes):
                return False
            self._record(connection, row.id, row.study_id, arrival, Received.SAME, self._clock.now())
        return True

    def _insert(self, connection: Connection, arrival: Arrival, kept: str, size: int) -> Received:
        now, table = self._clock.now(), tables.instance
        study_id = self._study(connection, arrival, now)  # locks the study's row: arrivals of one study queue up here
        hold_files(connection, [kept])  # retention deletes, and a sweep moves, only what it holds
        if not self._vault.has(kept, size):
            raise VaultUnwritable("the file was taken away while it was kept")
        rows = TWINS.run(connection, {"sop_instance_uid": arrival.sop_instance_uid})
        twins = [_Twin(*row) for row in rows]
        same = next((twin for twin in twins if twin.sha256 == arrival.sha256), None)
        if same is not None:  # a twin association was faster, or the file had been lost; the data set is the same
            values = {"path": kept, "size_bytes": size, "removed_at": None}
            connection.execute(update(table).where(table.c.id == same.id).values(**values))
            if arrival.association:
                self._hold_open(connection, arrival.association, study_id, now)
            event = Received.SAME if same.removed_at is None else KEPT_AGAIN
            self._record(connection, same.id, same.study_id, arrival, event, now)
            return Received.SAME
        variant = max((twin.variant for twin in twins), default=-1) + 1
        result = Received.NEW if variant == 0 else Received.DIFFERENT
        values = _columns(arrival) | {"path": kept, "size_bytes": size}
        values |= {"study_id": study_id, "variant": variant, "received_at": now}
        [[row_id]] = NEW_INSTANCE.run(connection, values)
        if arrival.association:
            self._hold_open(connection, arrival.association, study_id, now)
        if result is Received.DIFFERENT:
            raise_alarm(connection, name="differing-duplicate", subject=arrival.sop_instance_uid, at=now)
        self._record(connection, row_id, study_id, arrival, result, now)
        return result

    def _study(self, connection: Connection, arrival: Arrival, now: datetime) -> int:
        """The study's id; a new or late instance opens it."""
        values = {
            "study_instance_uid": arrival.study_instance_uid,
            "patient_id": arrival.patient_id[:IDENTITY_MAX],
            "accession_number": arrival.accession_number[:IDENTITY_MAX],
            "state": "open",
            "first_received_at": now,
            "active_at": now,
        }
        [[study_id]] = OPEN_STUDY.run(connection, values)
        return int(study_id)

    def _hold_open(self, connection: Connection, association: str, study_id: int, now: datetime) -> None:
        values = {"association": association, "study_id": study_id, "owner": self._owner, "beat_at": now}
        HOLD.run(connection, values)

    def _record(
        self, connection: Connection, row_id: int, study_id: int, arrival: Arrival, name: str, at: datetime
    ) -> None:
        actor = f"{arrival.calling_ae}@{arrival.address}"
        record(connection, at=at, kind="instance", subject_id=row_id, study_id=study_id, name=name, actor=actor)


def _columns(arrival: Arrival) -> dict[str, Any]:
    return {name: getattr(arrival, name) for name in COLUMNS}


def _same(arrival: Arrival) -> Select[tuple[int, int, str, int, datetime | None]]:
    table = tables.instance
    return select(table.c.id, table.c.study_id, table.c.path, table.c.size_bytes, table.c.removed_at).where(
        table.c.sop_instance_uid == arrival.sop_instance_uid, table.c.sha256 == arrival.sha256
    )


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
