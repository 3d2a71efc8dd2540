"""TLS by BCP 195 with certificates on both sides (PS3.15 B.12); files that change are read again."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from oculard import log
from oculard.errors import Transient
from oculard.settings import Settings
from oculard.settings_tls import CallTls, IntakeTls
from oculard.tls_socket import TlsSocket

# Of TLS 1.2; RFC 9325 4.2. Those of TLS 1.3 are all good.
SUITES = ":".join(
    f"ECDHE-{signed}-AES{bits}-GCM-SHA{digest}"
    for bits, digest in ((256, 384), (128, 256))
    for signed in ("ECDSA", "RSA")
)
BYTES_MAX = 1 << 20  # of a file
logger = log.get("tls")


class TlsUnusable(Transient):
    """Our certificate, its key or the authorities cannot be read, or do not fit each other."""

    reason = "certificate-unusable"
    hint = "may the daemon's user read it, is it PEM, does the key belong to the certificate? `oculard doctor` looks"


class Failure(StrEnum):
    """Why there is no TLS with the other side."""

    NOT_TRUSTED = "not-trusted"  # its certificate, by us
    NO_CERTIFICATE = "no-certificate"  # it shows none
    REFUSED = "refused"  # our certificate, by it
    NO_TLS = "no-tls"  # it speaks something else, or nothing
    FAILED = "failed"  # no version or suite in common, or a broken one


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a context is made of. Who calls a web service may have no certificate."""

    authorities: Path
    certificate: Path | None
    key: Path | None

    @property
    def all(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.certificate, self.key, self.authorities) if path is not None)


