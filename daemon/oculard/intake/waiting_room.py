"""The waiting room: connections that have not said yet who they are. There is always room for one more."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from typing import NamedTuple


class Place(NamedTuple):
    """One connection that waits; `handle` reaches it whatever becomes of its socket, as by TLS."""

    address: str
    handle: socket.socket


class WaitingRoom:
    """Room for so many. When it is full, a newcomer takes the place of who has waited longest without a word.

    Whoever has something to say says it at once: an honest device gets in through a crowd of silent connections. The
    address with the most of them pays.
    """

    def __init__(self, room: int) -> None:
        self._room, self._places, self._lock = room, dict[socket.socket, Place](), threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    def enter(self, connection: socket.socket, address: str) -> str:
        """Let a connection wait; gives the address of the one that had to go for it, or "". Raises OSError."""
        place = Place(address=address, handle=connection.dup())
        with self._lock:
            gone = self._send_away() if len(self._places) >= self._room else ""
            self._places[connection] = place
        return gone

    def exchange(self, connection: socket.socket, inside: socket.socket) -> None:
        """It has begun to speak, perhaps through another socket: it goes last."""
        with self._lock:
            place = self._places.pop(connection, None)
            if place is not None:
                self._places[inside] = place

    def leave(self, connection: socket.socket) -> None:
        """It waits no more."""
        with self._lock:
            place = self._places.pop(connection, None)
        if place is not None:
            place.handle.close()

    def make_room(self) -> str:
        """Send one away; gives its address, or "" where nobody waits."""
        with self._lock:
            return self._send_away()

    def _send_away(self) -> str:
        if not self._places:
            return ""
        address, _ = Counter(place.address for place in self._places.values()).most_common(1)[0]
        longest = next(one for one, place in self._places.items() if place.address == address)
        handle = self._places.pop(longest).handle
        with contextlib.suppress(OSError):  # it has just gone by itself
            handle.shutdown(socket.SHUT_RDWR)  # its thread wakes up, and closes it
        handle.close()
        return address
