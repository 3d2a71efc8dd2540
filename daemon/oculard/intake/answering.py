"""Answering: gives devices the storage commitment answers that we owe them, each on an association of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pynetdicom import AE, build_role

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, log
from oculard.errors import OculardError, Permanent, Transient
from oculard.intake.commitment import ALL_COMMITTED, SOME_FAILED, write_answer
from oculard.intake.contexts import COMMITMENT, COMMITMENT_INSTANCE
from oculard.intake.policy import Call, is_meant
from oculard.job import DeliveryEvent, backoff_s
from oculard.settings import Settings
from oculard.store.answers import Answer, Answers
from oculard.store.callers import Callers
from oculard.store.instances import Instances
from oculard.store.queue import LeaseLost
from oculard.tls import CallingTls, SecureCall

LEASE_S = 300.0  # longer than every timeout on the way together
REPORT_S_MAX = 30.0  # while a device thinks, the heartbeat of open associations waits
LONGEST_S = 900.0
ATTEMPTS_MAX = 200  # about two days of trying every 15 minutes
FAILURES = {"no-such-instance": 0x0112, "class-conflict": 0x0119}  # PS3.3 C.14.1.1
logger = log.get("intake")


class NoCommitmentPort(Permanent):
    """Nobody has said where this device listens for its answers."""

    reason = "no-commitment-port"
    hint = (
        "set commitment_port of this device's [[senders]] entry, or `oculard allow N --commitment-port PORT`; "
        "then `oculard retry --answers`"
    )


class DeviceAway(Transient):
    """The device cannot be reached, refuses us or does not answer."""

    reason = "device-away"
    hint = "is the device on, and does it know our AE title, host and port?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a device listens for its answers."""

    host: str
    port: int
    tls: CallingTls | None = None


class Answering:
    """The step that gives at most one answer."""

    def __init__(
        self, settings: Settings, answers: Answers, instances: Instances, callers: Callers, *, owner: str
    ) -> None:
        self._settings, self._answers, self._instances, self._owner = settings, answers, instances, owner
        self._callers = callers
        self._tls = {sender.name: CallingTls.of(sender.commitment_tls, settings) for sender in settings.senders}

    def step(self) -> bool:
        """Give at most one answer; say whether one was due."""
        answer = self._answers.claim(self._owner, lease_s=LEASE_S)
        if answer is None:
            return False
        try:
            self._give(answer)
        except Transient as why:
            spent = answer.ticket.attempts >= ATTEMPTS_MAX
            self._settle(answer, DeliveryEvent.PARK if spent else DeliveryEvent.RETRY, why)
        except Permanent as why:
            self._settle(answer, DeliveryEvent.PARK, why)
        else:
            self._settle(answer, DeliveryEvent.DONE, None)
        return True

    def _give(self, answer: Answer) -> None:
        """Look at what we hold and tell the device. Raises NoCommitmentPort, DeviceAway or DatabaseDown."""
        place = self._place(answer)
        states = self._instances.holds(answer.items)
        held = [item for item, state in states.items() if state == "held"]
        failed = [(*item, FAILURES[state]) for item, state in states.items() if state != "held"]
        report = write_answer(answer.transaction_uid, held, failed)
        association = self._associate(answer, place)
        try:
            # The peer's AE title is its own device's; message and answer follow PS3.7 10.1.1.
            status, _ = association.send_n_event_report(
                report,
                SOME_FAILED if failed else ALL_COMMITTED,
                COMMITMENT,
                COMMITMENT_INSTANCE,
            )
        except (ValueError, RuntimeError) as why:  # no accepted context, or the device hung up meanwhile
            raise DeviceAway(
                f"the device took no report: {type(why).__name__}", reason="device-took-no-report"
            ) from why
        finally:
            association.release()
        if status.get("Status") != 0x0000:
            raise DeviceAway("the device did not answer success", reason="device-answered-failure")

    def _place(self, answer: Answer) -> Place:
        call = Call(called_ae=answer.called_ae, calling_ae=answer.calling_ae, address=answer.address)
        for sender in self._settings.senders:
            if is_meant(sender, call) and sender.commitment_port:
                host, tls = sender.commitment_host or answer.address, self._tls[sender.name]
                return Place(host=host, port=sender.commitment_port, tls=tls)
        port = self._callers.commitment_port(calling_ae=answer.calling_ae, address=answer.address)
        if port is not None:
            return Place(host=answer.address, port=port)
        raise NoCommitmentPort(f"`{answer.calling_ae}` asked for commitment and has no commitment_port")

    def _associate(self, answer: Answer, place: Place) -> Any:
        """A new association in which we, who call, are the SCP (PS3.4 J.3.3: role selection)."""
        intake = self._settings.intake
        ae = AE(answer.called_ae)
        ae.acse_timeout = ae.connection_timeout = intake.acse_s
        ae.dimse_timeout = ae.network_timeout = min(intake.dimse_s, REPORT_S_MAX)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.add_requested_context(COMMITMENT)
        role = build_role(COMMITMENT, scp_role=True)
        secure: Any = None if place.tls is None else SecureCall(place.tls)
        association = ae.associate(
            place.host,
            place.port,
            ae_title=answer.calling_ae,
            ext_neg=[role],
            tls_args=None if secure is None else (secure, place.host),
        )
        if secure is not None and secure.failure is not None:
            hint = "[[senders]] commitment_tls: is it the port for TLS, and are the certificates those of both sides?"
            raise DeviceAway(f"no TLS with the device: {secure.failure}", reason="device-tls-failed", hint=hint)
        if not association.is_established:
            raise DeviceAway(
                "no association with the device", reason="device-refused" if association.is_rejected else None
            )
        return association

    def _settle(self, answer: Answer, event: DeliveryEvent, why: OculardError | None) -> None:
        known = {"answer": answer.ticket.id, "transaction_uid": answer.transaction_uid, "calling_ae": answer.calling_ae}
        if why is None:
            logger.info("commitment given", count=len(answer.items), attempts=answer.ticket.attempts, **known)
        else:
            say = logger.error if event is DeliveryEvent.PARK else logger.warning
            say("commitment not given", reason=why.reason, hint=why.hint, attempts=answer.ticket.attempts, **known)
        delay_s = backoff_s(answer.ticket.attempts, longest_s=LONGEST_S) if event is DeliveryEvent.RETRY else 0.0
        try:
            self._answers.settle(answer, event, reason=None if why is None else why.reason, delay_s=delay_s)
        except LeaseLost as lost:
            logger.warning("commitment given twice", reason=lost.reason, **known)  # harmless: the answer is the same
