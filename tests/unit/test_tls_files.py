"""TLS: files that are wrong are said to be wrong, and what is kept of a context when they are."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from oculard.cli.check import FINE, WARNING, WRONG
from oculard.cli.telling_checks import certificates
from oculard.settings import Settings
from oculard.tls import BYTES_MAX, Credentials, Failure, Files, TlsUnusable, all_files, called, check, failure_of
from oculard.tls_socket import Certificate
from tls_samples import Authority, Pair, replace


@pytest.fixture
def files(authority: Authority, ours: Pair) -> Files:
    return Files(authorities=authority.file, certificate=ours.certificate, key=ours.key)


@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("key", b""),
        ("key", b"-----BEGIN PRIVATE KEY-----\nhalf"),
        ("certificate", b"words"),
        ("authorities", b""),
        ("authorities", b"words"),
    ],
)
def test_files_that_cannot_be_used(files: Files, which: str, content: bytes) -> None:
    """Each is said to be unusable, by name, without a word of what is in it; and nobody is asked for a passphrase."""
    getattr(files, which).write_bytes(content)

    with pytest.raises(TlsUnusable) as why:
        check(files)
    assert "half" not in str(why.value)
    assert why.value.hint


def test_a_key_with_a_passphrase(files: Files, ours: Pair) -> None:
    """The library would ask at the terminal, and wait for ever where there is none: it is not let."""
    locked = serialization.BestAvailableEncryption(b"secret")
    key: Any = serialization.load_pem_private_key(ours.key.read_bytes(), None)
    replace(ours.key, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))

    with pytest.raises(TlsUnusable, match="passphrase"):
        check(files)


def test_a_file_without_end_is_not_read(files: Files) -> None:
    """No bundle of authorities is so large."""
    replace(files.authorities, files.authorities.read_bytes() + b"\n" * BYTES_MAX)

    with pytest.raises(TlsUnusable, match="bytes"):
        check(files)


def test_what_is_no_file_holds_nobody_up(files: Files) -> None:
    """A pipe would be waited for, for ever."""
    files.authorities.unlink()
    with pytest.raises(TlsUnusable, match="is no file"):
        check(files)
    os.mkfifo(files.authorities)
    with pytest.raises(TlsUnusable, match="is no file"):
        check(files)


def test_a_key_of_another_certificate(files: Files, authority: Authority) -> None:
    """Half of a renewal is none."""
    assert files.key is not None
    replace(files.key, authority.pair("other.clinic.test").key.read_bytes())

    with pytest.raises(TlsUnusable):
        check(files)


def test_a_context_is_made_once_for_each_change(files: Files, ours: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at every time and read when they changed: the same bytes in a new file too, a right too."""
    made: list[ssl.SSLContext] = []

    def make() -> ssl.SSLContext:
        made.append(called())
        return made[-1]

    credentials = Credentials(files, make)
    assert credentials.context() is credentials.context() is made[0]
    replace(ours.key, ours.key.read_bytes())
    assert credentials.context() is credentials.context() is made[1]
    ours.key.chmod(0o640)
    assert credentials.context() is made[2]


def test_without_any_good_pair_there_is_no_context(files: Files, ours: Pair) -> None:
    """It is said at every call, until there is one."""
    key = ours.key.read_bytes()
    ours.key.unlink()
    credentials = Credentials(files, called)
    for _ in range(2):
        with pytest.raises(TlsUnusable):
            credentials.context()
    replace(ours.key, key)
    assert credentials.context() is credentials.context()


def test_no_session_outlives_a_change(files: Files) -> None:
    """Nobody comes in on an old session past a certificate that is asked for now."""
    context = Credentials(files, called).context()

    assert context.num_tickets == 0
    assert context.options & ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode == ssl.CERT_REQUIRED


def ssl_error(reason: str) -> ssl.SSLError:
    why = ssl.SSLError(1, reason)
    why.reason = reason
    return why


@pytest.mark.parametrize(
    ("why", "failure"),
    [
        (ssl.SSLCertVerificationError("no"), Failure.NOT_TRUSTED),
        (ssl_error("PEER_DID_NOT_RETURN_A_CERTIFICATE"), Failure.NO_CERTIFICATE),
        (ssl_error("TLSV1_ALERT_UNKNOWN_CA"), Failure.REFUSED),
        (ssl_error("SSLV3_ALERT_CERTIFICATE_EXPIRED"), Failure.REFUSED),
        (ssl_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Failure.REFUSED),
        (ssl_error("WRONG_VERSION_NUMBER"), Failure.NO_TLS),
        (ssl.SSLEOFError(8, "EOF"), Failure.NO_TLS),
        (ConnectionResetError(), Failure.NO_TLS),
        (TimeoutError(), Failure.NO_TLS),
        (ssl_error("NO_SHARED_CIPHER"), Failure.FAILED),
        (ssl_error("UNSUPPORTED_PROTOCOL"), Failure.FAILED),
        (ssl_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), Failure.FAILED),
    ],
)
def test_what_an_error_means(why: OSError, failure: Failure) -> None:
    """Each error of the library is one of ours, which says who must do what."""
    assert failure_of(why) is failure


def test_a_certificate_is_known_by_name_or_fingerprint() -> None:
    """Nothing in common is nothing allowed, and no part of a name is a name."""
    shown = Certificate(names=("pacs.clinic.test", "192.0.2.1"), fingerprint="sha256:ab")

    assert shown.is_one_of(["other", "pacs.clinic.test"])
    assert shown.is_one_of(["sha256:ab"])
    assert not shown.is_one_of([])
    assert not shown.is_one_of(["clinic.test", "sha256:a", "pacs"])


def configured(files: Files, *peers: dict[str, Any]) -> Settings:
    """Settings with these files, and peers by TLS."""
    tls = {"certificate": files.certificate, "key": files.key, "authorities": files.authorities}
    base = {"ae_title": "PACS", "host": "h", "port": 1}
    return Settings.model_validate({"intake": {"tls": tls}, "peers": [base | peer for peer in peers]})


def test_a_key_never_goes_with_another_certificate(files: Files, authority: Authority) -> None:
    """A peer's own pair replaces ours as a whole; each set of files is there once."""
    own = authority.pair("own.clinic.test")
    pair = {"certificate": own.certificate, "key": own.key}
    settings = configured(files, {"name": "a", "tls": {}}, {"name": "b", "tls": pair}, {"name": "c"})

    assert all_files(settings) == [
        files,
        Files(authorities=authority.file, certificate=own.certificate, key=own.key),
    ]


def test_the_doctor_tries_the_files(files: Files, ours: Pair) -> None:
    """Good ones are fine, a key that others may read is said, and a broken one is wrong."""
    found: Any = SimpleNamespace(
        settings=configured(files), app=SimpleNamespace(clock=SimpleNamespace(now=lambda: datetime.now(UTC)))
    )

    def states() -> list[str]:
        return [check.state for check in certificates(found) if check.what == "tls"]

    assert states() == [FINE]
    ours.key.chmod(0o644)
    assert states() == [WARNING]
    ours.key.write_bytes(b"")
    assert states() == [WRONG]
