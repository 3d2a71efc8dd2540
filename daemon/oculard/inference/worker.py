"""The worker: claim, examine, estimate in batches across studies, report, settle. One job's trouble is its own.

While the network is at one batch, and its reports are written, threads decode and prepare the next: see `batch.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np

from oculard import log
from oculard.clock import Clock
from oculard.errors import Permanent, Transient
from oculard.inference.batch import Batch
from oculard.inference.case import Case, Stopwatch, failed
from oculard.inference.decoding import Decoding, Here
from oculard.inference.estimators import EstimatorRefused, Estimators, Served
from oculard.inference.examine import examine
from oculard.inference.grading import QualityGate
from oculard.inference.lease import Lease
from oculard.inference.prepared import Prepared
from oculard.inference.segmenting import segment
from oculard.inference.volume import Volumes
from oculard.inference.write import Writing, write_report
from oculard.job import JobEvent, backoff_s
from oculard.night import Hours
from oculard.settings import Faz
from oculard.settings import Worker as WorkerSettings
from oculard.store.alarms import Alarms
from oculard.store.digests import digest_of
from oculard.store.jobs import Job, Jobs
from oculard.store.queue import LeaseLost
from oculard.store.vault import Vault, VaultUnreadable
from oculard_models.contract import EstimateFailed
from oculard_models.dicom_pixels import Undecodable
from oculard_models.structures import NO_NUMBERS

BACKOFF_S_MAX = 600.0
LOOKERS = 2  # images that are decoded and prepared at once where nothing is said
MISSING_MAX = 8  # after about eight minutes a file that is not there is gone
T = TypeVar("T")
logger = log.get("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Everything one step needs."""

    owner: str
    settings: WorkerSettings
    jobs: Jobs
    vault: Vault
    alarms: Alarms
    estimators: Estimators
    gate: QualityGate
    faz: Faz
    volumes: Volumes = field(default_factory=Volumes)
    decoder: Decoding = field(default_factory=Here)
    writing: Writing
    peers: Sequence[str]
    zone: tzinfo
    hours: Callable[[], Hours]
    clock: Clock
    lookers: Executor = field(default_factory=lambda: ThreadPoolExecutor(LOOKERS, thread_name_prefix="looker"))
    ahead: list[Batch] = field(default_factory=list)  # at most one: claimed, and looked at, while another was at work
    owed: list[Job] = field(default_factory=list)  # claimed, and not settled because the database went away

    def step(self) -> bool:
        """Do at most one batch of jobs; say whether there was one. Raises Transient when the world is not ready."""
        self.vault.check()
        while self.owed:
            self._give_back(self.owed[-1], "database-down")
            self.owed.pop()
        batch = self.ahead.pop() if self.ahead else self._claim(self.hours(), self.settings.attempts_max)
        if batch is None:
            return False
        try:
            with batch.lease:
                self._work(batch)
        except Transient:
            batch.drop()
            self.owed.extend(batch.jobs)  # given back when the database is there again, without the attempt
            raise
        return True

    def close(self) -> None:
        """Give back what was claimed ahead: nobody will work on it. What cannot be given back has a lease that ends."""
        while self.ahead:
            batch = self.ahead.pop()
            batch.drop()
            batch.lease.end()
            for job in batch.jobs:
                try:
                    self._give_back(job, "worker-stopped")
                except Transient as why:
                    logger.warning("job not given back", job=job.ticket.id, reason=why.reason, hint=why.hint)
        self.lookers.shutdown(wait=False)

    def _claim(self, hours: Hours, attempts_max: int) -> Batch | None:
        """Claim jobs and have them looked at."""
        jobs = self.jobs.claim(
            self.owner,
            lease_s=self.settings.lease_s,
            limit=self.settings.batch,
            attempts_max=attempts_max,
            hours=hours,
        )
        if not jobs:
            return None
        return Batch(
            jobs=jobs,
            lease=Lease(self.jobs.queue, [job.ticket for job in jobs], self.settings).keep(),
            looks=[self.lookers.submit(self._look, job) for job in jobs],
        )

    def _work(self, batch: Batch) -> None:
        cases = [case for job, look in batch.looked() if (case := self._seen(job, look)) is not None]
        if batch.is_fresh:
            self._look_ahead(batch)
        self._estimate(cases)
        for case in cases:
            self._report(case)

    def _look_ahead(self, batch: Batch) -> None:
        """Claim what comes after this batch. Only jobs that nobody has had yet: they cannot have killed anybody."""
        try:
            ahead = self._claim(self.hours().after(batch.jobs[0].estimator, len(batch.jobs)), attempts_max=0)
        except Transient:
            return  # this batch is to be finished first; the next claim meets the same trouble and says so
        if ahead is not None:
            self.ahead.append(ahead)

    def _give_back(self, job: Job, reason: str) -> None:
        """Return a job that the world kept us from finishing; it may be settled or somebody else's by now."""
        try:
            self.jobs.hinder(job, reason=reason, delay_s=0.0)
        except LeaseLost:
            return

    def _look(self, job: Job) -> Case:
        """Look at one job's images, in a thread. Raises Transient, Permanent; bugs and all else come out in `_seen`."""
        manifest = self.estimators.manifest(job.estimator)
        if manifest is None:
            raise EstimatorRefused(f"there is no bundle `{job.estimator}`", reason="bundle-missing")
        case = Case(job=job, manifest=manifest, started_at=self.clock.now(), decoder=self.decoder)
        try:
            with Stopwatch([case], "examine"):
                for image in job.inputs:
                    _must_be_whole(self.vault.path(image.path))
                examine(
                    case,
                    self.vault,
                    self.gate,
                    pixels_max=self.settings.images_pixels_max,
                    attempts_max=self.settings.attempts_max,
                    how=self.volumes,
                )
        except FileNotFoundError as why:
            if job.hindered >= MISSING_MAX:
                raise Permanent(f"a kept file is gone: {why.strerror}", reason="file-missing") from why
            raise VaultUnreadable("a kept file is not there") from why
        except (OSError, MemoryError) as why:
            raise VaultUnreadable(f"a kept file could not be read: {type(why).__name__}") from why
        except Undecodable as why:
            raise Permanent(str(why), reason=why.reason) from why
        return case

    def _seen(self, job: Job, look: Future[Case]) -> Case | None:
        """Wait for what was seen; None when the job was settled already, because nothing can be said about it."""
        try:
            return look.result()
        except Transient as why:
            self._retry(job, why)
        except Permanent as why:
            self._give_up(job, why)
        return None

    def _estimate(self, cases: Sequence[Case]) -> None:
        """Run the networks: all images of all jobs of one estimator together."""
        waiting = sorted((case for case in cases if case.verdict is None), key=lambda case: case.job.estimator)
        for name, group in groupby(waiting, key=lambda case: case.job.estimator):
            members = list(group)
            with Stopwatch(members, "estimate"):
                self._estimate_together(name, members)

    def _estimate_together(self, name: str, cases: list[Case]) -> None:
        try:
            served = self.estimators.get(name)
        except EstimatorRefused as why:
            for case in cases:
                case.close(failed(why.reason, "the estimator cannot be used"))
            return
        try:
            for chunk in _chunks([(case, image) for case in cases for image in case.images], self.settings.batch):
                if served.manifest.input.views:
                    _classify(served, chunk)
                elif served.manifest.mask is None:
                    _estimate_values(served, chunk)
                else:
                    segment(served.estimator, chunk, axial_length_device_mm=self.faz.axial_length_device_mm)
            for case in cases:
                case.parameters += served.conditions
        except (EstimateFailed, MemoryError) as why:
            if len(cases) == 1:
                logger.error("estimator failed", job=cases[0].job.ticket.id, estimator=name, exc_info=why)
                cases[0].close(failed("estimator-failed", "the estimator ended with an error"))
                return
            for case in cases:  # one of them is the culprit: the others must not suffer with it
                case.raws.clear()
                case.found = case.classified = None
                self._estimate_together(name, [case])

    def _report(self, case: Case) -> None:
        """Write the report and settle the job with it."""
        job = case.job
        try:
            with Stopwatch([case], "report"):
                now = self.clock.now().astimezone(self.zone)
                report = write_report(case, self.jobs.history(job), self.vault, self.writing, now)
            self.jobs.finish(job, case.event, report, reason=case.reason, peers=self.peers)
        except LeaseLost as why:
            logger.warning("result thrown away", job=job.ticket.id, reason=why.reason)
        except Transient as why:
            self._retry(job, why)
        except Permanent as why:
            self._give_up(job, why)
        else:
            has_failed = case.event is JobEvent.GIVE_UP
            (logger.warning if has_failed else logger.info)(
                "job failed, its report says so" if has_failed else "job ended",
                job=job.ticket.id,
                study_id=job.study_id,
                family=job.family,
                eye=job.eye,
                estimator=job.estimator,
                outcome=report.outcome,
                reason=case.reason,
                hint=f"see its reason in the runbook; then `oculard retry --job {job.ticket.id}`" if has_failed else "",
                took_s=round(sum(case.took.values()), 3),
            )

    def _retry(self, job: Job, why: Transient) -> None:
        """The world failed, not the job: it waits longer each time and keeps its attempts."""
        delay_s = backoff_s(job.hindered + 1, longest_s=BACKOFF_S_MAX)
        logger.warning("job retried later", job=job.ticket.id, reason=why.reason, delay_s=delay_s, hint=why.hint)
        try:
            self.jobs.hinder(job, reason=why.reason, delay_s=delay_s)
        except LeaseLost as lost:
            logger.warning("result thrown away", job=job.ticket.id, reason=lost.reason)

    def _give_up(self, job: Job, why: Permanent) -> None:
        """Fail a job of which not even a report can be made: a person must look."""
        logger.error("job failed without a report", job=job.ticket.id, reason=why.reason, hint=why.hint)
        try:
            self.jobs.queue.settle(job.ticket, JobEvent.GIVE_UP, reason=why.reason)
        except LeaseLost as lost:
            logger.warning("result thrown away", job=job.ticket.id, reason=lost.reason)
        self.alarms.raise_("job-without-report", f"job {job.ticket.id}")


def _must_be_whole(path: Path) -> None:
    """Nothing is said of bytes that are not those that came. Raises Permanent or OSError."""
    if digest_of(path, "instances") != path.stem:
        raise Permanent("a kept file is not what came", reason="file-damaged")


def _estimate_values(served: Served, chunk: Sequence[tuple[Case, Prepared]]) -> None:
    """Run the network on a batch and leave with each case what it says of its images."""
    raws = served.estimator.estimate(np.stack([image.tensor for _, image in chunk]))
    for (case, image), raw in zip(chunk, raws, strict=True):
        case.raws[image.eye].append((image.sop_instance_uid, dict(raw)))


def _classify(served: Served, chunk: Sequence[tuple[Case, Prepared]]) -> None:
    """Run the network on the views of a batch and leave with each case what it says of them."""
    said = served.estimator.classify(np.stack([image.tensor for _, image in chunk]))
    for (case, _), classified in zip(chunk, said, strict=True):
        case.classified = classified
        if not classified.is_sound:
            case.close(failed(NO_NUMBERS, "the network's probabilities are none"))


def _chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
