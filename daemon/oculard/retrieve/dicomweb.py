"""QIDO-RS and WADO-RS: the same questions over HTTP (PS3.18 10.6, 10.4), for archives that speak it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from oculard import log
from oculard.errors import Permanent, Rejected
from oculard.retrieve.archive import (
    INSTANCES_MAX,
    UID,
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    ArchiveSilent,
    Days,
    Found,
    Retrieved,
    StudyFailed,
    Take,
    TooManyMatches,
)
from oculard.retrieve.multipart import BadMultipart, Parts, boundary_of

PAGE = 200  # matches of one answer
ANSWER_BYTES_MAX = 64 << 20  # of one page of JSON
STUDY_UID, STUDY_DATE, MODALITIES = "0020000D", "00080020", "00080061"
SERIES_UID, INSTANCES, MODALITY, SOP_UID = "0020000E", "00201209", "00080060", "00080018"
BUSY = (408, 409, 425, 429, 503)
GONE = (404, 410)
FORBIDDEN = (401, 403, 407)
SOME_MISSING = "instances-refused"
logger = log.get("retrieve")
Match = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class DicomWeb:
    """An archive behind a DICOMweb root; as `Archive` says."""

    name: str
    url: str
    spool: Path
    auth: tuple[str, str] | None
    answer_s: float
    study_s: float
    matches_max: int
    study_bytes_max: int
    remarks: Counter[str] = field(default_factory=Counter)
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            auth=self.auth,
            timeout=self.answer_s,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "oculard"},
        )

    def close(self) -> None:
        """As `Archive.close`."""
        self._client.close()

    def find_studies(self, days: Days, modalities: Sequence[str]) -> list[Found]:
        """As `Archive.find_studies`: each modality is a question of its own (PS3.18 8.3.4.1)."""
        found: dict[str, Found] = {}
        for modality in modalities or ("",):
            asked = {"StudyDate": str(days), "includefield": MODALITIES} | (
                {"ModalitiesInStudy": modality} if modality else {}
            )
            for match in self._pages("/studies", asked, self.matches_max - len(found)):
                one = self._study(match, days)
                if one is not None and (not modality or not one.modalities or modality in one.modalities):
                    found[one.study_instance_uid] = one
        return list(found.values())

    def count_series(self, study_instance_uid: str) -> dict[str, int]:
        """As `Archive.count_series`."""
        counts: dict[str, int] = {}
        root = f"/studies/{study_instance_uid}/series"
        for match in self._pages(root, {"includefield": INSTANCES}, INSTANCES_MAX):
            uid = self._uid(match, SERIES_UID)
            if uid:
                count = _number(match)
                counts[uid] = self._count_images(f"{root}/{uid}/instances") if count is None else count
        return counts

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`: the whole study in one answer, each part a file of its own."""
        asked = 'multipart/related; type="application/dicom"; transfer-syntax=*'  # as stored, PS3.18 8.7.3.5.2
        ends_at, taken = monotonic() + self.study_s, _Taken(take, self.remarks)
        with self._answer(f"/studies/{study_instance_uid}", {}, asked) as answer:
            boundary = boundary_of(answer.headers.get("content-type", ""))
            if boundary is None:
                raise StudyFailed(f"archive `{self.name}` did not answer with application/dicom parts")
            parts = Parts(boundary, self.spool, taken, bytes_max=self.study_bytes_max)
            try:
                for chunk in answer.iter_bytes(1 << 16):
                    parts.feed(chunk)
                    if monotonic() > ends_at:
                        raise ArchiveSilent(f"archive `{self.name}` did not finish with a study in {self.study_s:g} s")
                parts.end()
            except BadMultipart as why:
                raise StudyFailed(f"archive `{self.name}`: {why}") from why
            finally:
                parts.discard()
        return Retrieved(completed=taken.count, failed=taken.refused, reason=SOME_MISSING if taken.refused else None)

    def _count_images(self, path: str) -> int:
        matches = self._pages(path, {}, INSTANCES_MAX)
        return len({uid for match in matches if UID.match(uid := _text(match, SOP_UID))})

    def _pages(self, path: str, asked: dict[str, str], most: int) -> Iterator[Match]:
        """Every match of a question, page by page. Raises TooManyMatches."""
        seen, last = 0, None
        while True:
            page = self._page(path, asked | {"limit": str(PAGE), "offset": str(seen)})
            if not page or page == last:  # an archive that ignores the offset would go on for ever
                return
            seen, last = seen + len(page), page
            if seen > most:
                raise TooManyMatches(f"archive `{self.name}` has more than {most} matches")
            yield from (match for match in page if isinstance(match, dict))
            if len(page) < PAGE:
                return

    def _page(self, path: str, asked: dict[str, str]) -> list[Any]:
        with self._answer(path, asked, "application/dicom+json") as answer:
            if answer.status_code == httpx.codes.NO_CONTENT:
                return []
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise TooManyMatches(f"archive `{self.name}` answers without end")
        try:
            page = json.loads(body)
        except (ValueError, RecursionError) as why:
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than JSON") from why
        if not isinstance(page, list):
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than a list")
        return page

    @contextmanager
    def _answer(self, path: str, asked: dict[str, str], accept: str) -> Iterator[httpx.Response]:
        """One answer with a good status. Raises what the other ones mean."""
        try:
            with self._client.stream("GET", f"{self.url}{path}", params=asked, headers={"Accept": accept}) as answer:
                self._judge(answer.status_code)
                yield answer
        except httpx.TimeoutException as why:
            raise ArchiveSilent(f"archive `{self.name}` gave no answer") from why
        except httpx.HTTPError as why:
            raise ArchiveAway(f"archive `{self.name}` cannot be reached: {type(why).__name__}") from why

    def _judge(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status in BUSY:
            raise ArchiveBusy(f"archive `{self.name}` answered {status}")
        if status in FORBIDDEN:
            raise ArchiveRefused(f"archive `{self.name}` answered {status}")
        if status in GONE or status >= 500:
            raise StudyFailed(f"archive `{self.name}` answered {status}")
        raise ArchiveRefused(f"archive `{self.name}` answered {status}", hint="[[archives]] url is its DICOMweb root")

    def _study(self, match: Match, days: Days) -> Found | None:
        uid, day = self._uid(match, STUDY_UID), _text(match, STUDY_DATE)
        if uid is None:
            return None
        if not days.holds(day):
            self.remarks["match-of-another-day"] += 1
            return None
        return Found(study_instance_uid=uid, study_date=day, modalities=tuple(_texts(match, MODALITIES)))

    def _uid(self, match: Match, tag: str) -> str | None:
        uid = _text(match, tag)
        if not UID.match(uid):
            self.remarks["match-without-uid"] += 1
            return None
        return uid


class _Taken:
    """Hands what came to custody, and counts."""

    def __init__(self, take: Take, remarks: Counter[str]) -> None:
        self._take, self._remarks = take, remarks
        self.count = self.refused = 0

    def __call__(self, path: Path) -> None:
        try:
            self._take(path)
        except (Rejected, Permanent) as why:
            self.refused += 1
            self._remarks[why.reason] += 1
            logger.warning("instance refused", reason=why.reason, hint=why.hint)
        else:
            self.count += 1


def _texts(match: Match, tag: str) -> list[str]:
    """An attribute's values as text (PS3.18 F.2); [] where it is not there, or something else."""
    attribute = match.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [str(value) for value in values if isinstance(value, str | int)] if isinstance(values, list) else []


def _text(match: Match, tag: str) -> str:
    return next(iter(_texts(match, tag)), "")


def _number(match: Match) -> int | None:
    text = _text(match, INSTANCES)
    return int(text) if text.isdecimal() and 0 < int(text) <= INSTANCES_MAX else None
