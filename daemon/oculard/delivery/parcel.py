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
from oculard.store.objects import ReportObject
from oculard.store.vault import Vault, VaultUnreadable, not_written, write_new

LADDER: tuple[str, ...] = (Comprehensive3DSRStorage, *VARIANTS)  # the richest class first


class ReportDamaged(Permanent):
    """The report's file is not what was written."""

    reason = "report-damaged"
    hint = "the vault's disk may be failing: check it, then run the job again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One object of a report, found whole."""

    role: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One report, found whole."""

    delivery: Delivery
    contents: tuple[Content, ...]  # in the order in which they are sent

    @property
    def sr(self) -> Content:
        """What must arrive; its companions may be left out."""
        return self.contents[-1]


def pack(delivery: Delivery, vault: Vault) -> Parcel:
    """Check a report's files. Raises ReportDamaged, and VaultUnreadable where trying again may help."""
    return Parcel(delivery=delivery, contents=tuple(_content(one, vault) for one in delivery.objects))


def _content(one: ReportObject, vault: Vault) -> Content:
    path = vault.path(one.path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as why:
        raise ReportDamaged(f"the report's file ({one.role}) is gone") from why
    except OSError as why:
        raise VaultUnreadable(f"a report cannot be read: {why.strerror}") from why
    if hashlib.sha256(data).hexdigest() != one.sha256:
        raise ReportDamaged(f"the report's file ({one.role}) does not have its digest")
    try:
        return Content(role=one.role, path=path, meta=parse_meta(data))
    except NotPart10 as why:
        raise ReportDamaged(str(why)) from why


def proposal(parcels: Iterable[Parcel]) -> list[Context]:
    """What to propose for all of them."""
    wanted = (context for parcel in parcels for content in parcel.contents for context in content.contexts)
    return list(dict.fromkeys([VERIFICATION, *wanted]))


@contextmanager
def dressed(content: Content, context: Context, spool: Path) -> Iterator[tuple[Path, Meta]]:
    """The file as this context wants it; a rewritten one exists until the block ends. Raises VaultTrouble."""
    if context == (content.meta.sop_class_uid, content.meta.transfer_syntax_uid):
        yield content.path, content.meta
        return
    path = spool / f"{uuid.uuid4().hex}.send"
    try:
        data = _rewritten(content.path.read_bytes(), context, content.meta)
    except OSError as why:
        raise VaultUnreadable(f"a report cannot be read: {why.strerror}") from why
    try:
        write_new(path, data)
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
