"""The policy: who may associate with us and what for. Nobody may unless somebody said so."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from oculard import log
from oculard.clock import Clock
from oculard.errors import Transient
from oculard.settings import Settings
from oculard.store.callers import Callers
from oculard.tls_socket import Certificate

Rejection = tuple[int, int, int]  # result, source, diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4)
CALLED_UNKNOWN: Rejection = (1, 1, 7)
CALLING_UNKNOWN: Rejection = (1, 1, 3)
CONGESTED: Rejection = (2, 3, 1)
LIMIT_REACHED: Rejection = (2, 3, 2)

KEPT_EVERY = timedelta(seconds=1)  # a caller that hammers is written down once in so long
KEPT_A_SECOND_MAX = 20  # and all callers together so often
REMEMBERED_MAX = 1000
PROPOSED_MAX = 128  # contexts (PS3.8 9.3.2: identifiers are odd numbers up to 255)
SYNTAXES_MAX = 32
CALLED_WRONGLY = "called-ae-unknown"  # no person can let in who calls somebody else
CERTIFICATE_UNKNOWN = "certificate-unknown"  # nor who cannot prove to be who it says
NEVER_ALLOWED = (CALLED_WRONGLY, CERTIFICATE_UNKNOWN)
logger = log.get("intake")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls whom, from where, and which verified certificate it showed if it came by TLS."""

    called_ae: str
    calling_ae: str
    address: str
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A caller that may associate. A sender may store and ask for commitment; a peer may answer our own requests."""

    sender: str = ""  # of [[senders]], or `allowed-7`: the caller with that number, whom a person let in
    peer: str = ""  # of [[peers]]

    def __post_init__(self) -> None:
        if not (self.sender or self.peer):
            raise ValueError("an admitted caller is a sender, a peer or both")

    @property
    def may_store(self) -> bool:
        return bool(self.sender)

    @property
    def may_commit(self) -> bool:
        """Whether it may ask us to commit to what it stored."""
        return bool(self.sender)

    @property
    def may_answer(self) -> bool:
        """Whether it may tell us that it commits to what we sent."""
        return bool(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A caller that may not associate, and how it is told."""

    reason: str
    rejection: Rejection
    is_kept: bool = True  # whether an administrator should see it among the refused


class _Entry(Protocol):
    """What [[senders]] and [[peers]] have in common."""

    @property
    def name(self) -> str: ...
    @property
    def ae_title(self) -> str: ...
    @property
    def addresses(self) -> list[str]: ...
    @property
    def certificates(self) -> list[str]: ...


def decide(call: Call, settings: Settings, allowed_id: Callable[[Call], int | None]) -> Admitted | Refused:
    """Decide about one call. `allowed_id` looks up whom a person let in; it is asked only when nothing else admits."""
    if call.called_ae != settings.intake.ae_title:
        return Refused(reason=CALLED_WRONGLY, rejection=CALLED_UNKNOWN)
    sender = find(settings.senders, call)
    peer = find(settings.peers, call)
    entries: list[_Entry] = [*settings.senders, *settings.peers]
    if not (sender or peer) and any(is_meant(entry, call) for entry in entries):
        return Refused(reason=CERTIFICATE_UNKNOWN, rejection=CALLING_UNKNOWN)
    if not any(is_meant(entry, call) for entry in settings.senders):
        number = allowed_id(call)
        sender = "" if number is None else f"allowed-{number}"
    if sender or peer:
        return Admitted(sender=sender, peer=peer)
    titles = {sender.ae_title for sender in settings.senders} | {peer.ae_title for peer in settings.peers}
    reason = "address-unknown" if call.calling_ae in titles else "calling-ae-unknown"
    return Refused(reason=reason, rejection=CALLING_UNKNOWN)


def hint_of(reason: str, our_ae_title: str) -> str:
    """What a person may do about a refusal."""
    if reason == CALLED_WRONGLY:
        return f"set the device's called AE title to {our_ae_title} (ours): allowing it would not help"
    if reason == CERTIFICATE_UNKNOWN:
        return "it must call by TLS and show a certificate that [[senders]] certificates or [[peers]] tls names"
    if reason in ("calling-ae-unknown", "address-unknown"):
        return "`oculard allow` lists who was refused, and lets one in"
    return ""


