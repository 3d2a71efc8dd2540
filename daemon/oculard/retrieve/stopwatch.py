"""Ends what a web service sends: when its time is over, or from another thread, before or after its answer begins."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from oculard.retrieve.archive import ArchiveSilent, Stopping

CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Stopwatch:
    """Hangs up. A limit on each read alone would not: bytes that drip are always in time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._socket: socket.socket | None = None
        self._is_closed = self._is_late = False

    @contextmanager
    def running(self, within_s: float) -> Iterator[None]:
        """Hang up when the time is over."""
        self._is_late = False
        timer = threading.Timer(max(0.0, within_s), self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()  # it must not end the next question

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpx does: the connection is known as soon as there is one."""
        if event in CONNECTED:
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_closed or self._is_late:
                self._hang_up()

    def close(self) -> None:
        """Hang up, from another thread too, and let nothing begin."""
        self._is_closed = True
        self._hang_up()

    def check(self) -> None:
        """Raise Stopping or ArchiveSilent where we have hung up: what we ended looks as if it had come to its end."""
        if self._is_closed:
            raise Stopping("no question is asked any more")
        if self._is_late:
            raise ArchiveSilent(f"archive `{self._name}` was not done in time")

    def _expire(self) -> None:
        self._is_late = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has just ended by itself
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not TLS's: that would break who reads
