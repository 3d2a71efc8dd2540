"""Telling of alarms: what was raised or cleared since people were told last is one notice, however much it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from oculard import log
from oculard.clock import Clock
from oculard.store.news import AlarmNews, News
from oculard.upkeep.alarm_words import Language, write_alarms
from oculard.upkeep.clockwork import Chore
from oculard.upkeep.notices import NOT_SENT

PAUSE = timedelta(minutes=10)  # between two notices of alarms: a storm of them is no storm of mails
logger = log.get("upkeep")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmNotices:
    """Writes the notices of alarms; its chore is safe to do at any time and any number of times."""

    news: News
    language: Language
    zone: ZoneInfo
    station: str
    clock: Clock

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [Chore(do=self.tell_alarms, every_s=15)]

    def tell_alarms(self) -> None:
        """Tell what is new, unless people were told a moment ago. That a notice went wrong is told by none."""
        told_at = self.news.told_at()
        if told_at is not None and abs(self.clock.now() - told_at) < PAUSE:  # a clock that went back silences nobody
            return
        count = self.news.tell(self._write, silent=(NOT_SENT,))
        if count:
            logger.info("alarms told", count=count)

    def _write(self, news: Sequence[AlarmNews]) -> dict[str, str | None]:
        return write_alarms(news, language=self.language, zone=self.zone, station=self.station)
