"""A watched folder: finished files are taken into custody by the same way as a C-STORE; growing ones are left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from oculard import log
from oculard.clock import Clock
from oculard.errors import Rejected, Transient
from oculard.intake.folder import FolderImport, StillGrowing
from oculard.settings_night import Folder
from oculard.store.alarms import Alarms
from oculard.store.spool import TooLarge
from oculard.store.vault import GIB
from oculard.store.watched import Seen, Stamp, Watched

BATCH = 200  # files of one step
GROWING_MAX = 10_000  # files whose growth is followed at once; further ones wait for a later look
DEPTH_MAX = 32
REFUSED, UNREADABLE = "refused", "unreadable"
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")  # names that copying programs use
AWAY = "folder-away"
logger = log.get("folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One regular file, as a look found it."""

    path: Path
    name: str  # below the folder, safe to store
    stamp: Stamp


@dataclass(slots=True, kw_only=True)
class FolderWatch:
    """Looks at one folder again and again. `step` handles at most a batch of its files."""

    folder: Folder
    importer: FolderImport
    watched: Watched
    alarms: Alarms
    clock: Clock
    instance_max_gib: float
    _walk: Iterator[Entry] | None = None
    _next_at: datetime | None = None
    _growing: dict[str, tuple[Stamp, datetime]] = field(default_factory=dict)  # since when it has been as it is
    _met: set[str] = field(default_factory=set)  # of those, in this look

    def step(self) -> bool:
        """Handle the next files of a look, or begin one that is due; say whether there was something.

        Raises VaultTrouble or DatabaseDown: the look begins anew when the world is ready.
        """
        if self._walk is None:
            if self._next_at is not None and self.clock.now() < self._next_at:
                return False
            self._walk = find_entries(self.folder.path)
        try:
            entries = list(islice(self._walk, BATCH))
            self._look(entries)
        except OSError as why:
            self._rest()
            self._say_away(why)
            return False
        except Transient:
            self._rest()
            raise
        if len(entries) < BATCH:
            self._rest()
            self._growing = {name: self._growing[name] for name in self._met if name in self._growing}
            self.alarms.clear(AWAY, self.folder.name)
        return bool(entries) and self._walk is not None

    def _rest(self) -> None:
        self._walk = None
        self._next_at = self.clock.now() + timedelta(seconds=self.folder.every_s)

    def _say_away(self, why: OSError) -> None:
        """The folder itself cannot be looked at: a stick that was pulled out, a share that is gone."""
        logger.warning("folder away", name=self.folder.name, reason=AWAY, hint=why.strerror or "")
        self.alarms.raise_(AWAY, self.folder.name)

    def _look(self, entries: list[Entry]) -> None:
        known = self.watched.known(self.folder.name, [entry.name for entry in entries]) if entries else {}
        for entry in entries:
            seen = known.get(entry.name)
            if seen is not None and seen.stamp == entry.stamp and seen.reason != UNREADABLE:
                if seen.outcome != REFUSED:
                    self._put_away(entry)  # a move that was interrupted
            elif self._is_finished(entry):
                self._take(entry, seen)

    def _is_finished(self, entry: Entry) -> bool:
        """Whether two looks, far enough apart, found the same file."""
        now, before = self.clock.now(), self._growing.get(entry.name)
        self._met.add(entry.name)
        if before is not None and before[0] == entry.stamp:
            return now - before[1] >= timedelta(seconds=self.folder.quiet_s)
        if before is not None or len(self._growing) < GROWING_MAX:
            self._growing[entry.name] = entry.stamp, now
        return False

    def _take(self, entry: Entry, seen: Seen | None) -> None:
        outcome, reason, uid = REFUSED, None, None
        try:
            if entry.stamp.size_bytes > self.instance_max_gib * GIB:
                raise TooLarge("it is larger than an instance may be")
            taken = self.importer.take(entry.path)
            outcome, uid = taken.outcome, taken.sop_instance_uid
        except StillGrowing:
            self._growing[entry.name] = entry.stamp, self.clock.now()
            return
        except (Rejected, TooLarge) as why:
            reason = why.reason
        except FileNotFoundError:
            return  # it was taken away meanwhile
        except OSError:
            reason = UNREADABLE
        self._growing.pop(entry.name, None)
        now = Seen(path=entry.name, stamp=entry.stamp, outcome=outcome, reason=reason, sop_instance_uid=uid)
        if now != seen:
            self.watched.remember(self.folder.name, now)
            logger.info("file looked at", name=self.folder.name, outcome=outcome, reason=reason)
        if outcome != REFUSED:
            self._put_away(entry)

    def _put_away(self, entry: Entry) -> None:
        """Move an original that is in custody, if that is wanted. What was refused stays where a person finds it."""
        if self.folder.move_to is None:
            return
        try:
            target = free_name(self.folder.move_to / entry.path.relative_to(self.folder.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            entry.path.rename(target)
        except FileNotFoundError:
            return  # somebody else took it away
        except OSError as why:
            logger.warning("original not moved", name=self.folder.name, reason="not-moved", hint=why.strerror or "")


def find_entries(root: Path) -> Iterator[Entry]:
    """The regular files below a folder that are not on their way; no link is followed. Raises OSError for the folder
    itself only: what is below it and cannot be looked at is left for the next look."""
    yield from _entries(root, root, DEPTH_MAX)


def _entries(root: Path, folder: Path, depth: int) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for one in found:
            if one.name.startswith(".") or one.name.lower().endswith(UNFINISHED):
                continue
            path = folder / one.name
            try:
                status = one.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    stamp = Stamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
                    yield Entry(path=path, name=safe_name(path.relative_to(root)), stamp=stamp)
                elif stat.S_ISDIR(status.st_mode) and depth > 1:
                    yield from _entries(root, path, depth - 1)
            except OSError:
                continue


def safe_name(path: Path) -> str:
    """A path as text that every database can keep: bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\0", "\\0")


def free_name(path: Path) -> Path:
    """A path that nothing has yet: itself, or with a number before its suffix."""
    free, number = path, 0
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free
