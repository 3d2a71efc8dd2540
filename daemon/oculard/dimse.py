"""What every association that we open needs against the pitfalls of network and library."""

from __future__ import annotations

import socket
from typing import Any


def keep_answers(association: Any) -> None:
    """Let nobody but a request take its answer.

    The thread that pynetdicom runs beside an association sometimes takes a fast answer off the queue first, and the
    request waits in vain (pynetdicom #435, #875). A requestor's thread has no messages to serve: it gets none.
    """
    dimse = association.dimse
    take = dimse.get_msg
    dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)


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
