"""The record of every move: what `trace` reads. Written in the same transaction as the move itself; no patient data."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert

from oculard.store import tables
from oculard.store.prepared import Prepared

COLUMNS = ("at", "kind", "subject_id", "study_id", "name", "source", "target", "actor", "reason")
NEW_EVENT = Prepared(lambda _: insert(tables.event), COLUMNS)  # every move comes this way


def record(
    connection: Connection,
    *,
    at: datetime,
    kind: str,
    subject_id: int,
    study_id: int | None,
    name: str,
    actor: str,
    source: str | None = None,
    target: str | None = None,
    reason: str | None = None,
) -> None:
    """Append one event."""
    NEW_EVENT.run(
        connection,
        {
            "at": at,
            "kind": kind,
            "subject_id": subject_id,
            "study_id": study_id,
            "name": name,
            "source": source,
            "target": target,
            "actor": actor,
            "reason": None if reason is None else reason[:64],
        },
    )
