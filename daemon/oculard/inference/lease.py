"""Holding on to claimed jobs while they are worked on, and letting go of a worker that hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from time import monotonic

from oculard import log
from oculard.errors import Transient
from oculard.settings import Worker as WorkerSettings
from oculard.store.queue import Queue, Ticket

EXIT_HUNG = 70  # EX_SOFTWARE: the supervisor starts another worker, the queue counts the attempt
logger = log.get("worker")


class Lease:
    """Renews the tickets until the block ends. A batch that takes too long ends the process; its attempts count."""

    def __init__(self, queue: Queue, tickets: Sequence[Ticket], settings: WorkerSettings) -> None:
        self._queue, self._tickets, self._lease_s = queue, tickets, settings.lease_s
        self._ends_at = monotonic() + settings.job_s_max * len(tickets)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._done.wait(min(self._lease_s / 3, max(0.0, self._ends_at - monotonic()))):
            if monotonic() >= self._ends_at:
                logger.error("worker hangs", reason="worker-hung", jobs=[ticket.id for ticket in self._tickets])
                os._exit(EXIT_HUNG)
            try:
                self._queue.renew(self._tickets, lease_s=self._lease_s)
            except Transient as why:
                logger.warning("lease not renewed", reason=why.reason)  # the lease has two more thirds to run
