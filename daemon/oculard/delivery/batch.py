"""What was claimed for one peer, until each report of it is settled on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from oculard import log
from oculard.clock import Clock
from oculard.delivery.part10 import Meta
from oculard.delivery.statuses import Verdict
from oculard.errors import OculardError
from oculard.job import DeliveryEvent, backoff_s
from oculard.settings import Delivery as DeliverySettings
from oculard.settings import Peer
from oculard.store.alarms import Alarms
from oculard.store.deliveries import Deliveries, Delivery
from oculard.store.objects import SentObject
from oculard.store.queue import LeaseLost

ATTEMPTS_ALARM = 10  # about a quarter of an hour of doubling pauses
DELAYED, PARKED = "delivery-delayed", "delivery-parked"
logger = log.get("sender")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one object of a report at its peer."""

    role: str
    meta: Meta
    verdict: Verdict

    @property
    def sent(self) -> SentObject:
        """As it is kept."""
        return SentObject(
            role=self.role,
            sop_class_uid=self.meta.sop_class_uid,
            sop_instance_uid=self.meta.sop_instance_uid,
            reason=None if self.verdict.is_taken else self.verdict.reason,
        )


@dataclass(slots=True, kw_only=True)
class Batch:
    """The claimed deliveries that are still ours."""

    peer: Peer
    left: dict[int, Delivery]
    deliveries: Deliveries
    alarms: Alarms
    clock: Clock
    settings: DeliverySettings
    renewed_at: datetime
    taken: int = field(default=0, init=False)

    def took(self, delivery: Delivery, fates: Sequence[Fate], *, took_s: float) -> None:
        """The peer has it; the last fate is the SR's."""
        self.taken += 1
        sent, awaits_commitment = [fate.sent for fate in fates], self.peer.commitment
        if not self._settle(
            delivery, lambda: self.deliveries.took(delivery, sent, awaits_commitment=awaits_commitment)
        ):
            return
        *companions, report = fates
        for fate in companions:
            is_taken = fate.verdict.is_taken
            say = logger.info if is_taken else logger.warning
            say("companion sent" if is_taken else "companion left out", name=fate.role, **self._told(delivery, fate))
        logger.info("report sent", **self._told(delivery, report), took_s=round(took_s, 3))

    def retry(self, delivery: Delivery, why: OculardError, *, at: str = "") -> None:
        """It will be tried again, later each time; a peer that keeps somebody waiting for long raises an alarm.

        `at`: the role of the object that it failed at.
        """
        attempts = delivery.ticket.attempts
        delay_s = backoff_s(attempts, longest_s=self.settings.backoff_s_max)
        self._log("report not sent", delivery, why, delay_s=delay_s, at=at)
        self._settle(delivery, lambda: self._move(delivery, DeliveryEvent.RETRY, why, delay_s))
        if attempts >= ATTEMPTS_ALARM:
            self.alarms.raise_(DELAYED, self.peer.name)

    def park(self, delivery: Delivery, why: OculardError, *, at: str = "") -> None:
        """A person must look."""
        self._log("report parked", delivery, why, at=at)
        self._settle(delivery, lambda: self._move(delivery, DeliveryEvent.PARK, why, 0.0))
        self.alarms.raise_(PARKED, self.peer.name)

    def break_at(self, delivery: Delivery, why: OculardError, *, at: str) -> None:
        """The association broke at this one, which may be the cause: it goes later. The others lose no attempt."""
        self.retry(delivery, why, at=at)
        for unsent in list(self.left.values()):
            self._put_back(unsent, why)

    def retry_left(self, why: OculardError) -> None:
        """There was no association: what is not settled will be tried again."""
        for delivery in list(self.left.values()):
            self.retry(delivery, why)

    def park_left(self, why: OculardError) -> None:
        """The association was refused: what is not settled waits for a person."""
        for delivery in list(self.left.values()):
            self.park(delivery, why)

    def renew(self) -> None:
        """Prolong the leases, if a good part of them is over."""
        now = self.clock.now()
        if now - self.renewed_at >= timedelta(seconds=self.settings.lease_s / 10):
            self.deliveries.queue.renew([one.ticket for one in self.left.values()], lease_s=self.settings.lease_s)
            self.renewed_at = now

    def _put_back(self, delivery: Delivery, why: OculardError) -> None:
        """It was never on the wire: it may go at once, as if it had not been claimed."""
        self._log("report put back", delivery, why)
        attempts = delivery.ticket.attempts - 1
        self._settle(delivery, lambda: self._move(delivery, DeliveryEvent.RETRY, why, 0.0, attempts=attempts))

    def _settle(self, delivery: Delivery, move: Callable[[], None]) -> bool:
        """Settle one. When somebody else holds it now, what we know of it is thrown away: they send the same UID."""
        del self.left[delivery.ticket.id]
        try:
            move()
        except LeaseLost as lost:
            self._log("delivery is somebody else's now", delivery, lost)
            return False
        return True

    def _move(
        self, delivery: Delivery, event: DeliveryEvent, why: OculardError, delay_s: float, **columns: int
    ) -> None:
        self.deliveries.queue.settle(delivery.ticket, event, reason=why.reason, delay_s=delay_s, **columns)

    def _told(self, delivery: Delivery, fate: Fate) -> dict[str, Any]:
        return {
            "delivery": delivery.ticket.id,
            "peer": self.peer.name,
            "sop_instance_uid": fate.meta.sop_instance_uid,
            "sop_class_uid": fate.meta.sop_class_uid,
            "reason": fate.verdict.reason,
            "hint": fate.verdict.hint,
        }

    def _log(self, what: str, delivery: Delivery, why: OculardError, *, delay_s: float = 0.0, at: str = "") -> None:
        logger.warning(
            what,
            delivery=delivery.ticket.id,
            peer=self.peer.name,
            sop_instance_uid=delivery.sop_instance_uid,
            name=at,
            attempts=delivery.ticket.attempts,
            delay_s=delay_s,
            reason=why.reason,
            hint=why.hint,
        )
