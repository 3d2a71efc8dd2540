"""Reports that are owed to peers, written through the store as a worker does, and senders that owe them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from companion_samples import MAKERS
from pydicom import dcmread
from sqlalchemy import select

from oculard.delivery.part10 import parse_meta
from oculard.delivery.sender import Sender
from oculard.job import JobEvent
from oculard.report import raw
from oculard.report.build import build_report
from oculard.settings import Delivery, Peer, Settings
from oculard.store import tables
from oculard.store.jobs import Companion, NewReport
from report.report_samples import part10, photograph, request, source
from shelf import Shelf

JAPANESE = {
    "SpecificCharacterSet": rb"\ISO 2022 IR 87",
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう".encode("iso2022_jp"),
    "StudyDescription": "眼底検査".encode("iso2022_jp"),
}


@functools.cache
def japanese_report() -> bytes:
    """A whole report on a photograph whose device writes Japanese."""
    return build_report(request(source(part10(photograph(), JAPANESE)))).data


def renamed(data: bytes, number: int) -> bytes:
    """The same report under another SOP Instance UID of the same length."""
    old = parse_meta(data).sop_instance_uid
    new = f"2.25.{10 ** (len(old) - len('2.25.') - 1) + number}"
    return data.replace(old.encode(), new.encode())


def value(data: bytes, keyword: str) -> bytes:
    """An element's bytes in a file."""
    ds = dcmread(BytesIO(data))
    assert keyword in ds
    return raw.value_bytes(ds, raw.tag_of(keyword))


def peer(port: int, *, name: str = "pacs", ae_title: str = "PRACTICE", **changes: Any) -> Peer:
    """A configured peer on loopback."""
    return Peer(name=name, ae_title=ae_title, host="127.0.0.1", port=port, **changes)


class Outbox:
    """The store, seen from the sender."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._made = 0

    def owe(self, count: int = 1, *, peers: Sequence[str] = ("pacs",), data: bytes | None = None) -> list[bytes]:
        """So many reports are owed to the peers; gives their files."""
        return [self._owe(renamed(data or japanese_report(), self._made), (), peers) for _ in range(count)]

    def owe_whole(self, *, peers: Sequence[str] = ("pacs",)) -> list[bytes]:
        """A report with companions is owed to the peers; gives its files in the order in which they are sent."""
        files = {role: renamed(make(), self._made) for role, make in MAKERS.items()}
        companions = [
            self.shelf.companion(role, parse_meta(data).sop_instance_uid, data) for role, data in files.items()
        ]
        return [*files.values(), self._owe(renamed(japanese_report(), self._made), companions, peers)]

    def sender(self, *peers: Peer, owner: str = "sender", commitment_wait_s: float = 20.0, **delivery: Any) -> Sender:
        """A sender for these peers, with some settings of delivery."""
        values: dict[str, Any] = {"connect_s": 2.0, "answer_s": 20.0} | delivery
        settings = Settings(peers=list(peers), delivery=Delivery(**values))
        return self.sender_of(settings, owner=owner, commitment_wait_s=commitment_wait_s)

    def sender_of(self, settings: Settings, *, owner: str = "sender", commitment_wait_s: float = 20.0) -> Sender:
        """A sender as it is configured."""
        shelf = self.shelf
        return Sender(
            settings,
            shelf.deliveries,
            shelf.vault,
            shelf.alarms,
            shelf.clock,
            owner=owner,
            commitment_wait_s=commitment_wait_s,
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every delivery, oldest first."""
        with self.shelf.database.read() as connection:
            rows = connection.execute(select(tables.delivery).order_by(tables.delivery.c.id)).all()
        return [dict(row._mapping) for row in rows]

    def sent(self) -> list[tuple[str, str, str, str | None]]:
        """What became of each object that was sent: role, SOP class UID, SOP Instance UID, why it was left out."""
        table = tables.delivery_object
        columns = (table.c.role, table.c.sop_class_uid, table.c.sop_instance_uid, table.c.reason)
        with self.shelf.database.read() as connection:
            rows = connection.execute(select(*columns).order_by(table.c.delivery_id, table.c.ordinal)).all()
        return [tuple(row) for row in rows]

    def states(self) -> list[str]:
        """The state of every delivery, oldest first."""
        return [row["state"] for row in self.rows()]

    def alarms(self) -> set[tuple[str, str]]:
        """What stands: (name, subject)."""
        return {(alarm.name, alarm.subject) for alarm in self.shelf.alarms.standing()}

    def _owe(self, data: bytes, companions: Sequence[Companion], peers: Sequence[str]) -> bytes:
        self._made += 1
        shelf, meta = self.shelf, parse_meta(data)
        shelf.receive(f"1.2.9.{self._made}", str(self._made).encode())
        shelf.settle()
        (job,) = shelf.claim()
        path, sha256 = shelf.vault.write_report(data)
        report = NewReport(
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            series_instance_uid="2.25.2",
            path=path,
            sha256=sha256,
            size_bytes=len(data),
            outcome="complete",
            remark="",
            weights_sha256="0" * 64,
            demonstration=True,
            predecessor_id=None,
            findings=(),
            took={},
            companions=tuple(companions),
        )
        shelf.jobs.finish(job, JobEvent.DONE, report, reason=None, peers=peers)
        return data
