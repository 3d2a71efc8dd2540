"""An authority that signs certificates for tests, and the files that TLS wants."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """As the settings write it."""
        read = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return f"sha256:{hashlib.sha256(read.public_bytes(serialization.Encoding.DER)).hexdigest()}"

    @property
    def options(self) -> list[str]:
        """As DCMTK's tools want them."""
        return ["+tls", str(self.key), str(self.certificate)]


@dataclass(slots=True)
class Authority:
    """Signs whatever it is asked to."""

    folder: Path
    name: str = "Clinic Authority"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def _subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    @property
    def file(self) -> Path:
        """Its own certificate."""
        path = self.folder / f"{self.name}.pem"
        if not path.exists():
            path.write_bytes(self._sign(self._subject, self.key.public_key(), ends=in_days(30), is_authority=True))
        return path

    def of_its_own(self, ends: datetime) -> bytes:
        """A certificate that it signs for itself, and that is no authority's."""
        return self._sign(self._subject, self.key.public_key(), ends=ends)

    def pair(self, name: str, *, days: float = 30.0, address: str = "127.0.0.1") -> Pair:
        """A new certificate and its key, written as who renews them should: whole files take the old ones' place."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pair = Pair(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        replace(pair.key, private)
        pair.key.chmod(0o600)
        replace(pair.certificate, self._sign(subject, key.public_key(), ends=in_days(days), address=address, dns=name))
        return pair

    def revoke(self, *pairs: Pair) -> bytes:
        """A list of what it does not stand for any more."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject)
        builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=1))
        for pair in pairs:
            serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(days=1))
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)

    def _sign(
        self,
        subject: x509.Name,
        key: Any,
        *,
        ends: datetime,
        is_authority: bool = False,
        address: str = "",
        dns: str = "",
    ) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._subject).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(ends - timedelta(days=400)).not_valid_after(ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if dns:
            names = [x509.DNSName(dns), x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(PEM)


def in_days(days: float) -> datetime:
    """A moment from now."""
    return datetime.now(UTC) + timedelta(days=days)


def replace(path: Path, content: bytes) -> None:
    """Write a file under another name, and let it take the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
