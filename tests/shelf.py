"""The whole store on one shelf, with short words to fill it: `shelf.receive(...)`, `shelf.settle()`, ..."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from oculard.clock import Clock
from oculard.job import JobEvent, Order
from oculard.night import Hours
from oculard.store.alarms import Alarms
from oculard.store.answers import Answers
from oculard.store.backfills import Backfills
from oculard.store.callers import Callers
from oculard.store.database import Database
from oculard.store.deliveries import Deliveries, Delivery
from oculard.store.instances import Arrival, Instances, Received
from oculard.store.jobs import Companion, Job, Jobs, NewReport
from oculard.store.night_jobs import NightJobs
from oculard.store.notices import Notices
from oculard.store.objects import SentObject
from oculard.store.reannotations import Reannotations
from oculard.store.retrievals import Retrievals
from oculard.store.roles import Roles
from oculard.store.studies import Kept, Studies
from oculard.store.trace import Trace
from oculard.store.vault import Vault
from oculard_models.contract import Finding

STUDY = "1.2.3"
ANY_TIME = Hours(until=datetime.max.replace(tzinfo=UTC), expected_s={}, first_s=1)  # a night that does not end
SR_3D = "1.2.840.10008.5.1.4.1.1.88.34"
OP_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
CLASSES = {  # of what accompanies a report: Segmentation, Secondary Capture, Encapsulated PDF
    "seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "sc": "1.2.840.10008.5.1.4.1.1.7",
    "pdf": "1.2.840.10008.5.1.4.1.1.104.1",
}


class Shelf:
    """Everything of the store, built as the program builds it."""

    def __init__(self, database: Database, clock: Clock, folder: Path) -> None:
        self.database, self.clock = database, clock
        self.vault = Vault(folder)
        self.vault.prepare()
        self.instances = Instances(database, self.vault, clock)
        self.jobs = Jobs(database, clock)
        self.night_jobs = NightJobs(database, clock, self.jobs.queue)
        self.studies = Studies(database, clock, self.jobs)
        self.backfills = Backfills(database, clock)
        self.retrievals = Retrievals(database, clock, self.backfills.queue)
        self.reannotations = Reannotations(database, clock, self.jobs)
        self.deliveries = Deliveries(database, clock)
        self.answers = Answers(database, clock)
        self.callers = Callers(database, clock)
        self.alarms = Alarms(database, clock)
        self.notices = Notices(database, clock)
        self.roles = Roles(database, clock)
        self.trace = Trace(database, clock)

    def arrival(self, sop_instance_uid: str, data: bytes = b"pixels", **changes: Any) -> Arrival:
        """An instance that lies in the spool."""
        spooled = self.vault.spool / f"{uuid.uuid4().hex}.dcm"
        spooled.write_bytes(data)
        values: dict[str, Any] = {
            "sop_class_uid": OP_8_BIT,
            "sop_instance_uid": sop_instance_uid,
            "study_instance_uid": STUDY,
            "series_instance_uid": f"{STUDY}.1",
            "patient_id": "P1",
            "accession_number": "A1",
            "facts": {},
            "spooled": spooled,
            "sha256": hashlib.sha256(data).hexdigest(),
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "sender": "topcon",
            "calling_ae": "TOPCON",
            "called_ae": "OCULARD",
            "address": "127.0.0.1",
            "association": "",
        }
        return Arrival(**(values | changes))

    def receive(self, sop_instance_uid: str, data: bytes = b"pixels", **changes: Any) -> Received:
        """Take custody of an instance, and give its spool back."""
        arrival = self.arrival(sop_instance_uid, data, **changes)
        try:
            return self.instances.take(arrival)
        finally:
            arrival.spooled.unlink(missing_ok=True)

    def settle(self, eyes: Sequence[str] = ("R",), **changes: Any) -> list[int]:
        """Settle every open study with one job for each eye; gives the new jobs."""

        def decide(kept: Sequence[Kept]) -> list[Order]:
            digest = hashlib.sha256(" ".join(sorted(k.sop_instance_uid for k in kept)).encode()).hexdigest()
            values: dict[str, Any] = {
                "family": "systemic",
                "estimator": "painted@1.0.0",
                "window": "now",
                "priority": 5,
                "instance_ids": tuple(k.id for k in kept),
                "inputs_digest": digest,
            }
            return [Order(eye=eye, **(values | changes)) for eye in eyes]

        new: list[int] = []
        for study in self.studies.open():
            new += (
                self.studies.settle(study.id, active_at=study.active_at, decide=decide, actor="test", why="test") or []
            )
        return new

    def claim(
        self,
        owner: str = "worker",
        limit: int = 1,
        lease_s: float = 60.0,
        attempts_max: int = 3,
        hours: Hours = ANY_TIME,
    ) -> list[Job]:
        """Claim jobs."""
        return self.jobs.claim(owner, lease_s=lease_s, limit=limit, attempts_max=attempts_max, hours=hours)

    def companion(self, role: str, sop_instance_uid: str, data: bytes) -> Companion:
        """What accompanies a report, with its file in the vault."""
        path, sha256 = self.vault.write_report(data)
        return Companion(
            role=role,
            sop_class_uid=CLASSES[role],
            sop_instance_uid=sop_instance_uid,
            series_instance_uid=f"{sop_instance_uid}.1"[:64],
            path=path,
            sha256=sha256,
            size_bytes=len(data),
        )

    def finish(
        self,
        job: Job,
        *,
        event: JobEvent = JobEvent.DONE,
        peers: Sequence[str] = ("pacs",),
        data: bytes = b"report",
        companions: Sequence[Companion] = (),
        took: Mapping[str, float] = MappingProxyType({"estimate": 0.1}),
    ) -> NewReport:
        """Settle a job with a report of which only the file is real."""
        path, sha256 = self.vault.write_report(data)
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{job.ticket.id} {job.generation}').int}"
        report = NewReport(
            sop_class_uid=SR_3D,
            sop_instance_uid=uid,
            series_instance_uid=f"{uid}.1"[:64],
            path=path,
            sha256=sha256,
            size_bytes=len(data),
            outcome="complete",
            remark="",
            weights_sha256="0" * 64,
            demonstration=True,
            predecessor_id=None,
            findings=(Finding(name="age", unit="a", value=61.3, uncertainty=4.0),),
            took=dict(took),
            companions=tuple(companions),
        )
        self.jobs.finish(job, event, report, reason=None, peers=peers)
        return report

    def took(self, delivery: Delivery, *, awaits_commitment: bool = True) -> None:
        """A peer took everything as it is."""
        sent = [
            SentObject(role=one.role, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid)
            for one in delivery.objects
        ]
        self.deliveries.took(delivery, sent, awaits_commitment=awaits_commitment)

    def study(self) -> dict[str, Any]:
        """Everything that is known about the study."""
        (study_id,) = self.trace.find(STUDY)
        return self.trace.study(study_id)

    def events(self, kind: str) -> list[tuple[int, str, str | None, str | None]]:
        """What happened to everything of a kind: (id, event, from, to)."""
        found = []
        for study in self.trace.find(STUDY):
            found += [e for e in self.trace.study(study)["events"] if e["kind"] == kind]
        return [(e["subject_id"], e["name"], e["source"], e["target"]) for e in found]
