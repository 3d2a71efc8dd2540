"""The wire: pynetdicom's network thread, woken by what happens instead of looking every millisecond.

Whatever comes is read into one buffer. The fragments of a P-DATA go on from there without a copy, those of an ordinary
C-STORE straight to its spool; every other PDU, and every state but the one in which data is transferred, is
pynetdicom's (PS3.8 9.2).
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import struct
import time
from typing import Any, NamedTuple

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu_primitives import P_DATA

from oculard import log
from oculard.dimse import UNREADABLE
from oculard.intake.codec import P_DATA_TF, PDV_HEAD_BYTES, StoreCommand, read_store
from oculard.intake.connection import PDU_BYTES_MAX, rearm_quick_ack
from oculard.intake.floor import Progress
from oculard.store.spool import Spool

BUFFER_BYTES = 256 << 10
COMMAND_BYTES_MAX = 64 << 10  # of an ordinary command; a longer one is pynetdicom's
IDLE_S = 0.5  # how often an idle thread looks whether it is to end
CLOSING_S = 0.05
OVER, TRANSFER, CLOSING = "Sta1", "Sta6", "Sta13"
CONNECTION_CLOSED, INVALID_PDU, TOO_LATE = "Evt17", "Evt19", "Evt18"
PDU_HEAD = struct.Struct(">BBL")
PDV_HEAD = struct.Struct(">LBB")
BOTH_HEADS = struct.Struct(">BBLLBB")
PDU_TYPES = range(1, 8)
logger = log.get("intake")


class Announcing(queue.Queue[Any]):
    """A queue that wakes who waits for it."""

    def __init__(self, wake: Any) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake()


class Storing(NamedTuple):
    """A C-STORE whose data set is coming."""

    command: StoreCommand
    spool: Spool
    context_id: int


class Wire(DULServiceProvider):
    """The network thread of an IntakeAssociation, which is all that it knows of the intake."""

    def __init__(self, association: Any, *, pdu_s: float) -> None:
        super().__init__(association)
        self._association, self._pdu_s, self.progress = association, pdu_s, Progress(pdu_s)
        self._sleeper, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._sleeper, select.POLLIN)
        self._polls_socket = False
        self.to_provider_queue = Announcing(self.wake)
        self._buffer, self._at, self._end = bytearray(), 0, 0
        self._pdu_left = self._pdv_left = 0  # of the P-DATA that is being read
        self._context_id = self._control = 0
        self._began: float | None = None  # when the PDU that is not complete yet began
        self._whole = bytearray()  # a PDU that is no P-DATA, as far as it has come
        self._whole_left = 0
        self._command = bytearray()
        self._store: Storing | None = None

    def wake(self) -> None:
        """Make the thread look at its queues."""
        with contextlib.suppress(OSError):  # a full pipe wakes it as well; a closed one has nobody to wake
            os.write(self._waker, b"\0")

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self.wake()

    def stop_dul(self) -> bool:
        """End the thread if its association is over, and wait for it; whether it was."""
        if self.state_machine.current_state != OVER:
            return False
        self.kill_dul()
        self.join()
        return True

    def run_reactor(self) -> None:
        """The thread: one event after another."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                self._turn()
        except Exception as why:  # the association's own boundary: whatever it was, the others go on
            logger.error("association broken", reason="unexpected", association=self._association.id, exc_info=why)
            self.assoc.is_aborted, self.assoc.is_established = True, False
            self.assoc._kill = self._kill_thread = True
        finally:
            self._buffer = bytearray()
            waker, self._waker = self._waker, -1
            os.close(self._sleeper)
            os.close(waker)
            self._association.wake()

    def _turn(self) -> None:
        """Look at the timer, at what is to be sent and at what has come; then let the state machine act once."""
        if self.event_queue.empty():
            if self.artim_timer.expired:
                self.event_queue.put(TOO_LATE)
            elif not self._process_recv_primitive():
                self._receive()
        with contextlib.suppress(queue.Empty):
            event = self.event_queue.get(block=False)
            self._act(event)
            self._association.wake()

    def _act(self, event: str) -> None:
        """Let the state machine act."""
        try:
            self.state_machine.do_action(event)
        except InvalidEventError:
            if self.state_machine.current_state not in (OVER, CLOSING):
                raise
            # what was still to be said comes too late: the other side has gone, or was told to

    # --- what comes ---------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Take what is in the buffer, else wait for more."""
        state = self.state_machine.current_state
        if state == OVER:
            self._poll.poll(1000 * IDLE_S)
        elif state == CLOSING:
            self._drain()
        else:
            if self._at < self._end:
                self._take()
            elif self._wait(IDLE_S) and self._read():
                self._idle_timer.restart()
                self._take()
            self._must_be_in_time()

    def _drain(self) -> None:
        """Throw away what still comes after the other side was told to close; then close (PS3.8 9.2.1)."""
        self._at = self._end
        if self._wait(CLOSING_S):
            self._read()
        elif self.socket is not None:
            self.socket.close()

    def _must_be_in_time(self) -> None:
        """End the connection when a PDU does not come to its end, or a message hardly: half of one is nobody's."""
        is_late = self._began is not None and time.monotonic() - self._began > self._pdu_s
        if is_late or self.progress.is_stuck(self._store or self.assoc.dimse.message):
            why = "a PDU without end" if is_late else "a message without end"
            logger.warning("association broken", reason="bad-message", why=why, association=self._association.id)
            self.event_queue.put(CONNECTION_CLOSED)

    def _wait(self, most_s: float) -> bool:
        """Whether there is something to read now; woken early by a queue."""
        connection = None if self.socket is None else self.socket.socket
        if connection is None or connection.fileno() < 0:
            self.event_queue.put(CONNECTION_CLOSED)
            self._poll.poll(1000 * CLOSING_S)  # a closed connection is no reason to spin
            return False
        if not self._polls_socket:
            self._poll.register(connection, select.POLLIN)
            self._polls_socket = True
        if getattr(connection, "pending", int)():  # TLS keeps what it has decrypted
            return True
        found = self._poll.poll(0)
        if not found:
            rearm_quick_ack(connection)  # nobody waits for an acknowledgement but who has nothing more to send
            found = self._poll.poll(1000 * most_s)
        ready = {handle for handle, _ in found}
        if self._sleeper in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._sleeper, 4096)
        return bool(ready - {self._sleeper})

    def _read(self) -> bool:
        """Read what has come into the buffer, which is empty; False when the connection is over."""
        connection = None if self.socket is None else self.socket.socket
        if connection is None:
            return False
        if not self._buffer:
            self._buffer = bytearray(BUFFER_BYTES)
        try:
            count = connection.recv_into(self._buffer)
        except BlockingIOError:  # TLS: of a record only a part has come
            return False
        except OSError:
            count = 0
        if not count:
            self.event_queue.put(CONNECTION_CLOSED)
            return False
        self._at, self._end = 0, count
        self.progress.heard(count)
        return True

    def _take(self) -> None:
        """Take one piece after another out of the buffer, up to its end or to an event that must be acted on."""
        with memoryview(self._buffer) as view:
            while self._at < self._end and self.event_queue.empty() and not self._kill_thread:
                if self._pdv_left:
                    self._take_fragment(view)
                elif self._pdu_left:
                    self._begin_fragment()
                else:
                    self._begin_pdu()

    def _begin_pdu(self) -> None:
        """Gather a PDU's head; go on with the fragments of a P-DATA, gather the whole of any other."""
        if self._whole_left == 0:
            if self._began is None:
                self._began = time.monotonic()
            if self._begin_both() or not self._gather(PDU_HEAD.size):
                return
            kind, _, length = PDU_HEAD.unpack(self._whole)
            if kind not in PDU_TYPES or length > PDU_BYTES_MAX:
                self.event_queue.put(INVALID_PDU)
                return
            if kind == P_DATA_TF and self.state_machine.current_state == TRANSFER:
                self._whole.clear()
                self._pdu_left = length
                if not length:
                    self._began = None
                return
            self._whole_left = PDU_HEAD.size + length
        if self._gather(self._whole_left):
            self._decode()

    def _begin_both(self) -> bool:
        """Begin an ordinary P-DATA and its first fragment where both heads are in the buffer; whether they were."""
        if self._whole or self._end - self._at < BOTH_HEADS.size or self.state_machine.current_state != TRANSFER:
            return False
        kind, _, length, pdv_length, context_id, control = BOTH_HEADS.unpack_from(self._buffer, self._at)
        if kind != P_DATA_TF or length > PDU_BYTES_MAX or not 2 < pdv_length <= length - 4:
            return False
        self._at += BOTH_HEADS.size
        self._context_id, self._control = context_id, control
        self._pdu_left, self._pdv_left = length - PDV_HEAD_BYTES, pdv_length - 2
        return True

    def _gather(self, count: int) -> bool:
        """Move bytes from the buffer to the PDU that is gathered, until it has so many."""
        part = min(count - len(self._whole), self._end - self._at)
        self._whole += self._buffer[self._at : self._at + part]
        self._at += part
        return len(self._whole) == count

    def _decode(self) -> None:
        """Hand a whole PDU to pynetdicom."""
        whole, self._whole, self._whole_left, self._began = self._whole, bytearray(), 0, None
        try:
            pdu, event = self._decode_pdu(whole)
            pdu.to_primitive()  # now, and not where its state machine would die of it, as of an A-ABORT from nobody
        except (*UNREADABLE, AssertionError) as why:  # pynetdicom asserts what items say of their lengths
            name = type(why).__name__
            logger.warning("association broken", reason="bad-message", why=name, association=self._association.id)
            self.event_queue.put(INVALID_PDU)
            return
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _begin_fragment(self) -> None:
        """Gather the head of a presentation data value (PS3.8 9.3.5.1)."""
        if not self._gather(PDV_HEAD.size):
            return
        length, self._context_id, self._control = PDV_HEAD.unpack(self._whole)
        self._whole.clear()
        if length < 2 or length + 4 > self._pdu_left:
            self.event_queue.put(INVALID_PDU)
            return
        self._pdu_left -= PDV_HEAD_BYTES
        self._pdv_left = length - 2
        if not self._pdv_left:
            self._end_fragment()

    def _take_fragment(self, view: memoryview) -> None:
        """Take as much of a fragment as there is."""
        count = min(self._pdv_left, self._end - self._at)
        piece = view[self._at : self._at + count]
        self._at += count
        self._pdv_left -= count
        self._pdu_left -= count
        if self._store is not None and not self._control & 1:
            self._store.spool.write(piece)
        else:
            self._command += piece
        piece.release()
        if not self._pdv_left:
            self._end_fragment()

    def _end_fragment(self) -> None:
        """A fragment is complete: a C-STORE begins or ends with it, or it is pynetdicom's."""
        if not self._pdu_left:
            self._began = None
        is_command, is_last = self._control & 1, self._control & 2
        if self._store is not None:
            if is_command:
                self._association.break_off("command-inside-data-set")
            elif is_last:
                storing, self._store = self._store, None
                self._answer(storing)
            return
        if is_command and is_last and self._association.is_between_messages:
            command = read_store(self._command) if len(self._command) <= COMMAND_BYTES_MAX else None
            spool = None if command is None else self._association.begin_store(command, self._context_id)
            if command is not None and spool is not None:
                self._command.clear()
                self._store = Storing(command, spool, self._context_id)
                return
        primitive = P_DATA()
        fragment = bytes((self._control,)) + bytes(self._command)
        self._command.clear()
        primitive.presentation_data_value_list.append((self._context_id, fragment))
        self.assoc.dimse.receive_primitive(primitive)
        self._association.wake()

    def _answer(self, storing: Storing) -> None:
        """Take custody of a data set that is complete, and send the answer. Our own time is not the peer's silence."""
        self._idle_timer.stop()
        pdu, answered = self._association.take_store(*storing)
        try:
            if self.socket is not None and self.socket.socket is not None:
                self.socket.socket.sendall(pdu)
        except OSError:
            self.event_queue.put(CONNECTION_CLOSED)
        finally:
            answered.end()
            self._idle_timer.restart()
