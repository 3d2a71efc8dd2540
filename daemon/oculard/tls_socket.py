"""The socket of a TLS connection: reads whole records without waiting for halves, and keeps what went wrong."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a verified certificate says of whoever shows it."""

    names: tuple[str, ...]  # common name, DNS names and addresses, in small letters
    fingerprint: str  # `sha256:` and the digest of all of it

    def is_one_of(self, allowed: Sequence[str]) -> bool:
        """Whether its fingerprint or one of its names is allowed."""
        return self.fingerprint in allowed or any(name in allowed for name in self.names)


class TlsSocket(ssl.SSLSocket):
    """An SSLSocket for one thread that reads and writes; any other may call `shutdown`."""

    allowed: Sequence[str] = ()  # certificates that the other side may show; () means any that is verified
    certificate: Certificate | None = None  # of the other side, once the handshake is done
    failure: OSError | None = None
    _ahead = b""  # read by `look`, and not taken yet

    def __new__(cls, *given: Any, **more: Any) -> Self:
        made = super().__new__(cls, *given, **more)
        made._using = threading.Lock()
        return made

    _using: threading.Lock

    def do_handshake(self, block: bool = False) -> None:
        """The handshake; a certificate that is verified and not allowed fails it too."""
        try:
            super().do_handshake(block)
            self.certificate = _shown(self)
            if self.allowed and not self.certificate.is_one_of(self.allowed):
                raise ssl.SSLCertVerificationError("the certificate is none of those that are allowed")
        except OSError as why:
            self.failure = why
            raise

    def look(self, count: int, *, within_s: float) -> bytes:
        """The next bytes, which stay unread; fewer where the other side ends. Raises OSError where they do not come."""
        ends_at = monotonic() + within_s
        while len(self._ahead) < count:
            self.settimeout(max(0.001, ends_at - monotonic()))
            part = self.recv(count - len(self._ahead))
            if not part:
                break
            self._ahead += part
        return self._ahead

    def pending(self) -> int:
        """How many bytes can be read without waiting for the network."""
        return len(self._ahead) + super().pending()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002  its signature
        """As the original; what goes wrong is kept."""
        with self._using:
            try:
                return super().read(len, buffer)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as why:  # TLS 1.3: a client hears only now that its certificate is refused
                self.failure = why
                raise

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Take all whole records that have come and fit. Raises BlockingIOError when there is none: poll for more."""
        assert (nbytes, flags) == (None, 0), "nobody asks for it"
        with memoryview(buffer) as view:
            count = min(len(self._ahead), len(view))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            timeout_s = self.gettimeout()
            self.settimeout(0.0)
            try:
                return self._fill(view, count)
            finally:
                self.settimeout(timeout_s)

    def send(self, data: Any, flags: int = 0) -> int:
        """As the original, which is not safe against another thread's `shutdown`."""
        with self._using:
            return super().send(data, flags)

    def shutdown(self, how: int) -> None:
        """Say goodbye where nobody is speaking (RFC 8446 6.1), and end the connection."""
        if self._using.acquire(blocking=False):
            try:
                self._say_goodbye()
            finally:
                self._using.release()
        socket.socket.shutdown(self, how)

    def _fill(self, view: memoryview, count: int) -> int:
        while count < len(view):
            try:
                got = self.read(len(view) - count, view[count:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as why:
                if not count:
                    raise BlockingIOError(errno.EAGAIN, "half a record") from why
                break
            except OSError:
                if not count:
                    raise
                break  # what came before it is whole; the next call fails
            if not got:
                break
            count += got
        return count

    def _say_goodbye(self) -> None:
        channel: Any = getattr(self, "_sslobj", None)
        if channel is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self.settimeout(0.0)
            channel.shutdown()


def _shown(connection: ssl.SSLSocket) -> Certificate:
    """The verified certificate of the other side."""
    encoded, said = connection.getpeercert(binary_form=True), connection.getpeercert()
    assert encoded and said, "no handshake succeeds without a certificate"  # noqa: PT018  both or none
    names = [value for kind, value in _pairs(said.get("subjectAltName")) if kind in ("DNS", "IP Address")]
    names += [value for part in _pairs(said.get("subject")) for kind, value in _pairs(part) if kind == "commonName"]
    fingerprint = f"sha256:{hashlib.sha256(encoded).hexdigest()}"
    return Certificate(names=tuple(dict.fromkeys(name.lower() for name in names)), fingerprint=fingerprint)


def _pairs(found: Any) -> tuple[Any, ...]:
    return found or ()
