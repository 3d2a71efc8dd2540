"""The floor: the associations that were admitted and are open, at most so many, and none of them for nothing."""

from __future__ import annotations

import threading
from collections import Counter
from time import monotonic
from typing import Generic, Protocol, TypeVar

GIVES_WAY_S = 5.0  # who has been silent for so long may lose its place to somebody who has fewer
BYTES_A_SECOND_MIN = 1024  # a message that comes more slowly does not come


class Guest(Protocol):
    """An association, as the floor sees it."""

    @property
    def caller(self) -> str: ...  # title and address

    @property
    def silent_s(self) -> float: ...  # how long nothing has come from it

    def give_way(self) -> None: ...  # end it, from another thread


G = TypeVar("G", bound=Guest)


class Floor(Generic[G]):
    """Room for so many guests. Callers nobody knows never stand here.

    When it is full, a caller with at least two places fewer than another takes one of the other's that has long been
    silent: a device that opens associations and forgets them keeps nobody out.
    """

    def __init__(self, room: int) -> None:
        self._room, self._here, self._lock = room, set[G](), threading.Lock()

    def enter(self, guest: G) -> bool:
        """Take a place; False when there is none."""
        with self._lock:
            is_full = len(self._here) >= self._room
            goes = self._who_goes(guest) if is_full else None
            if goes is not None:
                self._here.remove(goes)
            elif is_full:
                return False
            self._here.add(guest)
        if goes is not None:
            goes.give_way()
        return True

    def leave(self, guest: G) -> None:
        with self._lock:
            self._here.discard(guest)

    def here(self) -> list[G]:
        with self._lock:
            return list(self._here)

    def _who_goes(self, guest: G) -> G | None:
        places = Counter(one.caller for one in self._here)
        caller, most = places.most_common(1)[0]
        if most < places[guest.caller] + 2:
            return None
        longest = max((one for one in self._here if one.caller == caller), key=lambda one: one.silent_s)
        return longest if longest.silent_s >= GIVES_WAY_S else None


class Progress:
    """Whether a message that is under way gets on: a byte now and then is no reason to hold a place."""

    def __init__(self, stretch_s: float) -> None:
        self._stretch_s, self._since, self._bytes = stretch_s, monotonic(), 0
        self._message: object = None
        self._heard_at = self._since

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        return monotonic() - self._heard_at

    def heard(self, count: int) -> None:
        """So many bytes have come."""
        self._bytes += count
        self._heard_at = monotonic()

    def is_stuck(self, message: object) -> bool:
        """Whether the message that was under way a stretch of time ago still is, and has hardly grown."""
        now = monotonic()
        if now - self._since < self._stretch_s:
            return False
        is_same = message is not None and message is self._message
        is_slow = self._bytes < BYTES_A_SECOND_MIN * (now - self._since)
        self._since, self._bytes, self._message = now, 0, message
        return is_same and is_slow
