"""The connection: pynetdicom's socket with a deadline for every PDU, without Nagle and without delayed ACK."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from typing import Any

from pynetdicom.transport import AssociationSocket

PDU_BYTES_MAX = (1 << 20) + 64  # nothing that is no attack is larger, whatever was negotiated
REQUEST_HEAD_BYTES = 10  # PDU type, reserved, length, protocol version, reserved (PS3.8 9.3.2)
ASSOCIATE_RQ = 1


class Connection(AssociationSocket):
    """An accepted connection. A PDU that is too large, or that stays incomplete too long, ends it."""

    def __init__(self, association: Any, client_socket: socket.socket, *, pdu_s: float) -> None:
        super().__init__(association, client_socket=client_socket)
        self._pdu_s = pdu_s
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.settimeout(pdu_s)
        self._poll = select.poll()
        self._poll.register(client_socket, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Whether there is something to read. (The original's select() fails above 1,024 open files.)"""
        if self.socket is None or not self._is_connected:
            return False
        if self.socket.fileno() < 0:
            self.event_queue.put("Evt17")  # transport connection closed
            return False
        return bool(self._poll.poll(0))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly so many bytes; fewer when the peer closed. Raises OSError."""
        if nr_bytes > PDU_BYTES_MAX:
            raise OSError("a PDU is larger than any that we accept")
        connection, deadline = self.socket, time.monotonic() + self._pdu_s
        if connection is None:
            raise OSError("the connection is closed")
        data, count = bytearray(nr_bytes), 0
        with memoryview(data) as view:
            while count < nr_bytes:
                rearm_quick_ack(connection)
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                got = connection.recv_into(view[count:])
                if not got:
                    break
                count += got
        connection.settimeout(self._pdu_s)
        return data[:count] if count < nr_bytes else data


def rearm_quick_ack(connection: socket.socket) -> None:
    """Acknowledge at once: a sender with Nagle on otherwise stalls 40 ms an instance. Linux forgets it, so: again."""
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def begins_association(connection: socket.socket, *, within_s: float) -> bool:
    """Whether the first bytes, which stay unread, look like an A-ASSOCIATE-RQ of sane length."""
    try:
        # The kernel wakes us for all ten bytes or for the end, never for a part: no busy waiting.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, REQUEST_HEAD_BYTES)
        connection.settimeout(within_s)
        head = connection.recv(REQUEST_HEAD_BYTES, socket.MSG_PEEK)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    except OSError:
        return False
    if len(head) < REQUEST_HEAD_BYTES:
        return False
    kind: int
    length: int
    kind, length = struct.unpack_from(">BxL", head)
    return kind == ASSOCIATE_RQ and length <= PDU_BYTES_MAX
