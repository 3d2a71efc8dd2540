"""One association: pynetdicom's, with our policy at its door, our spool on its data path and one place for its end."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ASSOCIATE

from oculard import log
from oculard.clock import Clock
from oculard.errors import Transient
from oculard.intake.codec import StoreCommand, write_store_response
from oculard.intake.commitment import CommitmentHandler
from oculard.intake.contexts import COMMITMENT, VERIFICATION, supported
from oculard.intake.custody import Offer
from oculard.intake.floor import Floor
from oculard.intake.handlers import Answered, Reply, StoreHandler
from oculard.intake.policy import LIMIT_REACHED, Admitted, Call, Policy, Refused
from oculard.intake.receiver import NotAcceptable, Receiver
from oculard.intake.wire import Announcing, Wire
from oculard.store.instances import Instances
from oculard.store.spool import Spool, Spooler

LOOK_S = 0.5  # how often an idle association looks at its timer
RESPONSE_BYTES_MAX = 512  # more than any response to a C-STORE has
HANG_UP_S = 5.0  # how long the network thread may take to notice that its socket is closed
logger = log.get("intake")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every association needs."""

    policy: Policy
    floor: Floor[IntakeAssociation]
    spooler: Spooler
    store: StoreHandler
    commitment: CommitmentHandler
    instances: Instances
    clock: Clock


class Negotiation(ACSE):
    """The door: the policy decides first, then pynetdicom negotiates with the contexts that were proposed."""

    def __init__(self, association: IntakeAssociation) -> None:
        super().__init__(association)
        self._association = association

    def _negotiate_as_acceptor(self) -> None:
        association, request = self._association, self.requestor.primitive
        assert request is not None, "pynetdicom negotiates when it has a request"
        proposed = request.presentation_context_definition_list
        verdict = association.judge(request)
        if isinstance(verdict, Refused):
            association.services.policy.keep(association.call, verdict, proposed)
            self.send_reject(*verdict.rejection)
            evt.trigger(association, evt.EVT_REJECTED, {})
            association.kill()
            return
        self.acceptor.supported_contexts = supported(proposed, may_store=verdict.may_store)
        super()._negotiate_as_acceptor()
        association.say_opened(verdict)


