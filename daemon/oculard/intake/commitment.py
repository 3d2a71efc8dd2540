"""Storage commitment, both ways: devices ask us to commit, and the PACS answers what we asked it (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset

from oculard import log
from oculard.dimse import UNREADABLE
from oculard.errors import Rejected, Transient
from oculard.imaging.facts import is_uid
from oculard.intake.contexts import COMMITMENT, COMMITMENT_INSTANCE
from oculard.store.answers import Answers
from oculard.store.deliveries import Deliveries

ITEMS_MAX = 10_000
REQUEST_COMMITMENT = 1  # action type (PS3.4 J.3.2)
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types (PS3.4 J.3.3)
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110  # PS3.7 C.5
logger = log.get("intake")


class BadRequest(Rejected):
    """A request or an answer that the Standard does not know."""

    def __init__(self, reason: str, status: int) -> None:
        self.status = status
        super().__init__(f"storage commitment: {reason}", reason=reason)


class CommitmentHandler:
    """Answers N-ACTION by owing an answer, and N-EVENT-REPORT by settling deliveries. Durable first, then yes."""

    def __init__(self, answers: Answers, deliveries: Deliveries) -> None:
        self._answers, self._deliveries = answers, deliveries

    def asked(self, event: Any) -> tuple[int, None]:
        """A device asks us to commit to what it stored (EVT_N_ACTION)."""
        association = event.assoc
        known = {"association": association.id, "calling_ae": association.call.calling_ae}
        try:
            if association.admitted is None or not association.admitted.may_commit:
                raise BadRequest("may-not-commit", 0x0124)
            _check_instance(event.request.RequestedSOPClassUID, event.request.RequestedSOPInstanceUID)
            if event.request.ActionTypeID != REQUEST_COMMITMENT:
                raise BadRequest("unknown-action", 0x0123)
            transaction_uid, items = read_request(_information(event, "action_information"))
            self._answers.owe(
                transaction_uid=transaction_uid,
                calling_ae=association.call.calling_ae,
                called_ae=association.call.called_ae,
                address=association.call.address,
                items=items,
            )
        except BadRequest as why:
            return _refuse("commitment refused", why.reason, why.status, known)
        except Transient as why:
            return _refuse("commitment refused", why.reason, 0x0213, known)  # resource limitation: ask again later
        logger.info("commitment asked", transaction_uid=transaction_uid, count=len(items), **known)
        return SUCCESS, None

    def answered(self, event: Any) -> tuple[int, None]:
        """A peer answers a request of ours (EVT_N_EVENT_REPORT)."""
        association = event.assoc
        known = {"association": association.id, "calling_ae": association.call.calling_ae}
        try:
            if association.admitted is None or not association.admitted.may_answer:
                raise BadRequest("may-not-answer", 0x0124)
            _check_instance(event.request.AffectedSOPClassUID, event.request.AffectedSOPInstanceUID)
            if event.request.EventTypeID not in (ALL_COMMITTED, SOME_FAILED):
                raise BadRequest("unknown-event", 0x0113)
            transaction_uid, committed, failed = read_answer(_information(event, "event_information"))
            moved = self._deliveries.commitment_answered(
                transaction_uid, committed=committed, failed=failed, actor=association.admitted.peer
            )
        except BadRequest as why:
            return _refuse("commitment answer refused", why.reason, why.status, known)
        except Transient as why:
            return _refuse("commitment answer refused", why.reason, PROCESSING_FAILURE, known)
        peer = association.admitted.peer
        logger.info(
            "commitment answered", peer=peer, transaction_uid=transaction_uid, deliveries=moved, count=len(failed)
        )
        return SUCCESS, None


def read_request(ds: Dataset) -> tuple[str, list[tuple[str, str]]]:
    """The transaction and the (SOP class, SOP instance) pairs of a request. Raises BadRequest."""
    transaction_uid = _transaction(ds)
    items = _referenced(ds, "ReferencedSOPSequence")
    if not items:
        raise BadRequest("no-items", 0x0114)
    return transaction_uid, list(dict.fromkeys((sop_class, sop_instance) for sop_class, sop_instance, _ in items))


def read_answer(ds: Dataset) -> tuple[str, list[str], list[tuple[str, int]]]:
    """The transaction, the committed instances, and the failed ones with their reasons. Raises BadRequest."""
    committed = [sop_instance for _, sop_instance, _ in _referenced(ds, "ReferencedSOPSequence")]
    failed = [(sop_instance, reason) for _, sop_instance, reason in _referenced(ds, "FailedSOPSequence")]
    return _transaction(ds), committed, failed


def write_answer(
    transaction_uid: str, held: Iterable[tuple[str, str]], failed: Iterable[tuple[str, str, int]]
) -> Dataset:
    """The event information of an answer (PS3.4 table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    committed = [_reference(sop_class, sop_instance) for sop_class, sop_instance in held]
    missing = [_reference(sop_class, sop_instance, reason) for sop_class, sop_instance, reason in failed]
    if committed:
        ds.ReferencedSOPSequence = committed
    if missing:
        ds.FailedSOPSequence = missing
    return ds


def _reference(sop_class_uid: str, sop_instance_uid: str, failure: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if failure is not None:
        item.FailureReason = failure
    return item


def _information(event: Any, name: str) -> Dataset:
    """The decoded data set of a request. Raises BadRequest."""
    try:
        ds: Dataset = getattr(event, name)
        ds.decode()
    except UNREADABLE as why:
        raise BadRequest("unparsable", PROCESSING_FAILURE) from why
    return ds


def _transaction(ds: Dataset) -> str:
    uid = str(ds.get("TransactionUID") or "")
    if not is_uid(uid):
        raise BadRequest("bad-transaction-uid", 0x0115)
    return uid


def _referenced(ds: Dataset, keyword: str) -> list[tuple[str, str, int]]:
    """SOP class, SOP instance and failure reason (0 where none is given) of each item."""
    try:
        found = [
            (
                str(item.get("ReferencedSOPClassUID") or ""),
                str(item.get("ReferencedSOPInstanceUID") or ""),
                int(item.get("FailureReason") or 0),
            )
            for item in ds.get(keyword) or ()
        ]
    except UNREADABLE as why:
        raise BadRequest("unparsable", PROCESSING_FAILURE) from why
    if len(found) > ITEMS_MAX:
        raise BadRequest("too-many-items", 0x0213)
    if not all(is_uid(sop_class) and is_uid(sop_instance) for sop_class, sop_instance, _ in found):
        raise BadRequest("bad-item-uid", 0x0115)
    return found


def _check_instance(sop_class_uid: Any, sop_instance_uid: Any) -> None:
    if sop_class_uid != COMMITMENT:
        raise BadRequest("unknown-class", 0x0118)
    if sop_instance_uid != COMMITMENT_INSTANCE:
        raise BadRequest("unknown-instance", 0x0112)


def _refuse(event: str, reason: str, status: int, known: dict[str, Any]) -> tuple[int, None]:
    logger.warning(event, reason=reason, status=status, **known)
    return status, None
