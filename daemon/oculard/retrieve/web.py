"""One web service and its answers: bounded, and each bad status with its meaning."""

from __future__ import annotations

import contextlib
import hashlib
import json
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
    StudyFailed,
    TooManyMatches,
)
from oculard.retrieve.stopwatch import Stopwatch
from oculard.tls import Credentials, TlsUnusable

ANSWER_BYTES_MAX = 4 << 20  # of one page of JSON: 20 KiB for each match that we ask for
AFTER_S_MAX = 900  # an archive may ask for so much patience
BUSY = (408, 409, 425, 429, 503)
GONE = (404, 410)
FORBIDDEN = (401, 403, 407)
AWAY = (502, 504)  # a proxy speaks: the archive behind it does not answer
CAUSES_MAX = 10


class Gone(StudyFailed):
    """It is not there (any more)."""


class Web:
    """A web service below one URL. Certificates are verified, no redirection is followed."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        auth: tuple[str, str] | None,
        connect_s: float,
        answer_s: float,
        credentials: Credentials | None = None,
    ) -> None:
        self.name, self._url, self._connect_s, self._answer_s = name, url, connect_s, answer_s
        self._auth, self._credentials = auth, credentials
        try:
            httpx.URL(url)
        except httpx.InvalidURL as why:
            raise Misconfigured(f"archive `{name}`: url is none", hint="[[archives]] url") from why
        self._trusted: ssl.SSLContext | None = None
        self._client = self._client_with(ssl.create_default_context())  # whom the machine trusts
        self._stopwatch = Stopwatch(name)

    def page(self, path: str, asked: dict[str, str], ends_at: float) -> tuple[list[Any], bytes]:
        """A list in JSON, and the digest of its bytes.

        Raises StudyFailed for what is none, TooManyMatches for one without end, or as `answer`.
        """
        body, kind = bytearray(), "application/dicom+json"
        with self.answer(path, asked, kind, answer_s=self._answer_s, ends_at=ends_at) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise TooManyMatches(f"archive `{self.name}` answers without end")
            if answer.status_code == httpx.codes.NO_CONTENT:
                return [], b""
        try:
            page = json.loads(body)
        except (ValueError, RecursionError) as why:
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than JSON") from why
        if not isinstance(page, list):
            raise StudyFailed(f"archive `{self.name}` answered a query with something else than a list")
        return page, hashlib.sha256(body).digest()

    @contextmanager
    def answer(
        self, path: str, asked: dict[str, str], accept: str, *, answer_s: float, ends_at: float
    ) -> Iterator[httpx.Response]:
        """One answer with a good status, every byte of it in time. Raises what the other ones mean, and Stopping."""
        self._renew()
        check, timeout = self._stopwatch.check, httpx.Timeout(answer_s, connect=self._connect_s)
        request = self._client.build_request(
            "GET",
            f"{self._url}{path}",
            params=asked,
            headers={"Accept": accept},
            timeout=timeout,
            extensions={"trace": self._stopwatch.trace},
        )
        with self._stopwatch.running(ends_at - monotonic()):
            try:
                check()
                with contextlib.closing(self._client.send(request, stream=True)) as answer:
                    check()
                    self._judge(answer)
                    yield answer
                check()
            except httpx.HTTPError as why:
                check()
                raise self._meaning(why) from why
            except StudyFailed:
                check()
                raise

    def close(self) -> None:
        """End what is under way, from another thread too, and ask nothing more."""
        self._stopwatch.close()

    def _client_with(self, trusted: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(
            auth=self._auth,
            verify=trusted,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": "oculard", "Accept-Encoding": "identity"},  # 64 KiB can inflate to 64 MiB
            limits=httpx.Limits(max_connections=1),  # the stopwatch knows one
        )

    def _renew(self) -> None:
        """Where we have files of our own: another client when they have changed. Raises ArchiveAway."""
        if self._credentials is None:
            return
        try:
            trusted = self._credentials.context()
        except TlsUnusable as why:
            raise ArchiveAway(str(why), reason=why.reason, hint=why.hint) from why
        if trusted is not self._trusted:
            self._client.close()
            self._trusted, self._client = trusted, self._client_with(trusted)

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
        if status in AWAY:
            raise ArchiveAway(said)
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
