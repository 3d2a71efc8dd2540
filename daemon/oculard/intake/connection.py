"""The connection: pynetdicom's socket without Nagle and without delayed ACK; the wire reads from it."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

from pynetdicom.transport import AssociationSocket

PDU_BYTES_MAX = (1 << 20) + 64  # nothing that is no attack is larger, whatever was negotiated
REQUEST_HEAD_BYTES = 10  # PDU type, reserved, length, protocol version, reserved (PS3.8 9.3.2)
ASSOCIATE_RQ = 1
CONNECTION_CLOSED = "Evt17"  # PS3.8 9.2.1


class Connection(AssociationSocket):
    """An accepted connection; `send_s` is how long the peer may leave unread what we send."""

    def __init__(self, association: Any, client_socket: socket.socket, *, send_s: float) -> None:
        super().__init__(association, client_socket=client_socket)
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.settimeout(send_s)

    def send(self, bytestream: bytes) -> None:
        """Send a PDU in its time as a whole: pynetdicom's gives every part of it as much."""
        connection = self.socket
        try:
            if connection is not None:
                connection.sendall(bytestream)
        except OSError:
            self.event_queue.put(CONNECTION_CLOSED)


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
    return is_request(head)


def is_request(head: bytes) -> bool:
    """Whether these bytes begin an A-ASSOCIATE-RQ of sane length."""
    if len(head) < REQUEST_HEAD_BYTES:
        return False
    kind: int
    length: int
    kind, length = struct.unpack_from(">BxL", head)
    return kind == ASSOCIATE_RQ and length <= PDU_BYTES_MAX
