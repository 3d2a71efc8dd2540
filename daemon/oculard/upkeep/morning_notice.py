"""Telling people about a night that is over: once, also when nobody was awake at its end."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from oculard import log
from oculard.night import Window
from oculard.store.mornings import Mornings
from oculard.store.notices import NIGHT, Notices
from oculard.upkeep.clockwork import Chore
from oculard.upkeep.morning import MorningMaker, is_news
from oculard.upkeep.morning_page import notice

logger = log.get("upkeep")


@dataclass(slots=True, kw_only=True)
class MorningNotice:
    """The chore of it."""

    maker: MorningMaker
    notices: Notices
    is_wanted: bool  # [notify] night, and there is somebody to tell
    _told: str = ""  # the night that this process has told of

    def all(self) -> list[Chore]:
        """Each of them, and how often."""
        return [Chore(do=self.tell_of_night, every_s=60)] if self.is_wanted else []

    def tell_of_night(self) -> None:
        """Write the notice of the last night, unless it is written or old."""
        window = self.maker.night(None)
        night = window.day.isoformat()
        if self._told == night or not is_news(window, self.maker.clock.now()):
            return
        if Mornings(self.maker.database).has_begun(window.end):  # else it was over before this daemon was there
            self._write(window, night)
        self._told = night

    def _write(self, window: Window, night: str) -> None:
        settings = self.maker.settings
        words = notice(
            self.maker.make(window),
            settings.night.report_language,
            ZoneInfo(settings.night_zone),
            station=settings.site.station,
        )
        if self.notices.tell(NIGHT, night, words):
            logger.info("morning report written", name=night)
