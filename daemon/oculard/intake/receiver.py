"""The receiver: what arrives in pieces becomes messages; the data set of a C-STORE goes to a spool, never to memory."""

from __future__ import annotations

import contextlib
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA

from oculard import log
from oculard.dimse import UNREADABLE
from oculard.errors import Rejected
from oculard.imaging.facts import is_uid
from oculard.intake.codec import StoreCommand
from oculard.intake.contexts import is_storage
from oculard.store.spool import Spool, Spooler

MESSAGE_BYTES_MAX = 16 << 20  # of a message that is no C-STORE: 10,000 references to commit to are about 2 MB
MESSAGES_WAITING_MAX = 4  # nobody may send a request before the last one is answered (PS3.7 D.3.3.3)
INVALID_PDU = "Evt19"  # ends the association with an A-ABORT (PS3.8 9.2.3)
logger = log.get("intake")


class NotAcceptable(Rejected):
    """A C-STORE request that is refused whatever its data set says."""

    reason = "not-acceptable"


class Receiver(DIMSEServiceProvider):
    """pynetdicom's message assembly with bounds, and with a spool where it would keep a data set in memory."""

    def __init__(self, association: Any, spooler: Spooler) -> None:
        super().__init__(association)
        self._association = association  # an IntakeAssociation
        self._spooler, self._spools, self._is_over = spooler, set[Spool](), False
        self._bytes, self.is_broken = 0, False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA, one by one: the original forgets what follows a message's end."""
        for context_id, fragment in primitive.presentation_data_value_list:
            if self.is_broken:
                return
            try:
                self._receive(context_id, fragment)
            except UNREADABLE as why:
                self.break_off(f"bad-message-{type(why).__name__}")

    @property
    def is_between_messages(self) -> bool:
        """Whether the next fragment begins a message."""
        return self.message is None and not self.is_broken

    def begin_store(self, command: StoreCommand, context_id: int) -> Spool | None:
        """A spool for the data set of an ordinary C-STORE; None where it must be refused, which takes the long way."""
        context = self._association._accepted_cx.get(context_id)
        sop_class_uid = command.sop_class_uid
        if context is None or not self._association.may_store:
            return None
        if str(context.abstract_syntax) != sop_class_uid or not is_storage(sop_class_uid):
            return None
        spool = self._spooler.open(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=str(context.transfer_syntax[0]),
        )
        self._keep(spool)
        return spool

    def discard(self) -> None:
        """The association is over: delete every spool of which nobody took custody."""
        self._is_over = True
        with contextlib.suppress(KeyError):  # two threads may come here; none is left
            while True:
                self._spools.pop().discard()

    def done(self, spool: Spool) -> None:
        """A request has been answered."""
        self._spools.discard(spool)

    def _receive(self, context_id: int, fragment: bytes) -> None:
        is_command = bool(fragment[0] & 1)
        if isinstance(self.message, C_STORE_RQ):
            if is_command:
                self.break_off("command-inside-data-set")
                return
        else:
            self._bytes = len(fragment) + (self._bytes if self.message is not None else 0)
            if self._bytes > MESSAGE_BYTES_MAX or self.msg_queue.qsize() > MESSAGES_WAITING_MAX:
                self.break_off("message-too-large" if self._bytes > MESSAGE_BYTES_MAX else "requests-unanswered")
                return
        part = P_DATA()
        part.presentation_data_value_list.append((context_id, fragment))
        super().receive_primitive(part)
        if isinstance(self.message, C_STORE_RQ) and self.message._data_set_file is None:
            # What pynetdicom itself does for its chunked reception: it writes the fragments to this file.
            spool: Any = self._open(self.message.command_set, context_id)
            self.message._data_set_file = spool

    def _open(self, command: Dataset, context_id: int) -> Spool:
        """A spool for the data set that follows, or one that swallows it."""
        try:
            context, sop_class_uid, sop_instance_uid = self._announced(command, context_id)
        except NotAcceptable as why:
            spool = self._spooler.refuse(why)
        else:
            spool = self._spooler.open(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=str(context.transfer_syntax[0]),
            )
        self._keep(spool)
        return spool

    def _keep(self, spool: Spool) -> None:
        """Know a spool until its request is answered; a disk may have opened it after the association was over."""
        self._spools.add(spool)
        if self._is_over:
            self.discard()

    def _announced(self, command: Dataset, context_id: int) -> tuple[Any, str, str]:
        """The context, class and instance that a C-STORE command names. Raises NotAcceptable."""
        names = ("AffectedSOPClassUID", "AffectedSOPInstanceUID")
        sop_class_uid, sop_instance_uid = (str(command.get(name) or "") for name in names)
        if not (is_uid(sop_class_uid) and is_uid(sop_instance_uid)):
            for name in names:  # what pynetdicom would not take is not sent back either
                if not is_uid(str(command.get(name) or "")) and name in command:
                    del command[name]
            raise NotAcceptable("an announced UID is malformed", reason="bad-uid")
        if not self._association.may_store:
            raise NotAcceptable("a peer that is no sender sent an instance", reason="may-not-store")
        context = self._association._accepted_cx.get(context_id)
        if context is None or str(context.abstract_syntax) != sop_class_uid or not is_storage(sop_class_uid):
            raise NotAcceptable("the context is for another class", reason="class-not-negotiated")
        return context, sop_class_uid, sop_instance_uid

    def break_off(self, reason: str) -> None:
        """Abort this association, and only this one."""
        logger.warning("association broken", reason="bad-message", why=reason, association=self._association.id)
        self.is_broken = True
        self.dul.event_queue.put(INVALID_PDU)
