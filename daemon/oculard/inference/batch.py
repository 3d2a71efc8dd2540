"""A batch: jobs claimed together and held by one lease, looked at by threads while the network is at another batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from oculard.inference.case import Case
from oculard.inference.lease import Lease
from oculard.store.jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Jobs of one estimator, in the order of the claim, and what becomes of each as a case."""

    jobs: Sequence[Job]
    lease: Lease
    looks: Sequence[Future[Case]]

    @property
    def is_fresh(self) -> bool:
        """Whether no worker has had these jobs before; what one died of must not take others with it."""
        return all(job.ticket.attempts == 1 for job in self.jobs)

    def looked(self) -> Iterator[tuple[Job, Future[Case]]]:
        """Each job with what was seen of it."""
        return zip(self.jobs, self.looks, strict=True)

    def drop(self) -> None:
        """Look at no more of it; what is being looked at comes to nothing."""
        for look in self.looks:
            look.cancel()
