"""The settings of TLS: with which files we answer and call, and which certificates the others may show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from oculard.settings_shapes import Port, Section

TLS_PORT = 2762  # registered as `dicom-tls`
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
FILES = ("certificate", "key", "authorities")


def _shown(text: str) -> str:
    """A certificate's name, or its fingerprint in one form. Raises ValueError."""
    if text.lower().startswith("sha256:"):
        digest = "sha256:" + text[7:].replace(":", "").lower()
        if not FINGERPRINT.fullmatch(digest):
            raise ValueError("expected sha256: and 64 hexadecimal digits")
        return digest
    if not NAME.fullmatch(text):
        raise ValueError("expected a name that stands in the certificate, or `sha256:` and its fingerprint")
    return text.lower()


Shown = Annotated[str, AfterValidator(_shown)]


class IntakeTls(Section):
    """TLS for who calls us; off until certificate, key and authorities are named. Changed files need no restart."""

    port: Port = Field(TLS_PORT, description="TCP port to listen on, beside [intake] port; 0 picks a free one (tests).")
    plain: bool = Field(True, description="false: [intake] port is not opened, everybody calls by TLS.")
    certificate: Path | None = Field(None, description="PEM: our certificate, then those that lead to its authority.")
    key: Path | None = Field(
        None, description="PEM: its private key, without a passphrase, for the daemon's user alone."
    )
    authorities: Path | None = Field(
        None,
        description="PEM: who signs the others' certificates, or these themselves; with its CRLs if there are any.",
    )

    @property
    def is_on(self) -> bool:
        return self.certificate is not None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [name for name in FILES if getattr(self, name) is None]
        if missing and len(missing) < len(FILES):
            raise ValueError(f"certificate, key and authorities belong together: {', '.join(missing)} is missing")
        if missing and not self.plain:
            raise ValueError("plain = false needs certificate, key and authorities")
        return self


class CallTls(Section):
    """How somebody is called by TLS. A file that is left out is that of [intake.tls]."""

    authorities: Path | None = Field(None, description="PEM: who signs its certificate, or that certificate itself.")
    certificate: Path | None = Field(None, description="PEM: the certificate that we show.")
    key: Path | None = Field(None, description="PEM: its private key.")
    certificates: list[Shown] = Field(
        [],
        description="Names or `sha256:` fingerprints, of which its certificate has one; [] means its host's name.",
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


def check_files(where: str, tls: CallTls | None, ours: IntakeTls, needed: Sequence[str] = FILES) -> None:
    """Raise ValueError where a call by TLS lacks a file."""
    for name in () if tls is None else needed:
        if getattr(tls, name) is None and getattr(ours, name) is None:
            raise ValueError(f"{where}: tls names no {name}, and neither does [intake.tls]")