class Credentials:
    """A context that is made again when its files change; if that fails, the last good one serves on."""

    def __init__(self, files: Files, make: Callable[[], ssl.SSLContext]) -> None:
        self.files, self._make = files, make
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[Any, ...] | None = None
        self._why = ""

    def context(self) -> ssl.SSLContext:
        """The context in force. Raises TlsUnusable where there never was a good one."""
        with self._lock:
            seen = tuple(_state(path) for path in self.files.all)
            if seen != self._seen:
                self._seen = seen
                self._read()
            if self._context is None:
                raise TlsUnusable(self._why)
            return self._context

    def _read(self) -> None:
        try:
            self._context, is_first = load(self.files, self._make()), self._context is None
        except TlsUnusable as why:
            self._why = str(why)
            kept = "the one before stays in force" if self._context is not None else "there is no TLS until it is"
            logger.error("certificate not read", reason=why.reason, why=self._why, outcome=kept, hint=why.hint)
        else:
            logger.info("certificate read", name=self.files.all[0].name, outcome="first" if is_first else "changed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallingTls:
    """How one other side is called by TLS."""

    credentials: Credentials
    allowed: tuple[str, ...] = ()

    @classmethod
    def of(cls, tls: CallTls | None, settings: Settings) -> CallingTls | None:
        """As it is configured; None without TLS."""
        if tls is None:
            return None
        allowed = tuple(tls.certificates)
        credentials = Credentials(call_files(tls, settings.intake.tls), lambda: calling(checks_host=not allowed))
        return cls(credentials=credentials, allowed=allowed)


class SecureCall:
    """One call by TLS: what pynetdicom takes for a context, and what became of it. Raises TlsUnusable."""

    def __init__(self, tls: CallingTls) -> None:
        self._context, self._allowed = tls.credentials.context(), tls.allowed
        self._connection: TlsSocket | None = None

    def wrap_socket(self, connection: Any, *, server_side: bool, server_hostname: str) -> TlsSocket:
        """As SSLContext's."""
        try:
            made = self._context.wrap_socket(connection, server_side=server_side, server_hostname=server_hostname)
        except ValueError as why:  # a name that cannot be one
            raise OSError(str(why)) from why
        assert isinstance(made, TlsSocket), "every context of ours makes these"
        self._connection, made.allowed = made, self._allowed
        return made

    @property
    def failure(self) -> Failure | None:
        """Why TLS failed, if it did."""
        why = None if self._connection is None else self._connection.failure
        return None if why is None else failure_of(why)


def call_files(tls: CallTls, ours: IntakeTls) -> Files:
    """The files of a call: its own, else those of [intake.tls]. A certificate never goes with another one's key."""
    pair = tls if tls.certificate is not None else ours
    authorities = tls.authorities or ours.authorities
    assert authorities is not None, "the settings are checked"
    return Files(authorities=authorities, certificate=pair.certificate, key=pair.key)


def intake_files(ours: IntakeTls) -> Files | None:
    """The files for who calls us; None without TLS."""
    if ours.authorities is None:
        return None
    return Files(authorities=ours.authorities, certificate=ours.certificate, key=ours.key)


def all_files(settings: Settings) -> list[Files]:
    """Every set of files of the configuration, each once."""
    ours = settings.intake.tls
    found = [intake_files(ours)]
    calls = [peer.tls for peer in settings.peers] + [archive.tls for archive in settings.archives]
    calls += [sender.commitment_tls for sender in settings.senders]
    found += [call_files(tls, ours) for tls in calls if tls is not None]
    return list(dict.fromkeys(files for files in found if files is not None))


def called() -> ssl.SSLContext:
    """A context for who calls us: certificates on both sides, and no session that outlives a change of files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return _restrained(context)


def calling(*, checks_host: bool = True) -> ssl.SSLContext:
    """A context for whom we call."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = checks_host
    return _restrained(context)


def calling_web() -> ssl.SSLContext:
    """A context for a web service, whose library brings its own way to read."""
    context = calling()
    context.sslsocket_class = ssl.SSLSocket
    return context


def load(files: Files, context: ssl.SSLContext) -> ssl.SSLContext:
    """Read the files into a context. Raises TlsUnusable, which names the file and never what is in it."""
    for path in files.all:
        _check(path)
    if files.certificate is not None:
        with _meaning(f"{files.certificate} and {files.key}"):
            context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
    with _meaning(str(files.authorities)):
        context.load_verify_locations(files.authorities)
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def check(files: Files) -> None:
    """Read the files as who uses them does. Raises TlsUnusable."""
    load(files, calling())


def is_private(path: Path) -> bool:
    """Whether only its owner and our group may look at a file."""
    return not _state(path) or not path.stat().st_mode & 0o007


def failure_of(why: OSError) -> Failure:
    """What an error of a TLS connection means."""
    said = (getattr(why, "reason", None) or "").upper() if isinstance(why, ssl.SSLError) else ""
    if isinstance(why, ssl.SSLCertVerificationError):
        return Failure.NOT_TRUSTED
    if "DID_NOT_RETURN_A_CERTIFICATE" in said:
        return Failure.NO_CERTIFICATE
    if "ALERT" in said and any(word in said for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT")):
        return Failure.REFUSED
    is_other = any(word in said for word in ("WRONG_VERSION", "HTTP", "RECORD"))
    if is_other or isinstance(why, ssl.SSLEOFError) or not isinstance(why, ssl.SSLError):
        return Failure.NO_TLS
    return Failure.FAILED


def _restrained(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a device's own certificate may be an authority
    context.sslsocket_class = TlsSocket
    return context


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file does, its rights included; () where there is none."""
    try:
        now = path.stat()
    except OSError:
        return ()
    return now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino


def _check(path: Path) -> None:
    """A pipe or a device could hold us for ever. Raises TlsUnusable."""
    try:
        if not path.is_file():
            raise TlsUnusable(f"{path} is no file")
        size = path.stat().st_size
    except OSError as why:
        raise TlsUnusable(f"cannot read {path}: {why.strerror}") from why
    if size > BYTES_MAX:
        raise TlsUnusable(f"{path} has more than {BYTES_MAX} bytes")


@contextmanager
def _meaning(what: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as why:
        raise TlsUnusable(f"{what} cannot be used: {why.reason or 'not what TLS expects'}") from why
    except (OSError, ValueError) as why:
        raise TlsUnusable(f"cannot read {what}: {getattr(why, 'strerror', None) or 'it cannot be used'}") from why


def _no_passphrase() -> str:
    """Instead of OpenSSL, which would ask at the terminal and wait."""
    raise TlsUnusable("the key has a passphrase", hint="write it without one, readable by the daemon's user alone")
