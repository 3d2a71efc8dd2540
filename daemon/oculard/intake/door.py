"""The doors of the two ports: plain and TLS. Who comes to the wrong one is told so, in the words of the other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol

from oculard import log
from oculard.clock import Clock
from oculard.intake.connection import ASSOCIATE_RQ, REQUEST_HEAD_BYTES, begins_association, is_request
from oculard.tls import Credentials, Failure, TlsUnusable, failure_of
from oculard.tls_socket import TlsSocket

HELLO = 22  # a TLS record of the handshake (RFC 8446 5.1)
HANDSHAKE_FAILURE = b"\x15\x03\x01\x00\x02\x02\x28"  # a fatal alert, which every version understands (RFC 8446 6)
REJECTED = b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x01"  # A-ASSOCIATE-RJ: permanent, no reason given (PS3.8 9.3.4)
GOODBYE_S = 1.0
SAID_A_SECOND_MAX = 20
# What an administrator is told: reason and what to do.
HINTS: Mapping[str, str] = {
    "tls-on-plain-port": "the device speaks TLS: give it [intake.tls] port, or turn TLS off there",
    "plain-on-tls-port": "the device does not speak TLS: turn it on there, or give it [intake] port",
    "tls-no-certificate": "give the device a certificate of its own, signed by one of [intake.tls] authorities",
    "tls-not-trusted": "its certificate has ended, or none of [intake.tls] authorities signed it: add the signer there",
    "tls-refuses-us": "give the device the certificate of the authority that signed [intake.tls] certificate",
    "tls-failed": "the device must speak TLS 1.2 or 1.3 with an ECDHE suite of AES-GCM, and be done in first_bytes_s",
}
REASONS: Mapping[Failure, str] = {
    Failure.NOT_TRUSTED: "tls-not-trusted",
    Failure.NO_CERTIFICATE: "tls-no-certificate",
    Failure.REFUSED: "tls-refuses-us",
    Failure.NO_TLS: "tls-failed",
    Failure.FAILED: "tls-failed",
}
logger = log.get("intake")


class Door(Protocol):
    """Looks at a connection before anything is spent on it."""

    def let_in(self, connection: socket.socket, address: str) -> socket.socket | None:
        """What to speak through from now on; None when it was sent away, which closes whatever became of it."""


class Doorkeeper:
    """Says who was sent away and why, and no flood of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._second, self._said = datetime.min.replace(tzinfo=clock.now().tzinfo), 0

    def say(self, reason: str, address: str, *, why: str = "", hint: str = "") -> None:
        """One line, at most so many a second."""
        with self._lock:
            now = self._clock.now()
            if abs(now - self._second) >= timedelta(seconds=1):  # a clock may go back
                self._second, self._said = now, 0
            self._said += 1
            is_due = self._said <= SAID_A_SECOND_MAX
        if is_due:
            logger.warning("connection refused", reason=reason, why=why, address=address, hint=hint or HINTS[reason])


class PlainDoor:
    """Lets in who begins an association (DICOM.md 7.3 A)."""

    def __init__(self, keeper: Doorkeeper, *, within_s: float) -> None:
        self._keeper, self._within_s = keeper, within_s

    def let_in(self, connection: socket.socket, address: str) -> socket.socket | None:
        """As `Door.let_in`."""
        if begins_association(connection, within_s=self._within_s):
            return connection
        if _first(connection, within_s=0.0) == HELLO:
            self._keeper.say("tls-on-plain-port", address)
            _send_away(connection, HANDSHAKE_FAILURE)
        return None


class TlsDoor:
    """Lets in who shows a certificate that an authority of ours signed, and begins an association.

    It is asked in the connection's own thread, and everything has its time: who stays silent holds up nobody.
    """

    def __init__(self, keeper: Doorkeeper, credentials: Credentials, *, within_s: float) -> None:
        self._keeper, self._credentials, self._within_s = keeper, credentials, within_s

    def let_in(self, connection: socket.socket, address: str) -> socket.socket | None:
        """As `Door.let_in`."""
        first = _first(connection, within_s=self._within_s)
        if first == ASSOCIATE_RQ:
            self._keeper.say("plain-on-tls-port", address)
            _send_away(connection, REJECTED)
        if first != HELLO:
            return None
        try:
            context = self._credentials.context()
        except TlsUnusable as why:
            self._keeper.say(why.reason, address, why=str(why), hint=why.hint)
            _send_away(connection, HANDSHAKE_FAILURE)
            return None
        return self._secure(connection, context, address)

    def _secure(self, connection: socket.socket, context: ssl.SSLContext, address: str) -> TlsSocket | None:
        """Shake hands, and wait for the request; whatever comes of it, the plain socket is no more."""
        secured = None
        try:
            secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            assert isinstance(secured, TlsSocket), "every context of ours makes these"
            secured.settimeout(self._within_s)
            secured.do_handshake()
        except OSError as why:
            said = getattr(why, "reason", None) or type(why).__name__
            self._keeper.say(REASONS[failure_of(why)], address, why=said)
            if secured is not None:
                _send_away(secured, b"")
                secured.close()
            return None
        with contextlib.suppress(OSError):
            if is_request(secured.look(REQUEST_HEAD_BYTES, within_s=self._within_s)):
                return secured
        secured.close()
        return None


def _first(connection: socket.socket, *, within_s: float) -> int:
    """The first byte, which stays unread; -1 where none comes."""
    try:
        connection.settimeout(within_s)
        head = connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return -1
    return head[0] if head else -1


def _send_away(connection: socket.socket, words: bytes) -> None:
    """Say something, and hear the other side out for a moment: closing on unread bytes would take the words back."""
    raw, ends_at = socket.socket, monotonic() + GOODBYE_S  # below TLS
    with contextlib.suppress(OSError):
        connection.settimeout(GOODBYE_S)
        raw.sendall(connection, words)
        raw.shutdown(connection, socket.SHUT_WR)
        while (left_s := ends_at - monotonic()) > 0:
            connection.settimeout(left_s)
            if not raw.recv(connection, 65536):
                break
