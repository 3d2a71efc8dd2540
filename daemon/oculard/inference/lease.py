"""Holding on to claimed jobs while they wait and are worked on, and letting go of a worker that hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Self

from oculard import log
from oculard.errors import Transient
from oculard.settings import Worker as WorkerSettings
from oculard.store.queue import Queue, Ticket

EXIT_HUNG = 70  # EX_SOFTWARE: the supervisor starts another worker, the queue counts the attempt
logger = log.get("worker")


class Lease:
    """Renews the tickets from `keep` until `end`. A batch that is worked on for too long ends the process.

    What is only kept, because another batch is at work, has all the time of that batch: its own begins with `with`.
    """

    def __init__(self, queue: Queue, tickets: Sequence[Ticket], settings: WorkerSettings) -> None:
        self._queue, self._tickets, self._lease_s = queue, tickets, settings.lease_s
        self._work_s, self._ends_at = settings.job_s_max * len(tickets), inf
        self._turned = threading.Event()  # something below has changed: the thread must look
        self._is_over = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def keep(self) -> Self:
        """Begin to renew."""
        self._thread.start()
        return self

    def end(self) -> None:
        """Renew no more."""
        self._is_over = True
        self._turned.set()
        self._thread.join()

    def __enter__(self) -> None:
        self._ends_at = monotonic() + self._work_s
        self._turned.set()

    def __exit__(self, *_: object) -> None:
        self.end()

    def _renew(self) -> None:
        while True:
            if self._turned.wait(min(self._lease_s / 3, max(0.0, self._ends_at - monotonic()))):
                self._turned.clear()
                if self._is_over:
                    return
                continue
            if monotonic() >= self._ends_at:
                logger.error("worker hangs", reason="worker-hung", jobs=[ticket.id for ticket in self._tickets])
                os._exit(EXIT_HUNG)
            try:
                self._queue.renew(self._tickets, lease_s=self._lease_s)
            except Transient as why:
                logger.warning("lease not renewed", reason=why.reason)  # the lease has two more thirds to run