class IntakeAssociation(Association):
    """An association that a peer asked for. It ends in `_end`, however it ends."""

    def __init__(self, ae: Any, services: Services, *, pdu_s: float, negotiated: Callable[[], None]) -> None:
        super().__init__(ae, "acceptor")
        self._woken, self._taking = threading.Event(), threading.Lock()
        self.dul = self._wire = Wire(self, pdu_s=pdu_s)
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout  # the wire's timers are new
        self.dul.to_user_queue = Announcing(self.wake)
        self.services, self._negotiated = services, negotiated
        self.id = uuid.uuid4().hex
        self.name = f"AcceptorThread@{self.id}"  # pynetdicom finds its acceptors by this name
        self.call = Call(called_ae="", calling_ae="", address="")
        self.admitted: Admitted | None = None
        self.stored = 0
        self._opened_at = services.clock.now()
        self.acse = Negotiation(self)
        self.dimse = self._receiver = Receiver(self, services.spooler)
        self.dimse.msg_queue = Announcing(self.wake)
        self.dul.daemon = True
        self.bind(evt.EVT_N_ACTION, services.commitment.asked)
        self.bind(evt.EVT_N_EVENT_REPORT, services.commitment.answered)

    @property
    def caller(self) -> str:
        """Who this is: the floor lets nobody take every place."""
        return f"{self.call.calling_ae} {self.call.address}"

    @property
    def silent_s(self) -> float:
        """How long nothing has come."""
        return self._wire.progress.silent_s

    def give_way(self) -> None:
        """End this association, from another thread, for one that has fewer."""
        logger.warning(
            "association gave way", reason="associations-full", association=self.id, calling_ae=self.call.calling_ae
        )
        self.abort(block=False)

    @property
    def may_store(self) -> bool:
        return self.admitted is not None and self.admitted.may_store

    def judge(self, request: A_ASSOCIATE) -> Admitted | Refused:
        """Ask the policy, then take a place among the open associations."""
        address = self.requestor.address_info
        self.call = Call(
            called_ae=(request.called_ae_title or "").strip(),
            calling_ae=(request.calling_ae_title or "").strip(),
            address="" if address is None else plain_address(address.address),
            certificate=None if self.dul.socket is None else getattr(self.dul.socket.socket, "certificate", None),
        )
        verdict = self.services.policy.judge(self.call)
        if isinstance(verdict, Admitted):
            if not self.services.floor.enter(self):
                return Refused(reason="associations-full", rejection=LIMIT_REACHED, is_kept=False)
            self.admitted = verdict
        return verdict

    def say_opened(self, admitted: Admitted) -> None:
        """Tell the administrator who is here and what of its proposal was not accepted."""
        self._negotiated()
        known = {
            "association": self.id,
            "sender": admitted.sender,
            "peer": admitted.peer,
            "calling_ae": self.call.calling_ae,
        }
        logger.info("association opened", address=self.call.address, count=len(self._accepted_cx), **known)
        refused = sorted({str(context.abstract_syntax) for context in self._rejected_cx})
        if refused:
            logger.warning("contexts refused", reason="not-offered", sop_class_uid=refused, **known)

    def run_reactor(self) -> None:
        """The association's thread."""
        try:
            super().run_reactor()
        finally:
            self._end()

    def wake(self) -> None:
        """Make the association's thread look at what has happened."""
        self._woken.set()

    def kill(self) -> None:
        """End the association's thread."""
        self._kill = True
        self.wake()
        super().kill()

    def _run_reactor(self) -> None:
        """The association's thread while it is open: pynetdicom's looks every millisecond, ours when it is woken."""
        self._is_paused = False
        while not self._kill:
            self._woken.wait(LOOK_S)
            self._woken.clear()
            while not self.dimse.msg_queue.empty():
                context_id, message = self.dimse.get_msg(block=False)
                if message is not None and context_id is not None:
                    self._serve_request(message, context_id)
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released, self.is_established = True, False
                self.kill()
            elif self.acse.is_aborted():
                self.is_aborted, self.is_established = True, False
                self.kill()
            elif not self.dul.is_alive():
                self.kill()
            elif self.dul.idle_timer_expired():
                self.abort()
                self.kill()

    @property
    def is_between_messages(self) -> bool:
        """Whether the next fragment begins a message."""
        return self._receiver.is_between_messages

    def break_off(self, reason: str) -> None:
        """Abort this association, and only this one."""
        self._receiver.break_off(reason)

    def begin_store(self, command: StoreCommand, context_id: int) -> Spool | None:
        """A spool for the data set of an ordinary C-STORE; None where it must take the long way."""
        if 0 < (self.requestor.maximum_length or 0) < RESPONSE_BYTES_MAX:
            return None
        return self._receiver.begin_store(command, context_id)

    def take_store(self, command: StoreCommand, spool: Spool, context_id: int) -> tuple[bytes, Answered]:
        """Take custody of the data set of an ordinary C-STORE; gives the PDU of its response, and what ends it then."""
        context = self._accepted_cx[context_id]
        uids = command.sop_class_uid, command.sop_instance_uid
        with self._taking:
            answered = self._take(spool, *uids, str(context.transfer_syntax[0]))
        reply = answered.reply
        return write_store_response(command, context_id, reply.status, reply.comment), answered

    def hang_up(self) -> None:
        """Close the connection without a word; whatever waits for it wakes up."""
        connection = None if self.dul.socket is None else self.dul.socket.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _bind_defaults(self) -> None:
        """Without pynetdicom's standard handlers: they print data sets."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve one complete request. (The N-EVENT-REPORT comes in a thread of its own.)"""
        if isinstance(msg, C_STORE) and msg.MessageID is not None:
            self._store(msg, context_id)
        elif self._is_offered(msg, context_id):
            super()._serve_request(msg, context_id)
        else:
            logger.warning("association broken", reason="bad-message", why=type(msg).__name__, association=self.id)
            self.abort()
        self.dul._idle_timer.restart()  # our own time is not the peer's silence

    def _is_offered(self, msg: Any, context_id: int) -> bool:
        context = self._accepted_cx.get(context_id)
        if context is None:
            return False
        if isinstance(msg, C_ECHO):
            return bool(context.abstract_syntax == VERIFICATION)
        return isinstance(msg, N_ACTION | N_EVENT_REPORT) and context.abstract_syntax == COMMITMENT

    def _store(self, request: C_STORE, context_id: int) -> None:
        """Answer a C-STORE (PS3.4 B.2); the answer is sent after custody was taken, never before."""
        spool: Any = request._dataset_file or self.services.spooler.refuse(
            NotAcceptable("the request has no data set", reason="no-data-set")
        )
        context = self._accepted_cx.get(context_id)
        answered = self._take(
            spool,
            str(request.AffectedSOPClassUID or ""),
            str(request.AffectedSOPInstanceUID or ""),
            "" if context is None else str(context.transfer_syntax[0]),
        )
        try:
            if not self._receiver.is_broken:
                self.dimse.send_msg(_response(request, answered.reply), context_id)
        finally:
            answered.end()

    def _take(self, spool: Spool, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> Answered:
        """Offer a data set to custody."""
        answered = self.services.store.answer(
            Offer(
                spool=spool,
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                call=self.call,
                sender=self.admitted.sender if self.admitted else "",
                association=self.id,
            )
        )
        self._receiver.done(spool)
        self.stored += answered.reply.status == 0
        return answered

    def _end(self) -> None:
        """Give everything back: the place, the connection, the spool files and the hold on the studies."""
        self._negotiated()
        self.services.floor.leave(self)
        self.dul.kill_dul()
        self.hang_up()
        self.dul.join(timeout=HANG_UP_S)
        with self._taking:  # a custody that the network thread has begun comes to its end first
            self._receiver.discard()
        if self.admitted is None:
            return
        if self.stored:
            try:
                self.services.instances.end(self.id)
            except Transient as why:
                logger.warning("association not ended in the store", reason=why.reason, association=self.id)
        took_s = (self.services.clock.now() - self._opened_at).total_seconds()
        outcome = "released" if self.is_released else "aborted"
        logger.info(
            "association ended", association=self.id, outcome=outcome, instances=self.stored, took_s=round(took_s, 3)
        )


def plain_address(address: str) -> str:
    """An address as settings write it: IPv4 that came through an IPv6 socket is IPv4."""
    ip = ipaddress.ip_address(address)
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def _response(request: C_STORE, reply: Reply) -> C_STORE:
    response = C_STORE()
    response.MessageID = request.MessageID
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.Status = reply.status
    if reply.comment:
        response.ErrorComment = reply.comment  # type: ignore[assignment]  # pynetdicom declares None and sends text
    return response
