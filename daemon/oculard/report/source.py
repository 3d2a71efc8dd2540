"""Sources: the images that a report is about, as their headers say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset

from oculard.report import raw
from oculard.report.envelope import COPIED


class Grade(StrEnum):
    """How good an image is for an estimator."""

    GOOD = "good"
    LIMITED = "limited"
    UNGRADABLE = "ungradable"
    NOT_ASSESSED = "not-assessed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One image that was looked at.

    `header` is read from the file (up to the pixel data) and untouched: an element that somebody asked pydicom for has
    been decoded, and its bytes are lost. Whoever wants facts from it reads the file a second time.
    """

    header: Dataset
    grade: str  # any of Grade
    reasons: tuple[str, ...] = ()  # ASCII: why the grade is not good, or why the image was not used
    used: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "grade", Grade(self.grade))
        for reason in self.reasons:
            require_plain(reason, 256)
        for uid in (self.sop_class_uid, self.sop_instance_uid, self.series_instance_uid, self.study_instance_uid):
            if not uid:
                raise ValueError("the header of a source lacks one of its four UIDs")
        for tag in COPIED:
            if raw.is_decoded(self.header, tag):
                raise ValueError(f"the header of a source was decoded (tag {tag:08X}): read it from the file again")

    @property
    def sop_class_uid(self) -> str:
        """What kind of object the image is."""
        return raw.text(self.header, "SOPClassUID")

    @property
    def sop_instance_uid(self) -> str:
        """Which object it is."""
        return raw.text(self.header, "SOPInstanceUID")

    @property
    def series_instance_uid(self) -> str:
        """The series it belongs to."""
        return raw.text(self.header, "SeriesInstanceUID")

    @property
    def study_instance_uid(self) -> str:
        """The study it belongs to."""
        return raw.text(self.header, "StudyInstanceUID")


def require_plain(text: str, chars_max: int) -> None:
    """Refuse what is not plain printable ASCII: it must read the same under every character set of a source."""
    if not 0 < len(text) <= chars_max or not text.isascii() or not text.isprintable() or set(text) & {"\\", "~"}:
        raise ValueError(f"expected 1 to {chars_max} printable ASCII characters without backslash or tilde: {text!r}")
