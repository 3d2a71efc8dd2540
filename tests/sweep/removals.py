"""What retention may have removed: judged from the rows that stay, the files that are there, and the setting alone.

Nothing of the daemon's: it asks in its own words whether all of a study had been delivered, and for how long. A row
that lives has its file, at any moment; a row that was removed had all that it needs behind it for as long as the
setting says; a file of a removed row may be there for a while, and must be gone when upkeep has had its time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

Rows = Callable[[str], list[dict[str, Any]]]
FILES = {  # by what a file is called: which, where, how long, when removed
    "instance": "SELECT id, path, size_bytes, removed_at FROM instance",
    "report": "SELECT id, path, size_bytes, removed_at FROM report",
    "companion": "SELECT r.id, o.path, o.size_bytes, r.removed_at"
    " FROM report_object o JOIN report r ON r.id = o.report_id",
}
ROW = {"instance": "instance", "report": "report", "companion": "report"}  # which says whether the file lives
NEEDS = (  # what a study's removal waits for: since when there is something to wait for, and when it ended, or NULL
    "SELECT study_id, received_at AS since, received_at AS at FROM instance",
    "SELECT id AS study_id, settled_at AS since, settled_at AS at FROM study",
    "SELECT study_id, created_at AS since, CASE WHEN state IN ('reported', 'rejected') THEN changed_at END AS at"
    " FROM job",
    "SELECT j.study_id, j.created_at AS since, r.created_at AS at FROM job j LEFT JOIN report r ON r.job_id = j.id",
    "SELECT r.study_id, r.created_at AS since, CASE WHEN d.state = 'delivered' THEN d.changed_at END AS at"
    " FROM report r LEFT JOIN delivery d ON d.report_id = r.id",
    "SELECT r.study_id, r.created_at AS since, o.committed_at AS at FROM report r"
    " LEFT JOIN delivery d ON d.report_id = r.id LEFT JOIN delivery_object o ON o.delivery_id = d.id",
)
LONG_AGO = datetime.fromisoformat("1900-01-01")
Needs = list[tuple[datetime, datetime | None]]  # of one study, as in NEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """Where to look, and the setting: seconds that files stay after the last delivery; None for ever."""

    store: Path
    rows: Rows
    kept_s: float | None

    def gone(self) -> list[str]:
        """Promise 3 at any moment: files that living rows name and that are not there, or are short."""
        return [
            f"the file of {what} {row['id']} is gone or short"
            for what, row in self._files()
            if row["removed_at"] is None and not self._is_whole(row) and self._lives(what, row["id"])
        ]

    def early(self) -> list[str]:
        """Promise 3: rows that were removed before all of their study was delivered for as long as the setting says."""
        wrong, needs = [], self._needs()
        reported = {row["study_id"] for row in self.rows("SELECT study_id FROM report")}
        for table in ("instance", "report"):
            for row in self.rows(f"SELECT id, study_id, removed_at FROM {table} WHERE removed_at IS NOT NULL"):
                why = self._why_not(moment(row["removed_at"]), needs[row["study_id"]])
                if row["study_id"] not in reported:
                    why = "nothing of its study was delivered"
                wrong += [f"{table} {row['id']} was removed, and {why}"] if why else []
        return wrong

    def untold(self) -> list[str]:
        """Rows of which the history does not say that they were removed, or says so of one that lives."""
        wrong = []
        for table in ("instance", "report"):
            query = f"SELECT subject_id, name FROM event WHERE kind = '{table}' AND name IN ('removed', 'kept-again')"
            times = Counter[int]()
            for row in self.rows(query):  # what came once more after its removal may be removed once more
                times[row["subject_id"]] += 1 if row["name"] == "removed" else -1
            rows = self.rows(f"SELECT id, removed_at FROM {table}")
            wrong += [
                f"{table} {row['id']}: its history says {times[row['id']]} times that it was removed"
                for row in rows
                if times[row["id"]] != (row["removed_at"] is not None)
            ]
        return wrong

    def ever(self) -> set[str]:
        """The SOP Instance UIDs of the images that were removed, whether they came again or not."""
        query = (
            "SELECT i.sop_instance_uid FROM instance i JOIN event e ON e.kind = 'instance'"
            " AND e.subject_id = i.id AND e.name = 'removed'"
        )
        return {row["sop_instance_uid"] for row in self.rows(query)}

    def unfinished(self) -> list[str]:
        """When all is old enough to go: files of removed rows that are still there, and rows that still live."""
        files = list(self._files())
        living = {row["path"] for _, row in files if row["removed_at"] is None}  # the same bytes, several rows
        left = [
            f"the file of {what} {row['id']} is still there"
            for what, row in files
            if row["path"] not in living and (self.store / row["path"]).exists()
        ]
        return left + [f"{what} {row['id']} is not removed" for what, row in files if row["removed_at"] is None]

    def _why_not(self, removed_at: datetime, needs: Needs) -> str:
        """Why nothing of a study might be removed at a moment; "" when it might. What came later is no reason."""
        if self.kept_s is None:
            return "no setting says so"
        ends = [at for since, at in needs if since <= removed_at]
        if None in ends:
            return "not all of its study was delivered"
        young = removed_at - max(at for at in ends if at is not None)
        return f"only {young} after the last delivery" if young < timedelta(seconds=self.kept_s) else ""

    def _needs(self) -> dict[int, Needs]:
        needs: dict[int, Needs] = defaultdict(list)
        for query in NEEDS:
            for row in self.rows(query):
                since = LONG_AGO if row["since"] is None else moment(row["since"])
                needs[row["study_id"]].append((since, None if row["at"] is None else moment(row["at"])))
        return needs

    def _files(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((what, row) for what, query in FILES.items() for row in self.rows(query))

    def _lives(self, what: str, row_id: int) -> bool:
        """Whether a row still lives: its file may have gone, rightly, since we read of it."""
        return bool(self.rows(f"SELECT 1 FROM {ROW[what]} WHERE id = {int(row_id)} AND removed_at IS NULL"))

    def _is_whole(self, row: dict[str, Any]) -> bool:
        try:
            return (self.store / row["path"]).stat().st_size == row["size_bytes"]
        except FileNotFoundError:
            return False


def moment(value: Any) -> datetime:
    """A time as the database gives it: SQLite as text."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found.replace(tzinfo=None)
