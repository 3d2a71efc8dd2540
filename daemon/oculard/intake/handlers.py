"""What a C-STORE is answered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from oculard import log
from oculard.clock import Clock
from oculard.errors import OculardError
from oculard.intake.custody import Custody, Offer
from oculard.store.spool import Spool

logger = log.get("intake")


@dataclass(frozen=True, slots=True)
class Reply:
    """The status of a C-STORE response and the words beside it (Error Comment, at most 64 characters)."""

    status: int
    comment: str = ""

    def __post_init__(self) -> None:
        if len(self.comment) > 64 or not self.comment.isascii():
            raise ValueError(f"not an error comment: {self.comment!r}")  # PS3.7 C.4.2, VR LO


SUCCESS = Reply(0x0000)
TRY_AGAIN = Reply(0xA700, "cannot store now: keep the instance and send it again")
# Every failure that has an answer of its own (PS3.4 B.2.3, PS3.7 C.4 and C.5); all others are TRY_AGAIN.
REPLIES: Mapping[str, Reply] = {
    "disk-full": Reply(0xA700, "out of disk space: keep the instance and send it again"),
    "vault-unwritable": Reply(0xA700, "cannot write: keep the instance and send it again"),
    "vault-unreadable": Reply(0xA700, "cannot read back: keep the instance and send it again"),
    "instance-too-large": Reply(0xA700, "the instance is larger than this SCP accepts"),
    "database-down": Reply(0xA700, "database is down: keep the instance and send it again"),
    "uid-mismatch": Reply(0xA900, "SOP Instance UID of the data set is not the announced one"),
    "class-mismatch": Reply(0xA900, "SOP Class UID of the data set is not the announced one"),
    "no-data-set": Reply(0xC000, "the request has no data set"),
    "truncated": Reply(0xC000, "the data set is cut short"),
    "bad-data-set": Reply(0xC000, "the data set cannot be parsed"),
    "bad-header": Reply(0xC000, "SOP, Study or Series Instance UID is missing or malformed"),
    "bad-structure": Reply(0xC000, "the structure of the data set is broken"),
    "bad-deflate": Reply(0xC000, "the data set is not deflated as its transfer syntax says"),
    "inflates-too-far": Reply(0xC000, "the data set inflates to more than this SCP accepts"),
    "header-too-large": Reply(0xC000, "the header is larger than this SCP accepts"),
    "too-many-elements": Reply(0xC000, "the data set has more elements than this SCP accepts"),
    "nested-too-deep": Reply(0xC000, "sequences are nested deeper than this SCP accepts"),
    "bad-uid": Reply(0x0117, "Affected SOP Class or Instance UID is malformed"),
    "class-not-negotiated": Reply(0x0122, "the presentation context is for another SOP class"),
    "may-not-store": Reply(0x0124, "this AE title may not store here"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A C-STORE that was decided on. `end` comes after the reply: what is left to do keeps no sender waiting."""

    reply: Reply
    spool: Spool
    tell: Callable[[], None]

    def end(self) -> None:
        """Give the spool back, of which nothing stays but what was taken, and tell the log."""
        self.spool.discard()
        self.tell()


class StoreHandler:
    """Turns an offer into custody and an answer."""

    def __init__(self, custody: Custody, clock: Clock) -> None:
        self._custody, self._clock = custody, clock

    def answer(self, offer: Offer) -> Answered:
        """Take custody and say so, or say why not. The sender may hear it at once; then comes `Answered.end`."""
        began = self._clock.now()
        known = {
            "sop_instance_uid": offer.sop_instance_uid,
            "sop_class_uid": offer.sop_class_uid,
            "transfer_syntax_uid": offer.transfer_syntax_uid,
            "size_bytes": offer.spool.size_bytes,
            "sender": offer.sender,
            "association": offer.association,
        }
        try:
            received = self._custody.take(offer)
        except OculardError as why:
            reply = REPLIES.get(why.reason, TRY_AGAIN)
            refused = {"reason": why.reason, "hint": why.hint, "status": reply.status, **known}
            return Answered(reply=reply, spool=offer.spool, tell=partial(logger.warning, "instance refused", **refused))
        except Exception as why:  # noqa: BLE001  the C-STORE boundary: the device keeps the image
            refused = {"reason": "unexpected", "status": TRY_AGAIN.status, "exc_info": why, **known}
            return Answered(
                reply=TRY_AGAIN, spool=offer.spool, tell=partial(logger.error, "instance refused", **refused)
            )
        took_s = round((self._clock.now() - began).total_seconds(), 4)
        taken = {"outcome": received.value, "took_s": took_s, **known}
        return Answered(reply=SUCCESS, spool=offer.spool, tell=partial(logger.info, "instance taken", **taken))
