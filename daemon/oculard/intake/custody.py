"""Custody: a spooled data set is checked, its facts are read, and only then the store takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from oculard.dimse import UNREADABLE
from oculard.errors import Rejected
from oculard.imaging.facts import BadHeader, Facts, read_facts
from oculard.intake.header import BadDataSet, read_header
from oculard.intake.policy import Call
from oculard.settings import Store
from oculard.store.instances import Arrival, Instances, Received
from oculard.store.spool import Spool
from oculard.store.vault import GIB, VaultUnreadable
from oculard_models.header_cost import HeaderTooLarge


class Mismatch(Rejected):
    """The data set is not the instance that its sender announced."""

    reason = "uid-mismatch"
    hint = "the sender announces one UID and sends another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One data set that a sender wants us to take."""

    spool: Spool
    sop_class_uid: str  # as announced
    sop_instance_uid: str
    transfer_syntax_uid: str
    call: Call
    sender: str
    association: str  # "" for an import


class Custody:
    """The checks in front of the store."""

    def __init__(self, instances: Instances, settings: Store) -> None:
        self._instances, self._inflated_bytes_max = instances, int(settings.instance_max_gib * GIB)

    def take(self, offer: Offer) -> Received:
        """Check one spooled data set and take it. When this returns, the instance cannot be lost.

        Raises BadDataSet, Mismatch, TooLarge, VaultTrouble or DatabaseDown; then nothing is promised.
        """
        offer.spool.finish()
        if not offer.spool.size_bytes:
            raise BadDataSet("there is no data set", reason="no-data-set")
        facts = self._facts(offer)
        if facts.sop_instance_uid != offer.sop_instance_uid:
            raise Mismatch("the data set's SOP Instance UID is not the announced one")
        if facts.sop_class_uid != offer.sop_class_uid:
            raise Mismatch("the data set's SOP Class UID is not the announced one", reason="class-mismatch")
        return self._instances.take(_arrival(offer, facts, offer.spool.sha256()))

    def _facts(self, offer: Offer) -> Facts:
        spool = offer.spool
        try:
            with spool.read() as file:
                return facts_of(
                    file, spool.size_bytes, offer.transfer_syntax_uid, inflated_bytes_max=self._inflated_bytes_max
                )
        except OSError as why:
            raise VaultUnreadable(f"cannot read what was spooled: {why.strerror}") from why


def facts_of(
    file: BinaryIO, size_bytes: int, transfer_syntax_uid: str, *, inflated_bytes_max: int, quick: bool = True
) -> Facts:
    """The facts of the data set that begins where the file stands. Raises BadDataSet or OSError."""
    header = read_header(file, size_bytes, transfer_syntax_uid, inflated_bytes_max=inflated_bytes_max, quick=quick)
    try:
        return read_facts(header)
    except BadHeader as why:
        raise BadDataSet(str(why), reason="bad-header", hint=str(why)) from why
    except HeaderTooLarge as why:
        raise BadDataSet(str(why), reason=why.reason) from why
    except UNREADABLE as why:
        raise BadDataSet(f"the header cannot be read: {type(why).__name__}", reason="bad-header") from why


def _arrival(offer: Offer, facts: Facts, sha256: str) -> Arrival:
    return Arrival(
        sop_class_uid=facts.sop_class_uid,
        sop_instance_uid=facts.sop_instance_uid,
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        patient_id=facts.patient_id,
        accession_number=facts.accession_number,
        facts=facts.as_json(),
        spooled=offer.spool.path,
        handle=offer.spool.handle,
        sha256=sha256,
        transfer_syntax_uid=offer.transfer_syntax_uid,
        sender=offer.sender,
        calling_ae=offer.call.calling_ae,
        called_ae=offer.call.called_ae,
        address=offer.call.address,
        association=offer.association,
    )
