"""An archive as back-fill sees it: what it has, how much of it, and how it comes to us. Whatever it says is checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from oculard.errors import Permanent, Transient

UID = re.compile(r"[0-9][0-9.]{0,63}")
COUNT = re.compile(r"[0-9]{1,9}")
DAY = "%Y%m%d"  # DICOM DA, PS3.5 6.2
HOURS = 24
INSTANCES_MAX = 100_000  # of one study; no eye clinic has more
MODALITIES_MAX = 100  # of one study, that are believed
MODALITY_LENGTH = 16  # DICOM CS, PS3.5 6.2
SOME_FAILED = "sub-operations-failed"
Take = Callable[[Path], object]  # a finished Part 10 file in the spool, on its way into custody


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """A range of study dates, both ends included; of one day perhaps some hours alone."""

    first: date
    last: date
    hours: tuple[int, int] = (0, HOURS)  # from, to

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"the range ends on {self.last}, before it begins on {self.first}")
        if not 0 <= self.hours[0] < self.hours[1] <= HOURS or (self.first != self.last and self.times):
            raise ValueError(f"of {self.first} to {self.last} the hours {self.hours} cannot be asked for")

    @property
    def times(self) -> str:
        """The hours as a matching range of times; "" for whole days. Ranges that follow each other share a second."""
        begins, ends = (f"{hour:02}0000" for hour in self.hours)
        if self.hours == (0, HOURS):
            return ""
        return f"{begins}-" if self.hours[1] == HOURS else f"{begins}-{ends}"

    def halves(self) -> tuple[Days, ...]:
        """The same in two parts; none where it is an hour, or more than a day."""
        begins, ends = self.hours
        if self.first != self.last or ends - begins == 1:
            return ()
        middle = (begins + ends) // 2
        return replace(self, hours=(begins, middle)), replace(self, hours=(middle, ends))

    def holds(self, day: str) -> bool:
        """Whether a DICOM date lies in it."""
        found = parse_day(day)
        return found is not None and self.first <= found <= self.last

    def __str__(self) -> str:
        """As a matching range (PS3.4 C.2.2.2.5)."""
        first, last = self.first.strftime(DAY), self.last.strftime(DAY)
        return first if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One study that an archive says it has."""

    study_instance_uid: str
    study_date: str  # DICOM DA
    modalities: tuple[str, ...] = ()  # () where the archive does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What an archive said when it was done with a study. It is never trusted: what came is counted."""

    completed: int
    failed: int = 0
    warned: int = 0
    reason: str | None = None  # why not everything came, if it said so


class Archive(Protocol):
    """Where studies are fetched from. One object serves one thread."""

    @property
    def remarks(self) -> Counter[str]:
        """What it did wrong, by reason; whoever reads them may clear them."""

    def find_studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """The studies of some days, each once; with any of the modalities, of all where none is named.

        Raises TooManyMatches when there are more than may be asked for at once.
        """

    def count_series(self, study_instance_uid: str) -> dict[str, int]:
        """How many instances it has in each series of a study; {} when it does not have the study (any more)."""

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """Let a study come; returns when the archive says that it is done."""

    def close(self) -> None:
        """End what is under way, from another thread too: it raises Stopping, and so does whatever is asked later."""


class ArchiveAway(Transient):
    """The archive cannot be reached or does not answer: everything that it owes us waits."""

    reason = "archive-unreachable"
    hint = "is the archive running? [[archives]] host and port, or url"


class ArchiveSilent(ArchiveAway):
    """It took our question and never answered it."""

    reason = "archive-no-answer"
    hint = "the archive is slow or stuck: look at its log; [[archives]] find_s and study_s say how long we wait"


class ArchiveBusy(ArchiveAway):
    """It says that it cannot now."""

    reason = "archive-busy"
    hint = "the archive asks for patience: fewer [[archives]] associations or studies_per_min"

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s  # it asks not to be asked for so long


class ArchiveRefused(Permanent):
    """It does not want us, or does not know how: a person must change its configuration or ours."""

    reason = "archive-refused"
    hint = "the archive must know our AE title and allow us to query and to retrieve; or the password is wrong"


class ArchiveDoesNotKnowUs(ArchiveRefused):
    """It does not know where our AE title lives, so it cannot send there (0xA801)."""

    reason = "archive-does-not-know-us"


class ArchiveNotTrusted(ArchiveRefused):
    """Whoever answers there cannot prove that it is the archive."""

    reason = "archive-not-trusted"
    hint = "its certificate cannot be verified: give this machine the certificate of the authority that signed it"


class StudyFailed(Transient):
    """It could not give this study now; the others may do better."""

    reason = "study-not-given"
    hint = "look at the archive's log: it was asked for the study and failed"


class Stopping(Transient):
    """We end while something is under way; it will be asked for again."""

    reason = "stopping"
    hint = "the daemon was told to end"


class TooManyMatches(Permanent):
    """More matches than may be asked for at once: a smaller question is needed."""

    reason = "too-many-matches"
    hint = "fewer days, or a modality; or raise [[archives]] matches_max"


def is_uid(text: str) -> bool:
    """Whether it has a UID's form and length (PS3.5 9.1)."""
    return UID.fullmatch(text) is not None


def believed(modalities: Iterable[str], remarks: Counter[str]) -> tuple[str, ...]:
    """The modalities of a study that can be some, and not more than a study may have; a remark for each other one."""
    told = [text for text in modalities if text]
    good = tuple(text for text in told[:MODALITIES_MAX] if len(text) <= MODALITY_LENGTH)
    if len(good) < len(told):
        remarks["modality-not-believed"] += len(told) - len(good)
    return good


def parse_count(text: str) -> int | None:
    """A number of instances, or None for what is none or cannot be."""
    count = int(text) if COUNT.fullmatch(text) else 0
    return count if 0 < count <= INSTANCES_MAX else None


def parse_day(text: str) -> date | None:
    """A DICOM date, or None for what is none."""
    if not re.fullmatch(r"[0-9]{8}", text):
        return None
    try:
        return datetime.strptime(text, DAY).date()  # noqa: DTZ007  a date has no zone
    except ValueError:
        return None
