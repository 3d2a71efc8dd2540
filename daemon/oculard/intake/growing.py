"""Which files of a watched folder are finished: those that looks, far enough apart, found the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from oculard.intake.listing import Entry

FOLLOWED_MAX = 10_000  # files whose growth is followed at once; further ones wait for a later look


@dataclass(slots=True)
class _Growth:
    """One file on its way."""

    entry: Entry
    since: datetime  # it has been as it is
    first: datetime  # it was met


class Growing:
    """The files that are not finished yet, in memory: after a restart they rest once more."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet = timedelta(seconds=quiet_s)
        self._files: dict[str, _Growth] = {}
        self._met: set[str] = set()  # of those, in this look

    def begin(self) -> None:
        """A look begins."""
        self._met.clear()

    def end(self) -> None:
        """A whole look is over: what it did not meet is gone."""
        for name in self._files.keys() - self._met:
            del self._files[name]

    def is_finished(self, entry: Entry, now: datetime) -> bool:
        """Whether a file has been as it is for long enough."""
        name = entry.name
        known = self._files.get(name)
        if known is None:
            if len(self._files) >= FOLLOWED_MAX:
                return False
            known = self._files[name] = _Growth(entry, since=now, first=now)
        self._met.add(name)
        if known.entry.stamp != entry.stamp:
            known.entry, known.since = entry, now
        return now - known.since >= self._quiet

    def drop(self, entry: Entry) -> None:
        """It is finished."""
        self._files.pop(entry.name, None)

    def longer_than(self, age: timedelta, now: datetime) -> list[Entry]:
        """The files that have been on their way for so long."""
        return [one.entry for one in self._files.values() if now - one.first >= age]
