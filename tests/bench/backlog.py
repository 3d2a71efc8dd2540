"""Databases full of jobs: half of them wait, half have ended, each of these with the events of its way."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from oculard.store.database import Database

JOBS_A_STUDY = 4
AT = "2026-11-20 00:00:00"
NUMBERS = {  # 1 to {rows}, as a table n with a column i
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, {rows}))",
}
STUDIES = f"""
INSERT INTO study (study_instance_uid, patient_id, accession_number, state, first_received_at, active_at)
{{numbers}} SELECT '1.2.' || i, '', '', 'open', '{AT}', '{AT}' FROM n
"""
JOBS = f"""
INSERT INTO job (study_id, family, eye, estimator, inputs_digest, run_window, priority, created_at, changed_at,
                 run_after, state, attempts)
{{numbers}} SELECT 1 + i % {{studies}}, 'systemic', 'R', 'painted@1.0.0', 'digest ' || i, 'now', 5, '{AT}', '{AT}',
       '{AT}', CASE WHEN i % 2 = 0 THEN 'queued' ELSE 'reported' END, 0
FROM n
"""
EVENTS = f"""
INSERT INTO event (at, kind, subject_id, study_id, name, source, target, actor)
SELECT '{AT}', 'job', id, study_id, '{{name}}', '{{source}}', '{{target}}', 'bench' FROM job WHERE state = 'reported'
"""
MOVES = (("claim", "queued", "running"), ("done", "running", "reported"))
MOVED = "SELECT subject_id FROM event WHERE id > {filled}"
AGAIN = f"UPDATE job SET state = 'queued', attempts = 0 WHERE id IN ({MOVED})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """A database full of jobs."""

    url: str
    filled: int  # the last event that was written when it was

    def refill(self) -> None:
        """Put back what was worked off. Afterwards it is as it was, without the rows that are dead."""
        database = Database(self.url)
        with database.write() as connection:
            connection.exec_driver_sql(AGAIN.format(filled=self.filled))
            connection.exec_driver_sql(f"DELETE FROM event WHERE id > {self.filled}")
        with database.outside() as connection:
            tidy = "PRAGMA wal_checkpoint(TRUNCATE)" if database.is_sqlite else "VACUUM job, event"
            connection.exec_driver_sql(tidy)
        database.close()


def fill(url: str, rows: int) -> Backlog:
    """Make the tables in an empty database, and fill them with so many jobs."""
    database, studies = Database(url), max(1, rows // JOBS_A_STUDY)
    database.upgrade()
    numbers = NUMBERS["sqlite" if database.is_sqlite else "postgresql"]
    with database.outside() as connection:  # of a load that is right by its making nothing is checked row by row
        unchecked = "PRAGMA foreign_keys=OFF" if database.is_sqlite else "SET session_replication_role = replica"
        connection.exec_driver_sql(unchecked)
        connection.execute(text(STUDIES.format(numbers=numbers.format(rows=studies))))
        connection.execute(text(JOBS.format(numbers=numbers.format(rows=rows), studies=studies)))
        for name, source, target in MOVES:
            connection.exec_driver_sql(EVENTS.format(name=name, source=source, target=target))
        last = _last_event(connection)
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)" if database.is_sqlite else "VACUUM ANALYZE")
    database.close()
    return Backlog(url=url, filled=last)


def _last_event(connection: Connection) -> int:
    last: int = connection.exec_driver_sql("SELECT max(id) FROM event").scalar_one()
    return last
