"""The judge: reads disk, database and PACS with code of its own, and says which promise does not hold.

Nothing here is the daemon's: SQL by hand, files walked and hashed, the end of the file meta information found by hand.
Promise 1: what was acknowledged is on disk and in the database, and all that follows ended once. Promise 2: no second
result. Promise 3: nothing that is not delivered was deleted.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.removals import Removals

ENDS = {"job": ("reported", "rejected", "failed"), "delivery": ("delivered",), "answer": ("delivered",)}
SR_CLASSES = ("1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34")  # Comprehensive, Comprehensive 3D


@dataclass(slots=True)
class Ledger:
    """What the device was told: the data set of each acknowledged instance, by its digest."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # SOP Instance UID: sha256
    study_of: dict[str, str] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)  # SOP Instance UIDs that we answered for
    refused: set[str] = field(default_factory=set)  # those that we said we do not have
    asked: set[str] = field(default_factory=set)  # those of which the request was accepted
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Where to look: the store's folder, the database by its file or its URL, and how long what is done is kept."""

    store: Path
    database: str
    kept_s: float | None = None

    @property
    def removals(self) -> Removals:
        """Who judges what was removed."""
        return Removals(store=self.store, rows=self.rows, kept_s=self.kept_s)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Ask the database, by hand."""
        if self.database.startswith("postgresql"):
            import psycopg
            from psycopg.rows import dict_row

            with psycopg.connect(self.database.replace("+psycopg", ""), row_factory=dict_row) as server:
                return list(server.execute(query))  # type: ignore[call-overload]  # its queries are literals
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def is_quiet(self, deliveries: int) -> bool:
        """Whether everything has ended, and so many reports at least have been delivered."""
        if self.rows("SELECT 1 FROM study WHERE state = 'open'"):
            return False
        for table, ends in ENDS.items():
            words = ", ".join(f"'{end}'" for end in ends)
            if self.rows(f"SELECT 1 FROM {table} WHERE state NOT IN ({words}) LIMIT 1"):
                return False
        return int(self.rows("SELECT count(*) AS n FROM delivery")[0]["n"]) >= deliveries

    def kept(self, acknowledged: Mapping[str, str]) -> list[str]:
        """Promise 1, first half, at any moment: what is missing of what was acknowledged."""
        wrong = []
        found = {(row["sop_instance_uid"], row["sha256"]): row for row in self.rows("SELECT * FROM instance")}
        for uid, sha256 in acknowledged.items():
            row = found.get((uid, sha256))
            if row is None:
                wrong.append(f"acknowledged, and no row: {uid}")
            elif row["removed_at"] is None and digest_of(self.store / row["path"]) != sha256 and self._lives(row["id"]):
                wrong.append(f"acknowledged, and its file is not what was sent: {uid}")
        return wrong

    def _lives(self, instance_id: int) -> bool:
        """Whether an instance still lives: its file may have gone, rightly, since we read of it."""
        return bool(self.rows(f"SELECT 1 FROM instance WHERE id = {int(instance_id)} AND removed_at IS NULL"))

    def at_death(self, ledger: Ledger) -> list[str]:
        """What must hold at the very moment when somebody has died: all that was acknowledged, all that rows name."""
        with ledger.lock:
            acknowledged = dict(ledger.acknowledged)
        return [*self.kept(acknowledged), *self.removals.gone()]

    def delivered(self) -> int:
        """How many deliveries have ended."""
        return int(self.rows("SELECT count(*) AS n FROM delivery WHERE state = 'delivered'")[0]["n"])

    def ended(self) -> list[str]:
        """Promise 1, second half: everything has ended exactly once, and nobody holds anything."""
        wrong = [f"study {row['id']} is open" for row in self.rows("SELECT id FROM study WHERE state <> 'settled'")]
        wrong += [
            f"an association holds study {row['study_id']}" for row in self.rows("SELECT study_id FROM reception")
        ]
        for table, ends in ENDS.items():
            words = ", ".join(f"'{end}'" for end in ends)
            for row in self.rows(f"SELECT id, state, lease_owner FROM {table}"):
                if row["state"] not in ends or row["lease_owner"] is not None:
                    wrong.append(f"{table} {row['id']} is {row['state']}")
            query = (
                f"SELECT subject_id, count(*) AS n FROM event WHERE kind = '{table}' AND target IN ({words}) GROUP BY 1"
            )
            times = {row["subject_id"]: row["n"] for row in self.rows(query)}
            for row in self.rows(f"SELECT id FROM {table}"):
                if times.get(row["id"]) != 1:
                    wrong.append(f"{table} {row['id']} ended {times.get(row['id'], 0)} times")
        return wrong

    def reported_once(self, pacs: Mapping[str, Path], studies: Collection[str]) -> list[str]:
        """Promise 2: one report an eye in database, vault and PACS, with the same bytes, and nothing else there."""
        reports = self._reports()
        eyes = Counter((row["study_instance_uid"], row["family"], row["eye"]) for row in reports)
        wrong = [f"{count} reports on {what}" for what, count in eyes.items() if count != 1]
        wrong += [
            f"study {study} has no report on each eye"
            for study in studies
            if {eye for uid, _, eye in eyes if uid == study} != {"R", "L"}
        ]
        objects = [*reports, *self._companions()]
        for row in objects:
            wrong += self._same(row, pacs.get(row["sop_instance_uid"]))
        known = {row["sop_instance_uid"] for row in objects}
        wrong += [f"the PACS has what we never reported: {uid}" for uid in pacs.keys() - known]
        return wrong

    def same_bytes(self, pacs: Mapping[str, Path], study: str) -> tuple[int, list[str]]:
        """How many objects of one study's reports could be compared with the PACS's, and what differs."""
        objects = [row for row in [*self._reports(), *self._companions()] if row["study_instance_uid"] == study]
        wrong = [line for row in objects for line in self._same(row, pacs.get(row["sop_instance_uid"]))]
        return sum(row["removed_at"] is None for row in objects), wrong

    def _reports(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT r.*, s.study_instance_uid, j.eye, j.family FROM report r"
            " JOIN job j ON j.id = r.job_id JOIN study s ON s.id = r.study_id"
        )

    def _companions(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT o.sop_instance_uid, o.path, o.sha256, r.id, r.removed_at, s.study_instance_uid"
            " FROM report_object o JOIN report r ON r.id = o.report_id JOIN study s ON s.id = r.study_id"
        )

    def _same(self, row: Mapping[str, Any], at_pacs: Path | None) -> list[str]:
        """Compare a report's object on our side and on theirs; of a removed one there is only theirs."""
        uid, ours = row["sop_instance_uid"], self.store / row["path"]
        if at_pacs is None:
            return [f"the PACS does not have {uid}"]
        if row["removed_at"] is not None:
            return []
        try:
            data = ours.read_bytes()
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() == row["sha256"]:
            return [] if digest_of(ours) in (digest_of(at_pacs), None) else [f"the PACS has other bytes of {uid}"]
        if self.rows(f"SELECT 1 FROM report WHERE id = {int(row['id'])} AND removed_at IS NULL"):
            return [f"the vault does not have {uid} as it was written"]
        return []  # it has gone, rightly, since we read of it

    def leftovers(self) -> dict[str, int]:
        """What a death may leave, and a sweep deletes later: no promise, but worth a figure."""
        named = {
            row["path"]
            for table in ("instance", "report", "report_object")
            for row in self.rows(f"SELECT path FROM {table}")
        }
        files = [path for room in ("instances", "reports") for path in (self.store / room).rglob("*") if path.is_file()]
        stray = [path for path in files if str(path.relative_to(self.store)) not in named]
        return {
            "images without a row": sum(path.parts[-3] == "instances" for path in stray),
            "reports without a row": sum(path.parts[-3] == "reports" for path in stray),
            "in the spool": sum(1 for _ in (self.store / "spool").iterdir()),
        }

    def verdict(self, ledger: Ledger, pacs: Mapping[str, Path], studies: Collection[str]) -> list[str]:
        """Everything at once, when all has ended."""
        wrong = [
            *self.kept(ledger.acknowledged),
            *self.ended(),
            *self.reported_once(pacs, studies),
            *self.removals.gone(),
            *self.removals.early(),
            *self.removals.untold(),
        ]
        gone = ledger.refused & self.removals.ever()  # rightly said to be here no more
        owed = ledger.asked - ledger.committed - gone
        return wrong + [f"no commitment to what we took: {uid}" for uid in owed]


def digest_of(path: Path) -> str | None:
    """The sha256 of a Part 10 file's data set: what follows the file meta information (PS3.10 7.1)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if data[128:132] != b"DICM" or data[132:138] != b"\x02\x00\x00\x00UL":
        return None
    return hashlib.sha256(data[144 + int.from_bytes(data[140:144], "little") :]).hexdigest()


def strays(files: Sequence[Path]) -> Mapping[str, Path]:
    """The files of a PACS that names them by their UID."""
    return {path.stem: path for path in files}
