"""When certificates end: every certificate of a PEM file counts, and the file is foreign until it was read."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509

from oculard.errors import Permanent
from oculard.settings import Settings
from oculard.tls import all_files

BYTES_MAX = 1 << 20
COUNT_MAX = 200  # a bundle of the world's authorities has fewer


class Unreadable(Permanent):
    """The file cannot be read, or holds no certificate."""

    reason = "certificate-unreadable"
    hint = (
        "may the daemon's user read it, and does it hold -----BEGIN CERTIFICATE-----? [alarms] certificates, or `tls`"
    )


def watched(settings: Settings) -> list[Path]:
    """Every file whose certificates are watched: those that are named, and those of TLS."""
    ours = [path for files in all_files(settings) for path in (files.certificate, files.authorities)]
    return list(dict.fromkeys(path for path in (*settings.alarms.certificates, *ours) if path is not None))


def ends_at(path: Path) -> datetime:
    """When the first of a file's certificates ends. Raises Unreadable."""
    try:
        if not path.is_file():  # a pipe or a device could hold us for ever
            raise Unreadable(f"{path} is no file")
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as why:
        raise Unreadable(f"cannot read {path}: {why.strerror}") from why
    if len(content) > BYTES_MAX:
        raise Unreadable(f"{path} has more than {BYTES_MAX} bytes")
    try:
        found = x509.load_pem_x509_certificates(content)
        if len(found) > COUNT_MAX:
            raise Unreadable(f"{path} holds {len(found)} certificates, {COUNT_MAX} are looked at")
        return min(certificate.not_valid_after_utc for certificate in found)
    except ValueError as why:
        raise Unreadable(f"{path} holds no certificate that can be read") from why
