"""Leaving a peer alone after it failed as a whole, so that it costs the other peers nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from oculard.clock import Clock
from oculard.job import backoff_s

REST_S_MAX = 60.0  # a peer that is up again is noticed within a minute; its rows have their own, longer patience


@dataclass(slots=True)
class Rest:
    """Which peers rest, and until when. Lives in memory: a restarted sender tries at once."""

    clock: Clock
    longest_s: float
    _failures: dict[str, int] = field(default_factory=dict)
    _until: dict[str, datetime] = field(default_factory=dict)

    def is_over(self, peer: str) -> bool:
        """Whether the peer may be called."""
        return peer not in self._until or self.clock.now() >= self._until[peer]

    def begin(self, peer: str) -> float:
        """The peer failed: it rests, longer each time. Says how long."""
        self._failures[peer] = self._failures.get(peer, 0) + 1
        delay_s = backoff_s(self._failures[peer], longest_s=self.longest_s)
        self._until[peer] = self.clock.now() + timedelta(seconds=delay_s)
        return delay_s

    def failures(self, peer: str) -> int:
        """How often it failed in a row."""
        return self._failures.get(peer, 0)

    def end(self, peer: str) -> None:
        """The peer works."""
        self._failures.pop(peer, None)
        self._until.pop(peer, None)
