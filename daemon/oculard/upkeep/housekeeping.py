"""Housekeeping: what may go is removed, what is nobody's is found, what is damaged is said, the database is tidied.

Each chore does a bounded piece a wake-up and goes on from there at the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from oculard import log
from oculard.clock import Clock
from oculard.night import is_open
from oculard.settings_night import Night
from oculard.settings_night import Retention as RetentionSettings
from oculard.store.alarms import Alarms
from oculard.store.orphans import Orphans, Stray
from oculard.store.retention import ACTOR, Retention
from oculard.store.tidying import Tidying
from oculard.store.vault import ORPHANS, PARTS, Vault
from oculard.store.watched import Watched
from oculard.upkeep.clockwork import Chore

YOUNG = timedelta(days=1)  # a file that no row knows may still be on its way
STUDIES = 500  # that a wake-up looks at
FILES = 500
DAMAGED_MAX = 20  # alarms; a vault of which more is damaged is known to be by then
logger = log.get("upkeep")


@dataclass(slots=True, kw_only=True)
class Housekeeping:
    """The chores that keep vault and database in order."""

    settings: RetentionSettings
    night: Night
    time_zone: str
    retention: Retention
    orphans: Orphans
    tidying: Tidying
    watched: Watched
    vault: Vault
    alarms: Alarms
    take: Callable[[Path], object]  # an image into custody again, by the normal door
    is_idle: Callable[[], bool]  # nobody holds work, no association is open
    clock: Clock
    _study: int = 0
    _instance: int = 0
    _parts: dict[str, int] = field(default_factory=dict)

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [
            Chore(do=self.remove_files, every_s=60),
            Chore(do=self.sweep_images, every_s=300),
            Chore(do=self.sweep_reports, every_s=300),
            Chore(do=self.look_at_files, every_s=60),
            Chore(do=self.forget_watched, every_s=86_400),
            Chore(do=self.optimize_database, every_s=3600),
            Chore(do=self.vacuum_database, every_s=3600),
        ]

    def remove_files(self) -> None:
        """Remove what retention lets go, of the next studies. 0 days keep for ever."""
        if not (self.settings.instances_days or self.settings.reports_days):
            return
        ids = self.retention.next_studies(self._study, limit=STUDIES)
        images = self._removed(self.retention.remove_images, ids, self.settings.instances_days)
        reports = self._removed(self.retention.remove_reports, ids, self.settings.reports_days)
        self._study = ids[-1] if len(ids) == STUDIES else 0
        if images or reports:
            logger.info("files removed", name=ACTOR, instances=images, count=reports)

    def _removed(self, remove: Callable[..., int], ids: Sequence[int], days: float) -> int:
        return remove(ids, done_before=self.clock.now() - timedelta(days=days)) if days else 0

    def sweep_images(self) -> None:
        """Take images that no row knows into custody again: after a restore they may be acknowledged ones."""
        taken = aside = 0
        for stray in self._strays("instances"):
            if stray.study_id is not None:
                self.retention.delete_unused(stray.study_id, [stray.path])
            elif self.orphans.recover(stray, self.take):
                taken += 1
            else:
                aside += 1
        if taken or aside:
            logger.warning("orphans found", reason="orphan-files", instances=taken, count=aside)
        found = self.vault.count_aside()
        self.alarms.only("orphan-files", [str(self.vault.folder / ORPHANS)] if found else [])

    def sweep_reports(self) -> None:
        """Delete report files that no row knows: their worker died before the commit, and the next made its own."""
        count = 0
        for stray in self._strays("reports"):
            if stray.study_id is None:
                count += self.orphans.delete(stray, older_than=self._young())
            else:
                count += self.retention.delete_unused(stray.study_id, [stray.path])
        if count:
            logger.info("reports swept", count=count)

    def _strays(self, room: str) -> list[Stray]:
        """Those of the next part of a room; a whole round takes 256 wake-ups."""
        part = self._parts.get(room, self._first_part())
        self._parts[room] = (part + 1) % PARTS
        return list(self.orphans.strays(room, part, older_than=self._young()))

    def _young(self) -> datetime:
        """What came since then may be on its way."""
        return self.clock.now() - YOUNG

    def _first_part(self) -> int:
        """Where a new process begins: not always at the same, or a daemon that often starts would see no other."""
        return int(self.clock.now().timestamp()) // 300 % PARTS

    def look_at_files(self) -> None:
        """See that the next instances' files are there and have their size."""
        self.vault.check()  # a vault that is away is no damaged one
        self._instance, damaged = self.orphans.damaged(self._instance, limit=FILES)
        standing = self.alarms.subjects("vault-damaged")
        new = [uid for uid in damaged if uid not in standing]
        for uid in new[: max(0, DAMAGED_MAX - len(standing))]:
            self.alarms.raise_("vault-damaged", uid)
        if damaged:
            logger.error("vault damaged", reason="vault-damaged", count=len(damaged), sop_instance_uid=damaged[0])

    def forget_watched(self) -> None:
        """Forget the files that have long gone from the watched folders."""
        count = self.watched.forget(self.clock.now() - timedelta(days=self.settings.watched_days))
        if count:
            logger.info("watched files forgotten", count=count)

    def optimize_database(self) -> None:
        """Keep the planner's statistics fresh and the write-ahead log short."""
        self.tidying.optimize()

    def vacuum_database(self) -> None:
        """Give free pages back: by night, and while nobody does anything."""
        if not is_open(self.night, self.clock.now(), self.time_zone) or not self.is_idle():
            return
        for name in self.tidying.vacuum():
            logger.info("database vacuumed", name=name)
