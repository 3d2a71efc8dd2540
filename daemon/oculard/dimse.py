"""What every association that we open needs against the pitfalls of network and library, and against its peer."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from functools import partial
from time import monotonic
from typing import Any

from pydicom.errors import BytesLengthException, InvalidDicomError
from pynetdicom.fsm import InvalidEventError

PDU_BYTES_MAX = (1 << 20) + 64  # more than we ask for, and than anybody who is no attack sends
PDU_BYTES_MIN = 1024  # a peer that takes less at once would have us keep a million pieces of one object
MESSAGE_BYTES_MAX = 16 << 20  # of an answer, or a storage commitment result
MESSAGES_WAITING_MAX = 16  # one answer a request, and the odd one that nobody asked for
GOODBYE_S = 2.0  # how long an association may take to end
OVER, CONNECTION_CLOSED, INVALID_PDU = "Sta1", "Evt17", "Evt19"  # PS3.8 9.2.1 and 9.2.2
# What pydicom and pynetdicom raise for bytes that are no message, or an element that is no value.
UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    EOFError,
    RecursionError,
    struct.error,
    InvalidDicomError,
    BytesLengthException,  # of no kind above
    OSError,  # pydicom's, for a sequence without items
)


def guard(association: Any, *, timeout_s: float) -> None:
    """Connected: every PDU has its time and its size, and an association that is to end ends.

    pynetdicom would read a PDU of four gigabytes, a byte a minute, and would wait for the end of that before its own;
    and it would leave the connection open where it aborts.
    """
    dul = association.dul
    dul.socket.recv = partial(_read, association, timeout_s)
    dul.state_machine.do_action = partial(_act, association, dul.state_machine.do_action)
    association.kill = partial(_end, association, association.kill)


def keep_answers(association: Any) -> None:
    """Let nobody but a request take its answer, and let it take no other; what is none ends the association.

    The thread that pynetdicom runs beside an association sometimes takes a fast answer off the queue first, and the
    request waits in vain (pynetdicom #435, #875). A requestor's thread has no messages to serve: it gets none.
    """
    answers, dimse = _Answers(association), association.dimse
    dimse.get_msg, dimse.send_msg, dimse.receive_primitive = answers.take, answers.send, answers.receive


def may_be_sent_to(association: Any) -> bool:
    """Whether a peer that has accepted says how much it takes at once, and not too little (PS3.8 D.1)."""
    most = association.acceptor.maximum_length
    return most is not None and (most == 0 or most >= PDU_BYTES_MIN)


def acknowledge_at_once(event: Any) -> None:
    """Acknowledge the first bytes of an answer at once: DCMTK and Orthanc hold the rest back for 40 ms otherwise."""
    connection = event.assoc.dul.socket.socket
    if connection is not None and hasattr(socket, "TCP_QUICKACK"):  # Linux; the kernel forgets it, so for each message
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def send_at_once(event: Any, *, timeout_s: float) -> None:
    """Connected: small messages go at once, and no peer can hold us up by not reading."""
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(timeout_s)


class _Answers:
    """The messages of an association of which we are the requestor."""

    def __init__(self, association: Any) -> None:
        self._dimse, self._dul = association.dimse, association.dul
        self._take, self._send, self._receive = self._dimse.get_msg, self._dimse.send_msg, self._dimse.receive_primitive
        self._asked: Any = None
        self._context_id, self._bytes, self._is_broken = 0, 0, False

    def send(self, message: Any, context_id: int) -> None:
        """Send a message; a request is remembered until the next one."""
        if message.MessageIDBeingRespondedTo is None:
            self._asked, self._context_id = message, context_id
        self._send(message, context_id)

    def take(self, block: bool = False) -> tuple[Any, Any]:
        """The answer to the last request; (None, None) where there is none, or something else came (PS3.7 9.1.1)."""
        context_id, message = self._take(block=True) if block else (None, None)
        is_answer = (
            message is not None
            and isinstance(message, type(self._asked))
            and message.MessageIDBeingRespondedTo == self._asked.MessageID
            and context_id == self._context_id
        )
        return (context_id, message) if is_answer else (None, None)

    def receive(self, primitive: Any) -> None:
        """Take fragments of a message, up to so many bytes."""
        if self._dimse.message is None:
            self._bytes = 0
        self._bytes += sum(len(fragment) for _, fragment in primitive.presentation_data_value_list)
        if self._is_broken:
            return
        if self._bytes > MESSAGE_BYTES_MAX or self._dimse.msg_queue.qsize() > MESSAGES_WAITING_MAX:
            self._break_off()
            return
        try:
            self._receive(primitive)
        except UNREADABLE:
            self._break_off()

    def _break_off(self) -> None:
        """Abort; whoever waits for an answer is told that there is none."""
        self._is_broken = True
        self._dul.event_queue.put(INVALID_PDU)
        self._dimse.msg_queue.put((None, None))


def _read(association: Any, timeout_s: float, count: int) -> bytearray:
    """So many bytes, or fewer where the connection ends. Raises OSError where they are too many, or not in time."""
    if count > PDU_BYTES_MAX:
        raise ConnectionError("a PDU longer than any")
    connection, ends_at, data = association.dul.socket.socket, monotonic() + timeout_s, bytearray()
    while len(data) < count:
        left_s = ends_at - monotonic()
        if left_s <= 0:
            raise TimeoutError("a PDU without end")
        connection.settimeout(left_s)
        part = connection.recv(min(count - len(data), 65536))
        if not part:
            break
        data += part
    connection.settimeout(timeout_s)
    return data


def _act(association: Any, act: Any, event: str) -> None:
    """Let the state machine act. Where what came makes no sense to it, the connection counts as closed."""
    dul = association.dul
    try:
        act(event)
    except (*UNREADABLE, InvalidEventError):
        with dul.to_provider_queue.mutex:
            dul.to_provider_queue.queue.clear()
        if dul.state_machine.current_state == OVER:
            dul.kill_dul()
        else:
            dul.event_queue.put(CONNECTION_CLOSED)


def _end(association: Any, kill: Any) -> None:
    """End the threads of an association, and its connection; what they wait for is taken away after a while."""
    late = threading.Timer(GOODBYE_S, _hang_up, (association,))
    late.daemon = True
    late.start()
    try:
        kill()
    finally:
        late.cancel()
    _hang_up(association)


def _hang_up(association: Any) -> None:
    """End the connection without a word; whatever waits for it wakes up."""
    wrapper = association.dul.socket
    connection = None if wrapper is None else wrapper.socket
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    if not association.dul.is_alive():
        connection.close()