def find(entries: Sequence[_Entry], call: Call) -> str:
    """The name of the first entry with this AE title, address and certificate, or ""."""
    for entry in entries:
        if is_meant(entry, call) and is_proven(call, entry.certificates):
            return entry.name
    return ""


def is_meant(entry: _Entry, call: Call) -> bool:
    """Whether an entry is for this AE title and address."""
    return entry.ae_title == call.calling_ae and is_inside(call.address, entry.addresses)


def is_proven(call: Call, certificates: Sequence[str]) -> bool:
    """Whether the caller showed one of these certificates; none at all means that it need not show any."""
    return not certificates or (call.certificate is not None and call.certificate.is_one_of(certificates))


def is_inside(address: str, networks: Sequence[str]) -> bool:
    """Whether the address lies in one of the networks; no networks at all mean any address."""
    if not networks:
        return True
    ip = ipaddress.ip_address(address)
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks)


class Policy:
    """The door: decides about calls, and keeps the refused ones without letting a flood reach the database."""

    def __init__(self, settings: Settings, callers: Callers, clock: Clock) -> None:
        self._settings, self._callers, self._clock = settings, callers, clock
        self._kept_at: OrderedDict[Call, datetime] = OrderedDict()
        self._second, self._kept_this_second = clock.now(), 0
        self._lock = threading.Lock()

    def judge(self, call: Call) -> Admitted | Refused:
        """Decide about one call. A database that is down refuses for now: the caller shall come again."""
        try:
            return decide(call, self._settings, self._allowed_id)
        except Transient as why:
            return Refused(reason=why.reason, rejection=CONGESTED, is_kept=False)

    def keep(self, call: Call, refused: Refused, proposed: Iterable[Any]) -> None:
        """Keep a refused call with what it proposed, for the administrator who may let it in."""
        with self._lock:
            is_due = self._is_due(call)
        if not is_due:
            return
        logger.warning(
            "association refused",
            reason=refused.reason,
            hint=hint_of(refused.reason, self._settings.intake.ae_title),
            called_ae=call.called_ae,
            calling_ae=call.calling_ae,
            address=call.address,
            certificate="" if call.certificate is None else call.certificate.fingerprint,
        )
        if not refused.is_kept:
            return
        try:
            self._callers.refused(
                calling_ae=call.calling_ae,
                called_ae=call.called_ae,
                address=call.address,
                reason=refused.reason,
                proposed=_plain(proposed),
            )
        except Transient as why:
            logger.warning("refusal not kept", reason=why.reason, calling_ae=call.calling_ae, address=call.address)

    def _allowed_id(self, call: Call) -> int | None:
        return self._callers.allowed_id(calling_ae=call.calling_ae, address=call.address)

    def _is_due(self, call: Call) -> bool:
        """Whether this refusal is written down, or one of a flood."""
        now, last = self._clock.now(), self._kept_at.get(call)
        if last is not None and now - last < KEPT_EVERY:
            return False
        if now - self._second >= timedelta(seconds=1):
            self._second, self._kept_this_second = now, 0
        self._kept_this_second += 1
        if self._kept_this_second > KEPT_A_SECOND_MAX:
            return False
        self._kept_at[call] = now
        self._kept_at.move_to_end(call)
        if len(self._kept_at) > REMEMBERED_MAX:
            self._kept_at.popitem(last=False)
        return True


def _plain(proposed: Iterable[Any]) -> list[dict[str, Any]]:
    """Proposed presentation contexts as bounded plain values."""
    return [
        {
            "sop_class_uid": str(context.abstract_syntax),
            "transfer_syntax_uids": [str(uid) for uid in context.transfer_syntax[:SYNTAXES_MAX]],
        }
        for context in list(proposed)[:PROPOSED_MAX]
    ]
