"""The back-fill of each night: what came to the archive since the last one is ordered when the window opens."""

from __future__ import annotations

from dataclasses import dataclass

from oculard import log
from oculard.clock import Clock
from oculard.night import window_at
from oculard.settings_night import Night
from oculard.store.backfills import Backfills
from oculard.upkeep.clockwork import Chore

EVERY_S = 60.0
DAYS_MAX = 31  # that are made good for after a long pause
logger = log.get("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class NightOrders:
    """Orders once a night, whenever and however often it is woken while the window is open."""

    night: Night
    time_zone: str
    backfills: Backfills
    clock: Clock

    def all(self) -> list[Chore]:
        """The chore, where the configuration wants it."""
        return [Chore(do=self.order_backfill, every_s=EVERY_S)] if self.night.backfill_from else []

    def order_backfill(self) -> None:
        """Order the day of the night and the day before, so that what came late to the archive is found."""
        window = window_at(self.night, self.clock.now(), self.time_zone)
        if window is None:
            return
        archive, modalities = self.night.backfill_from, tuple(self.night.backfill_modalities)
        ordered = self.backfills.order_night(archive, window.day, modalities, days_max=DAYS_MAX)
        if ordered is not None:
            logger.info("back-fill ordered", name=archive, backfill=ordered)
