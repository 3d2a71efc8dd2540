"""A report made ready to travel: checked against its digest, and dressed as what the peer accepts."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from oculard.delivery.part10 import Meta, NotPart10, as_implicit, parse_meta
from oculard.delivery.scu import VERIFICATION, Context
from oculard.errors import Permanent
from oculard.report.variant import VARIANTS, as_variant
from oculard.store.deliveries import Delivery
from oculard.store.vault import Vault, VaultUnreadable, not_written

LADDER: tuple[str, ...] = (Comprehensive3DSRStorage, *VARIANTS)  # the richest class first


class ReportDamaged(Permanent):
    """The report's file is not what was written."""

    reason = "report-damaged"
    hint = "the vault's disk may be failing: check it, then run the job again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One report, found whole."""

    delivery: Delivery
    path: Path
    meta: Meta

    @property
    def contexts(self) -> tuple[Context, ...]:
        """What would do to send it, best first: the class counts more than the transfer syntax."""
        own = self.meta.transfer_syntax_uid
        syntaxes = (own, str(ImplicitVRLittleEndian)) if own == ExplicitVRLittleEndian else (own,)
        classes = LADDER if self.meta.sop_class_uid == LADDER[0] else (self.meta.sop_class_uid,)
        return tuple((sop_class_uid, syntax) for sop_class_uid in classes for syntax in syntaxes)

    def choose(self, accepted: Set[Context]) -> Context | None:
        """The best of what the peer accepts."""
        return next((context for context in self.contexts if context in accepted), None)


def pack(delivery: Delivery, vault: Vault) -> Parcel:
    """Check a report's file. Raises ReportDamaged, and VaultUnreadable where trying again may help."""
    path = vault.path(delivery.path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as why:
        raise ReportDamaged("the report's file is gone") from why
    except OSError as why:
        raise VaultUnreadable(f"a report cannot be read: {why.strerror}") from why
    if hashlib.sha256(data).hexdigest() != delivery.sha256:
        raise ReportDamaged("the report's file does not have its digest")
    try:
        return Parcel(delivery=delivery, path=path, meta=parse_meta(data))
    except NotPart10 as why:
        raise ReportDamaged(str(why)) from why


def proposal(parcels: Iterable[Parcel]) -> list[Context]:
    """What to propose for all of them."""
    return list(dict.fromkeys([VERIFICATION, *(context for parcel in parcels for context in parcel.contexts)]))


@contextmanager
def dressed(parcel: Parcel, context: Context, spool: Path) -> Iterator[tuple[Path, Meta]]:
    """The parcel's file as this context wants it; a rewritten one exists until the block ends. Raises VaultTrouble."""
    if context == (parcel.meta.sop_class_uid, parcel.meta.transfer_syntax_uid):
        yield parcel.path, parcel.meta
        return
    path = spool / f"{uuid.uuid4().hex}.send"
    try:
        data = _rewritten(parcel.path.read_bytes(), context, parcel.meta)
    except OSError as why:
        raise VaultUnreadable(f"a report cannot be read: {why.strerror}") from why
    try:
        path.write_bytes(data)
    except OSError as why:
        with suppress(OSError):  # a disk that went read-only: the sweep deletes what stays
            path.unlink(missing_ok=True)
        raise not_written("cannot rewrite a report", why) from why
    try:
        yield path, parse_meta(data)
    finally:
        path.unlink(missing_ok=True)


def _rewritten(data: bytes, context: Context, meta: Meta) -> bytes:
    sop_class_uid, transfer_syntax_uid = context
    if sop_class_uid != meta.sop_class_uid:
        data = as_variant(data, sop_class_uid).data
    return data if transfer_syntax_uid == meta.transfer_syntax_uid else as_implicit(data)
