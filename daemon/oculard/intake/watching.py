"""A watched folder: finished files are taken into custody by the same way as a C-STORE; growing ones are left alone."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from oculard import log
from oculard.clock import Clock
from oculard.errors import Rejected, Transient
from oculard.intake.folder import FolderImport, StillGrowing
from oculard.intake.growing import Growing
from oculard.intake.listing import Entry, Listing, open_entry
from oculard.intake.originals import put_away
from oculard.settings_night import Folder
from oculard.store.alarms import Alarms
from oculard.store.spool import TooLarge
from oculard.store.watched import GROWING, REFUSED, UNREADABLE, Seen, Watched

BATCH = 500  # names of one step
ENTRIES_MAX = 10_000_000  # names of one look
LISTING_SHARE = 4  # a folder rests so many times as long as it took to list
NOTED = timedelta(minutes=15)  # a file that grows for longer is noted down, so often
HUNG = timedelta(minutes=30)  # one step on one file: the folder does not answer
AWAY, NOT_MOVED = "folder-away", "originals-not-moved"
logger = log.get("folder")


@dataclass(slots=True)
class _Look:
    """One look through the folder."""

    listing: Listing
    names: Iterator[Entry | None]
    ready: deque[Callable[[], None]] = field(default_factory=deque)
    listed: timedelta = timedelta()  # the time that listing took
    not_moved: bool = False


class FolderWatch:
    """Looks at one folder again and again. `step` lists some of its files, or handles one."""

    def __init__(self, folder: Folder, importer: FolderImport, watched: Watched, alarms: Alarms, clock: Clock) -> None:
        self._folder, self._importer, self._watched = folder, importer, watched
        self._alarms, self._clock = alarms, clock
        self._growing = Growing(folder.quiet_s)
        self._look: _Look | None = None
        self._next_at = self._note_at = clock.now()
        self._looked_at: datetime | None = None  # the end of the last whole look
        self._busy_since: datetime | None = None
        self._unreadable = 0
        self._was_mount = False
        self._standing: dict[str, bool] = {}  # alarms; of those not in it nothing is known

    @property
    def name(self) -> str:
        """The folder's."""
        return self._folder.name

    def step(self) -> bool:
        """List some files of a look that is due, or handle one of them; say whether there was something.

        Raises VaultTrouble or DatabaseDown: the look begins anew when the world is ready.
        """
        self._busy_since = self._clock.now()
        try:
            return self._go_on()
        except OSError as why:
            self._rest(timedelta())
            self._stand(AWAY, stands=True, hint=why.strerror or "")
            return False
        except Transient:
            self._rest(timedelta())
            raise
        finally:
            self._busy_since = None

    def check(self) -> None:
        """Say that a step hangs, from another thread: a share that is gone may answer nothing, not even an error."""
        if self._is_hung():
            self._stand(AWAY, stands=True, hint="it does not answer")

    def says(self) -> dict[str, Any]:
        """What `status` tells of it."""
        state = "looking" if self._look else "resting"
        if self._standing.get(AWAY):
            state = "hung" if self._is_hung() else "away"
        looked_at = self._looked_at.isoformat() if self._looked_at else None
        return {"state": state, "looked_at": looked_at, "unreadable_folders": self._unreadable}

    def _is_hung(self) -> bool:
        since = self._busy_since
        return since is not None and self._clock.now() - since > HUNG

    def _go_on(self) -> bool:
        look, began = self._look, self._clock.now()
        if look is None:
            if began < self._next_at:
                return False
            look = self._begin()
        if look.ready:
            look.ready.popleft()()
            return True
        found = list(islice(look.names, BATCH))
        self._sort(look, [entry for entry in found if entry is not None])
        look.listed += self._clock.now() - began
        if not found:
            self._end(look)
        return bool(found)

    def _begin(self) -> _Look:
        is_mount = os.path.ismount(self._folder.path)
        if self._was_mount and not is_mount:  # an empty folder is not what a disk that was pulled out holds
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._was_mount = is_mount
        listing = Listing(self._folder.path)
        self._look = _Look(listing, islice(listing.entries(), ENTRIES_MAX))
        self._growing.begin()
        return self._look

    def _sort(self, look: _Look, entries: list[Entry]) -> None:
        """Put in line what is to be done about some files."""
        known = self._watched.known(self.name, [entry.name for entry in entries]) if entries else {}
        for entry in entries:
            seen = known.get(entry.name)
            if seen is None or not seen.holds(entry.stamp):
                if self._growing.is_finished(entry, self._clock.now()):
                    look.ready.append(partial(self._take, look, entry, seen))
            elif seen.outcome != REFUSED and self._folder.move_to is not None:  # a move that was interrupted
                look.ready.append(partial(self._put_away, look, entry))

    def _end(self, look: _Look) -> None:
        now = self._clock.now()
        self._growing.end()
        self._note(now)
        self._stand(AWAY, stands=False)
        self._stand(NOT_MOVED, stands=look.not_moved)
        if look.listing.unreadable != self._unreadable:
            self._unreadable = look.listing.unreadable
            logger.warning("subfolders unreadable", name=self.name, count=self._unreadable, reason=UNREADABLE)
        self._looked_at = now
        self._rest(look.listed)

    def _rest(self, listed: timedelta) -> None:
        self._look = None
        self._next_at = self._clock.now() + max(timedelta(seconds=self._folder.every_s), LISTING_SHARE * listed)

    def _note(self, now: datetime) -> None:
        """Note down which files are on their way for long: the morning report tells of them."""
        if now < self._note_at:
            return
        self._note_at = now + NOTED
        files = [
            Seen(path=entry.name, stamp=entry.stamp, outcome=GROWING, reason=StillGrowing.reason)
            for entry in self._growing.longer_than(NOTED, now)
        ]
        self._watched.grow(self.name, files)

    def _stand(self, name: str, *, stands: bool, hint: str = "") -> None:
        """Raise or clear one of our alarms, unless it is known to stand or not."""
        if self._standing.get(name) is stands:
            return
        if stands:
            logger.warning("folder in trouble", name=self.name, reason=name, hint=hint)
            self._alarms.raise_(name, self.name)
        else:
            self._alarms.clear(name, self.name)
        self._standing[name] = stands

    def _take(self, look: _Look, entry: Entry, seen: Seen | None) -> None:
        now = self._read(entry)
        if now is None:
            return
        self._growing.drop(entry)
        if now != seen:
            self._watched.remember(self.name, now)
            logger.info("file looked at", name=self.name, outcome=now.outcome, reason=now.reason)
        if now.outcome != REFUSED and self._folder.move_to is not None:
            self._put_away(look, entry)

    def _read(self, entry: Entry) -> Seen | None:
        """What becomes of a file; None when a later look tells. Raises OSError when the folder is away."""
        outcome, reason, uid = REFUSED, "", None
        try:
            with open_entry(self._folder.path, entry) as file:
                taken = self._importer.take_open(file, self._folder.path / entry.below)
            outcome, uid = taken.outcome, taken.sop_instance_uid
        except StillGrowing:
            return None
        except (Rejected, TooLarge) as why:
            reason = why.reason
        except OSError as why:
            self._folder.path.stat()
            if why.errno == errno.ENOENT:
                return None  # it was taken away meanwhile
            reason = UNREADABLE
        return Seen(path=entry.name, stamp=entry.stamp, outcome=outcome, reason=reason or None, sop_instance_uid=uid)

    def _put_away(self, look: _Look, entry: Entry) -> None:
        """Move an original that is in custody. What was refused stays where a person finds it."""
        assert self._folder.move_to is not None
        try:
            moved = put_away(self._folder.path, entry, self._folder.move_to)
        except OSError as why:
            self._folder.path.stat()
            if why.errno == errno.ENOENT and os.access(self._folder.move_to, os.F_OK):
                return  # somebody else took it away
            look.not_moved = True
            self._stand(NOT_MOVED, stands=True, hint=why.strerror or "")
        else:
            if moved:
                self._watched.went(self.name, entry.name)
