"""Telling people: what is owed is sent to every address, tried again where it failed, and parked in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from oculard import log
from oculard.clock import Clock
from oculard.job import DeliveryEvent, backoff_s
from oculard.store.alarms import Alarms, fit
from oculard.store.notices import Notice, Notices
from oculard.store.queue import LeaseLost
from oculard.upkeep.addresses import SEND_S, Address
from oculard.upkeep.clockwork import Chore

NOT_SENT = "notice-not-sent"
PER_WAKE_UP = 5
ATTEMPTS_MAX = 20  # with the longest pause between them: about two days
BACKOFF_S_MAX = 6 * 3600.0
KEPT = timedelta(days=90)  # what was told, or was given up, is forgotten then
logger = log.get("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postman:
    """Sends notices; each of its chores is safe to do at any time and any number of times."""

    owner: str
    addresses: Sequence[Address]
    notices: Notices
    alarms: Alarms
    clock: Clock

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [Chore(do=self.send_notices, every_s=5), Chore(do=self.look_after_notices, every_s=3600)]

    def send_notices(self) -> None:
        """Send some of what is due; what nobody may be told waits for an address."""
        if not self.addresses:
            return
        for _ in range(PER_WAKE_UP):
            if not self.step():
                return

    def look_after_notices(self) -> None:
        """Forget what is long told; complain of addresses that nobody understands, and no more of those that went."""
        self.notices.forget(before=self.clock.now() - KEPT)
        places = {fit(address.place) for address in self.addresses}
        wrong = {address.place for address in self.addresses if not address.is_understood}
        for place in wrong:
            hint = "`oculard doctor` tells which URLs of [notify] are not understood"
            logger.error("address not understood", peer=place, reason=NOT_SENT, hint=hint)
        self.alarms.only(NOT_SENT, self.alarms.subjects(NOT_SENT) & places | wrong)

    def step(self) -> bool:
        """Send at most one notice to those who have it not; say whether there was one."""
        notice = self.notices.claim(self.owner, lease_s=SEND_S * (1 + len(self.addresses)))
        if notice is None:
            return False
        failed, taken = list[Address](), set(notice.taken)
        for address in self.addresses:
            if address.fingerprint in taken:
                continue
            if address.give(notice.kind, notice.content):
                taken.add(address.fingerprint)
                self.alarms.clear(NOT_SENT, address.place)
            else:
                failed.append(address)
        try:
            self._settle(notice, taken, failed)
        except LeaseLost:
            logger.warning("notice was not ours any more", reason=LeaseLost.reason, name=notice.kind)
        return True

    def _settle(self, notice: Notice, taken: set[str], failed: Sequence[Address]) -> None:
        attempts = notice.ticket.attempts
        if not failed:
            self.notices.settle(notice, DeliveryEvent.DONE, taken=taken)
            logger.info("notice sent", name=notice.kind, attempts=attempts)
            return
        places = [address.place for address in failed]
        if attempts >= ATTEMPTS_MAX:
            self.notices.settle(notice, DeliveryEvent.PARK, taken=taken, reason=NOT_SENT)
            hint = "`oculard notify` tries each address; then `oculard retry --notices`"
            logger.error("notice parked", name=notice.kind, peer=places, reason=NOT_SENT, hint=hint)
            for place in places:
                self.alarms.raise_(NOT_SENT, place)
            return
        delay_s = backoff_s(attempts, longest_s=BACKOFF_S_MAX)
        self.notices.settle(notice, DeliveryEvent.RETRY, taken=taken, reason=NOT_SENT, delay_s=delay_s)
        facts = {"name": notice.kind, "peer": places, "attempts": attempts, "delay_s": delay_s}
        logger.warning("notice not sent", reason=NOT_SENT, **facts)
