"""A relay in front of a DICOM peer that counts the associations which are open at once."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOOPBACK = "127.0.0.1"
PDU_HEAD = struct.Struct(">BxL")
ASSOCIATE_RQ, RELEASE_RQ, ABORT = 1, 5, 7


class Relay:
    """Passes bytes on, and reads the heads of the PDUs that the requestor sends."""

    def __init__(self, to_port: int) -> None:
        self.most = 0
        self._to_port, self._open, self._lock = to_port, 0, threading.Lock()
        self._server = socket.create_server((LOOPBACK, 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection((LOOPBACK, self._to_port))
                threading.Thread(target=self._forward, args=(here, there), daemon=True).start()
                threading.Thread(target=_pass_on, args=(there, here), daemon=True).start()

    def _forward(self, here: socket.socket, there: socket.socket) -> None:
        """Pass on what the requestor sends; its association is open from its request to its release, abort or end."""
        is_open, rest = False, b""
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                rest += data
                while len(rest) >= PDU_HEAD.size and len(rest) >= PDU_HEAD.size + PDU_HEAD.unpack_from(rest)[1]:
                    kind, length = PDU_HEAD.unpack_from(rest)
                    rest = rest[PDU_HEAD.size + length :]
                    if kind == ASSOCIATE_RQ and not is_open:
                        is_open = True
                        self._count(1)
                    elif kind in (RELEASE_RQ, ABORT) and is_open:
                        is_open = False
                        self._count(-1)
                there.sendall(data)
        if is_open:
            self._count(-1)
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_WR)

    def _count(self, more: int) -> None:
        with self._lock:
            self._open += more
            self.most = max(self.most, self._open)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        one.close()


@contextmanager
def relay(to_port: int) -> Iterator[Relay]:
    """A relay to a port, until the block ends."""
    made = Relay(to_port)
    try:
        yield made
    finally:
        made.close()
