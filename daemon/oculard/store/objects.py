"""The DICOM objects of a report: what it consists of, what a peer took of it, and what that peer promised to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from oculard.store import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportObject:
    """One object of a report, as it lies in the vault."""

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentObject:
    """What became of one object at a peer: taken as this class and under this UID, or left out for a reason."""

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    reason: str | None = None  # why it was left out; None when the peer took it


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """How a peer's commitment to one delivery stands."""

    uids: tuple[str, ...]  # of the objects that it took
    is_whole: bool  # it has promised to keep every one of them


def of_reports(connection: Connection, report_ids: Collection[int]) -> Mapping[int, tuple[ReportObject, ...]]:
    """The objects of each report in the order in which they are sent: what the SR refers to first, the SR last."""
    companion, report = tables.report_object, tables.report
    names = [name for name in ReportObject.__dataclass_fields__ if name != "role"]
    companions = (
        select(companion.c.report_id, companion.c.role, *(companion.c[name] for name in names))
        .where(companion.c.report_id.in_(report_ids))
        .order_by(companion.c.report_id, companion.c.ordinal)
    )
    reports = select(report.c.id, *(report.c[name] for name in names)).where(report.c.id.in_(report_ids))
    found = defaultdict[int, list[ReportObject]](list)
    for row in connection.execute(companions).mappings():
        found[row["report_id"]].append(ReportObject(role=row["role"], **{name: row[name] for name in names}))
    for row in connection.execute(reports).mappings():
        found[row["id"]].append(ReportObject(role=tables.SR, **{name: row[name] for name in names}))
    return {report_id: tuple(objects) for report_id, objects in found.items()}


def write_sent(connection: Connection, delivery_id: int, sent: Sequence[SentObject]) -> None:
    """Keep what became of each object, instead of what was known from an earlier time."""
    assert [one.role for one in sent if one.reason is None][-1:] == [tables.SR], "nothing is delivered without its SR"
    forget_sent(connection, delivery_id)
    connection.execute(
        insert(tables.delivery_object),
        [
            {"delivery_id": delivery_id, "ordinal": ordinal}
            | {name: getattr(one, name) for name in SentObject.__dataclass_fields__}
            for ordinal, one in enumerate(sent)
        ],
    )


def forget_sent(connection: Connection, delivery_id: int) -> None:
    """The delivery goes to somebody who has taken nothing yet."""
    table = tables.delivery_object
    connection.execute(delete(table).where(table.c.delivery_id == delivery_id))


def left_out(sent: Sequence[SentObject]) -> str | None:
    """The reason of a delivery that went without some companions, with their roles; None when all went."""
    missing = [one for one in sent if one.reason is not None]
    return f"{missing[0].reason}-{'-'.join(one.role for one in missing)}" if missing else None


def taken(connection: Connection, delivery_ids: Collection[int]) -> list[tuple[str, str]]:
    """(SOP class UID, SOP instance UID) of everything that the peer has of these deliveries."""
    table = tables.delivery_object
    query = select(table.c.sop_class_uid, table.c.sop_instance_uid).where(
        table.c.delivery_id.in_(delivery_ids), table.c.reason.is_(None)
    )
    rows = connection.execute(query.order_by(table.c.delivery_id, table.c.ordinal)).all()
    return [(row.sop_class_uid, row.sop_instance_uid) for row in rows]


def promise(
    connection: Connection, delivery_ids: Collection[int], committed: Collection[str], *, at: datetime
) -> Mapping[int, Promise]:
    """Keep what a peer promises of these deliveries; gives how each stands then, earlier promises included."""
    table = tables.delivery_object
    theirs = (table.c.delivery_id.in_(delivery_ids), table.c.reason.is_(None))
    uids = connection.execute(select(table.c.sop_instance_uid).where(*theirs)).scalars().all()
    kept = set(uids) & set(committed)  # a peer may speak of much that we never sent
    new = (table.c.sop_instance_uid.in_(kept), table.c.committed_at.is_(None))
    connection.execute(update(table).where(*theirs, *new).values(committed_at=at))
    query = select(table.c.delivery_id, table.c.sop_instance_uid, table.c.committed_at).where(*theirs)
    found = defaultdict[int, list[tuple[str, bool]]](list)
    for row in connection.execute(query.order_by(table.c.delivery_id, table.c.ordinal)).all():
        found[row.delivery_id].append((row.sop_instance_uid, row.committed_at is not None))
    return {
        delivery_id: Promise(uids=tuple(uid for uid, _ in objects), is_whole=all(kept for _, kept in objects))
        for delivery_id, objects in found.items()
    }
