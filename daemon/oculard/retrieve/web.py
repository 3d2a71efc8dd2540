"""One web service and its answers: bounded, and each bad status with its meaning."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import httpx

from oculard.errors import Misconfigured
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveNotTrusted,
    ArchiveRefused,
    ArchiveSilent,
    Stopping,
    StudyFailed,
    TooManyMatches,
)

ANSWER_BYTES_MAX = 64 << 20  # of one page of JSON
AFTER_S_MAX = 900  # an archive may ask for so much patience
BUSY = (408, 409, 425, 429, 503)
GONE = (404, 410)
FORBIDDEN = (401, 403, 407)
CAUSES_MAX = 10


class Gone(StudyFailed):
    """It is not there (any more)."""


class Web:
    """A web service below one URL. Certificates are verified, no redirection is followed."""

    def __init__(self, *, name: str, url: str, auth: tuple[str, str] | None, connect_s: float, answer_s: float) -> None:
        self.name, self._url, self._connect_s, self._answer_s = name, url, connect_s, answer_s
        try:
            httpx.URL(url)
        except httpx.InvalidURL as why:
            raise Misconfigured(f"archive `{name}`: url is none", hint="[[archives]] url") from why
        self._client = httpx.Client(
            auth=auth,
            verify=ssl.create_default_context(),  # whom the machine trusts
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "oculard", "Accept-Encoding": "identity"},  # 64 KiB can inflate to 64 MiB
        )
        self._is_closed = False
        self._under_way: httpx.Response | None = None

    def page(self, path: str, asked: dict[str, str], ends_at: float) -> list[Any]:
        """A list in JSON. Raises StudyFailed for what is none, TooManyMatches for one without end, or as `answer`."""
        body = bytearray()
        with self.answer(path, asked, "application/dicom+json", answer_s=self._answer_s) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise TooManyMatches(f"archive `{self.name}` answers without end")
                if monotonic() > ends_at:
                    raise ArchiveSilent(f"archive `{self.name}` was not done in time")
            if answer.status_code == httpx.codes.NO_CONTENT:
                return []
        try:
            page = json.loads(body)
        except (ValueError, RecursionError) as why:
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than JSON") from why
        if not isinstance(page, list):
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than a list")
        return page

    @contextmanager
    def answer(self, path: str, asked: dict[str, str], accept: str, *, answer_s: float) -> Iterator[httpx.Response]:
        """One answer with a good status. Raises what the other ones mean, and Stopping."""
        timeout = httpx.Timeout(answer_s, connect=self._connect_s)
        url, headers = f"{self._url}{path}", {"Accept": accept}
        try:
            self._check_open()
            with self._client.stream("GET", url, params=asked, headers=headers, timeout=timeout) as answer:
                self._under_way = answer
                self._check_open()
                self._judge(answer)
                yield answer
                self._check_open()  # what we ended looks as if it had come to its end
        except httpx.HTTPError as why:
            self._check_open()
            raise self._meaning(why) from why
        except StudyFailed:
            self._check_open()
            raise
        finally:
            self._under_way = None

    def close(self) -> None:
        """End the answer that is under way, from another thread too, and ask nothing more."""
        self._is_closed, answer = True, self._under_way
        if answer is None:
            return
        connection = answer.extensions["network_stream"].get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):  # it has just ended by itself
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS's: that would break the thread that reads

    def _check_open(self) -> None:
        if self._is_closed:
            raise Stopping("no question is asked any more")

    def _judge(self, answer: httpx.Response) -> None:
        status, said = answer.status_code, f"archive `{self.name}` answered {answer.status_code}"
        if 200 <= status < 300:
            return
        if status in BUSY:
            raise ArchiveBusy(said, after_s=_after_s(answer.headers.get("retry-after", "")))
        if status in FORBIDDEN:
            raise ArchiveRefused(said)
        if status in GONE:
            raise Gone(said)
        if status >= 500:
            raise StudyFailed(said)
        raise ArchiveRefused(said, hint="[[archives]] url is its DICOMweb root")

    def _meaning(self, why: httpx.HTTPError) -> ArchiveAway | ArchiveNotTrusted:
        if isinstance(why, httpx.ConnectTimeout | httpx.PoolTimeout):
            return ArchiveAway(f"archive `{self.name}` cannot be reached")
        if isinstance(why, httpx.TimeoutException):
            return ArchiveSilent(f"archive `{self.name}` gave no answer")
        if _is_not_trusted(why):
            return ArchiveNotTrusted(f"archive `{self.name}`: its certificate is not valid")
        return ArchiveAway(f"archive `{self.name}` cannot be reached: {type(why).__name__}")


def _after_s(text: str) -> float:
    """Retry-After in seconds (RFC 9110 10.2.3), bounded; a date says nothing to us."""
    return float(min(int(text), AFTER_S_MAX)) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0


def _is_not_trusted(why: BaseException) -> bool:
    """Whether a certificate was the cause, somewhere below."""
    cause: BaseException | None = why
    for _ in range(CAUSES_MAX):
        if cause is None or isinstance(cause, ssl.SSLCertVerificationError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, ssl.SSLCertVerificationError)
