"""Storage commitment: ask a peer to promise to keep what it took (PS3.4 annex J)."""

from __future__ import annotations

import threading
import uuid
from time import monotonic
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import evt

from oculard import log
from oculard.clock import Clock
from oculard.delivery.rest import Rest
from oculard.delivery.scu import COMMITMENT, COMMITMENT_CLASS, PeerAssociation, Target
from oculard.delivery.statuses import PacsBusy, PacsRefused, PacsUnreachable
from oculard.errors import OculardError, Transient
from oculard.settings import Peer, Settings
from oculard.store.alarms import Alarms
from oculard.store.deliveries import Commitment, Deliveries

SAME_ASSOCIATION_S = 2.0  # how long a peer may take to answer where it was asked; later it calls us
LOOK_S = 0.1
REFUSED = "commitment-refused"
HINT = "allow storage commitment for our AE title in the PACS, or set commitment = false in [[peers]]"
SUCCESS, PROCESSING_FAILURE = 0x0000, 0x0110
logger = log.get("sender")


class Commitments:
    """Asks, and hears answers that come at once. Later ones come to intake; upkeep minds the silence of the others."""

    def __init__(
        self, settings: Settings, deliveries: Deliveries, alarms: Alarms, clock: Clock, *, wait_s: float
    ) -> None:
        self._settings, self._deliveries, self._alarms, self._wait_s = settings, deliveries, alarms, wait_s
        self._rest = Rest(clock, settings.delivery.backoff_s_max)
        self._willing: set[str] = set()
        self._targets = {peer.name: Target.of(peer, settings) for peer in settings.peers}

    def step(self, peer: Peer) -> bool:
        """Ask one peer about what it took and was not asked about; say whether there was anything."""
        if not peer.commitment:
            return False
        if not self._rest.is_over(peer.name):
            return False
        uid = f"2.25.{uuid.uuid4().int}"
        asked = self._deliveries.begin_commitment(peer.name, uid, limit=self._settings.delivery.batch)
        if asked is None:
            return False
        try:
            self._ask(peer, asked)
        except (PacsBusy, PacsUnreachable, PacsRefused) as why:
            self._failed(peer, asked, why)
        else:
            self._asked(peer, asked)
        return True

    def _ask(self, peer: Peer, asked: Commitment) -> None:
        """Ask, and hear an answer that comes on the same association."""
        answered = threading.Event()

        def on_report(event: Any) -> tuple[int, None]:
            try:
                take_answer(event.event_information, self._deliveries, actor=peer.name)
            except Transient as why:
                logger.warning("commitment answer not kept", peer=peer.name, reason=why.reason)
                return PROCESSING_FAILURE, None
            answered.set()
            return SUCCESS, None

        contexts = ((COMMITMENT_CLASS, ExplicitVRLittleEndian), COMMITMENT)
        handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
        with PeerAssociation(self._targets[peer.name], contexts, handlers) as association:
            status = association.request_commitment(_action(asked))
            if status != SUCCESS:
                raise PacsRefused(f"PACS `{peer.name}` answered 0x{status:04X}", reason=REFUSED, hint=HINT)
            self._wait(answered, asked)

    def _wait(self, answered: threading.Event, asked: Commitment) -> None:
        """Wait for the answer here, unless it has come on an association of the peer's own meanwhile."""
        ends_at = monotonic() + self._wait_s
        while not answered.wait(min(LOOK_S, self._wait_s)) and monotonic() < ends_at:
            if not self._deliveries.awaits(asked.transaction_uid):
                return

    def _asked(self, peer: Peer, asked: Commitment) -> None:
        logger.info("commitment asked", peer=peer.name, transaction_uid=asked.transaction_uid, count=len(asked.items))
        self._rest.end(peer.name)
        if peer.name not in self._willing:
            self._willing.add(peer.name)
            self._alarms.clear(REFUSED, peer.name)

    def _failed(self, peer: Peer, asked: Commitment, why: OculardError) -> None:
        """It could not be asked: it is asked again under a new transaction, later each time."""
        self._deliveries.forget_commitment(asked.transaction_uid)
        delay_s = self._rest.begin(peer.name)
        logger.warning("commitment not asked", peer=peer.name, reason=why.reason, hint=why.hint, delay_s=delay_s)
        self._willing.discard(peer.name)
        if isinstance(why, PacsRefused):
            self._alarms.raise_(REFUSED, peer.name)


def take_answer(information: Dataset, deliveries: Deliveries, *, actor: str) -> int:
    """Settle what an N-EVENT-REPORT speaks of (PS3.4 J.3.3). Says how many deliveries moved."""
    committed = [str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()]
    failed = [
        (str(item.ReferencedSOPInstanceUID), int(item.get("FailureReason", PROCESSING_FAILURE)))
        for item in information.get("FailedSOPSequence") or ()
    ]
    return deliveries.commitment_answered(
        str(information.TransactionUID), committed=committed, failed=failed, actor=actor
    )


def _action(asked: Commitment) -> Dataset:
    action = Dataset()
    action.TransactionUID = asked.transaction_uid
    action.ReferencedSOPSequence = [_reference(*item) for item in asked.items]
    return action


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item
