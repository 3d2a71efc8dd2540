"""What an archive sends us: messages with bounds, and what it stores goes to the spool, never to memory."""

from __future__ import annotations

import contextlib
import queue
from time import monotonic
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from oculard.dimse import UNREADABLE
from oculard.errors import Rejected
from oculard.retrieve.archive import is_uid
from oculard.store.spool import Spool, Spooler

MESSAGE_BYTES_MAX = 1 << 20  # of a message that is no C-STORE: one match, or one status
STORES_WAITING_MAX = 4  # nobody may send one before the last one is answered (PS3.7 D.3.3.3)
LOOK_S = 1.0  # how soon we see that the association has ended


class NotWanted(Rejected):
    """A C-STORE that does not fit what was agreed on."""

    reason = "class-not-negotiated"


class Receiver(DIMSEServiceProvider):
    """pynetdicom's message assembly with bounds, and with a spool where it would keep a data set in memory."""

    def __init__(self, association: Any, spooler: Spooler) -> None:
        super().__init__(association)
        self._association, self._spooler = association, spooler
        self._spools, self._bytes, self._is_broken = set[Spool](), 0, False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA, one by one: the original forgets what follows a message's end."""
        for context_id, fragment in primitive.presentation_data_value_list:
            if self._is_broken:
                return
            try:
                self._receive(context_id, fragment)
            except UNREADABLE:
                self.hang_up()

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The next answer, for whoever asked alone (see `dimse.keep_answers`), and not for longer than there is a line.

        The original waits on when the network thread has ended the association by itself.
        """
        ends_at = monotonic() + (self.dimse_timeout or 0.0)
        while block and (left_s := ends_at - monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                return self.msg_queue.get(timeout=min(left_s, LOOK_S))
            if self._association.acse.is_aborted() or not self.dul.is_alive():
                break
        return None, None

    def done(self, spool: Spool) -> None:
        """A data set has been answered for."""
        self._spools.discard(spool)
        spool.discard()

    def discard(self) -> None:
        """The association is over: delete whatever is not finished."""
        self._is_broken = True
        while self._spools:
            self._spools.pop().discard()

    def hang_up(self) -> None:
        """Listen to nothing more. Whoever waits for an answer is told that there is none, and ends the association."""
        self._is_broken = True
        self.msg_queue.put((None, None))

    def _receive(self, context_id: int, fragment: bytes) -> None:
        message = self.message = self.message or DIMSEMessage()
        if isinstance(message, C_STORE_RQ):
            is_bad = bool(fragment[0] & 1)  # a command inside of a data set
        else:
            self._bytes += len(fragment)
            is_bad = self._bytes > MESSAGE_BYTES_MAX
        if is_bad:
            self.hang_up()
            return
        part = P_DATA()
        part.presentation_data_value_list.append((context_id, fragment))
        if message.decode_msg(part, self._association):
            self.message, self._bytes = None, 0
            primitive: Any = message.message_to_primitive()  # the queue's type forgets C-CANCEL
            self.msg_queue.put((context_id, primitive))
        elif isinstance(message, C_STORE_RQ) and message._data_set_file is None:
            # What pynetdicom itself does for its chunked reception: it writes the fragments to this file.
            spool: Any = self._open(message.command_set, context_id)
            message._data_set_file = spool
            if len(self._spools) > STORES_WAITING_MAX:
                self.hang_up()

    def _open(self, command: Dataset, context_id: int) -> Spool:
        """A spool for the data set that follows, or one that swallows it."""
        context = self._association._accepted_cx.get(context_id)
        sop_class_uid = str(command.get("AffectedSOPClassUID") or "")
        sop_instance_uid = str(command.get("AffectedSOPInstanceUID") or "")
        if not is_uid(sop_instance_uid):
            spool = self._spooler.refuse(NotWanted("the announced UID is malformed", reason="bad-uid"))
            command.pop("AffectedSOPInstanceUID", None)  # pynetdicom would not take it
        elif context is None or str(context.abstract_syntax) != sop_class_uid:
            spool = self._spooler.refuse(NotWanted("the context is for another class"))
        else:
            spool = self._spooler.open(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=str(context.transfer_syntax[0]),
            )
        self._spools.add(spool)
        return spool
