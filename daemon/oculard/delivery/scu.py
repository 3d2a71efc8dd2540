"""One association to a peer: opened or refused with a reason, its answers checked, files sent as the bytes they are."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT
from pynetdicom.presentation import PresentationContext, build_context

from oculard import (
    COMMITMENT_CLASS_UID,
    COMMITMENT_INSTANCE_UID,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)
from oculard.delivery.part10 import Meta
from oculard.delivery.statuses import Kind, Trouble, Verdict, of_store, refused, rejected, troubled
from oculard.dimse import UNREADABLE, acknowledge_at_once, guard, keep_answers, may_be_sent_to, send_at_once
from oculard.errors import OculardError
from oculard.settings import Peer, Settings
from oculard.tls import CallingTls, Failure, SecureCall, TlsUnusable

Context = tuple[str, str]  # SOP class, transfer syntax: each pair is proposed on its own, so that each can be refused
CONTEXTS_MAX = 128  # PS3.8 9.3.2.2: odd numbers from 1 to 255
DIAGNOSIS_S = 2.0
UNRESOLVED = (socket.gaierror, UnicodeError)  # UnicodeError: an empty label, or one over 63 characters (IDNA)
COMMITMENT_CLASS = UID(COMMITMENT_CLASS_UID)
COMMITMENT_INSTANCE = UID(COMMITMENT_INSTANCE_UID)
VERIFICATION: Context = ("1.2.840.10008.1.1", ImplicitVRLittleEndian)
COMMITMENT: Context = (COMMITMENT_CLASS, ImplicitVRLittleEndian)
PLAIN_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
OF_TLS = {
    Failure.NOT_TRUSTED: Trouble.NOT_TRUSTED,
    Failure.NO_CERTIFICATE: Trouble.NOT_TRUSTED,
    Failure.REFUSED: Trouble.CERTIFICATE_REFUSED,
    Failure.NO_TLS: Trouble.NO_TLS,
    Failure.FAILED: Trouble.NO_COMMON_TLS,
}
Handler = tuple[evt.NotificationEvent | evt.InterventionEvent, Callable[..., Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to call, as whom, and how long to wait."""

    name: str  # what the peer is called here
    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_s: float = 10.0
    answer_s: float = 60.0
    tls: CallingTls | None = None

    @classmethod
    def of(cls, peer: Peer, settings: Settings) -> Self:
        """A configured peer, called under our own AE title."""
        return cls(
            name=peer.name,
            host=peer.host,
            port=peer.port,
            called_ae=peer.ae_title,
            calling_ae=settings.intake.ae_title,
            connect_s=settings.delivery.connect_s,
            answer_s=settings.delivery.answer_s,
            tls=CallingTls.of(peer.tls, settings),
        )


class PeerAssociation:
    """An association as a context: released at its end, aborted when the block ends with an error.

    Entering raises PacsRefused, PacsBusy or PacsUnreachable. Once `store` or another request has raised, the
    association is over.
    """

    def __init__(self, target: Target, contexts: Iterable[Context], handlers: Sequence[Handler] = ()) -> None:
        self.target = target
        self._contexts = [build_context(abstract, transfer) for abstract, transfer in dict.fromkeys(contexts)]
        assert 0 < len(self._contexts) <= CONTEXTS_MAX, f"{len(self._contexts)} presentation contexts"
        self._handlers = list(handlers)
        self._connected = self._ended_by_peer = False
        self._sent = 0
        self._assoc: Any = None
        self._opening: Any = None  # connected, and not associated yet
        self._secure: Any = None  # the call by TLS, if it is one

    def __enter__(self) -> Self:
        self._assoc = self._associate()
        keep_answers(self._assoc)
        if not self._assoc.is_established:
            raise self._why_not()
        if not may_be_sent_to(self._assoc):
            self._assoc.abort()
            raise troubled(self.target.name, Trouble.NO_PROTOCOL)
        return self

    def __exit__(self, kind: type[BaseException] | None, _why: BaseException | None, _at: TracebackType | None) -> None:
        if kind is None and self._assoc.is_established:
            self._assoc.release()
        else:
            self._assoc.abort()

    @property
    def accepted(self) -> frozenset[Context]:
        """What the peer takes."""
        return frozenset(_pair(context) for context in self._assoc.accepted_contexts)

    def store(self, path: Path, meta: Meta) -> Verdict:
        """Send one file whose context was accepted; its data set goes as the bytes it is. Gives what was taken.

        Raises PacsBusy or PacsRefused for this file, PacsUnreachable when the association is over.
        """
        assert (meta.sop_class_uid, meta.transfer_syntax_uid) in self.accepted, "the peer did not accept this context"
        self._sent += 1
        answer = self._ask(lambda: self._assoc.send_c_store(path, msg_id=self._sent % 0xFFFF + 1))
        verdict = of_store(answer.Status)
        if verdict.kind in (Kind.TRANSIENT, Kind.PERMANENT):
            raise refused(self.target.name, answer.Status)
        return verdict

    def echo(self) -> None:
        """Ask whether the peer is there. Raises PacsBusy, PacsRefused or PacsUnreachable."""
        answer = self._ask(lambda: self._assoc.send_c_echo())
        if answer.Status != 0x0000:
            raise refused(self.target.name, answer.Status)

    def request_commitment(self, action: Dataset) -> int:
        """Ask for storage commitment (PS3.4 J.3.2); gives the status. Raises PacsUnreachable."""
        answer = self._ask(lambda: self._assoc.send_n_action(action, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)[0])
        return int(answer.Status)

    def _associate(self) -> Any:
        _config.STORE_SEND_CHUNKED_DATASET = True  # send_c_store(path) never decodes; pynetdicom has only this switch
        ae = AE(self.target.calling_ae)  # never the server's: ours would count against its associations
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = ae.acse_timeout = self.target.connect_s
        ae.dimse_timeout = self.target.answer_s
        ae.network_timeout = self.target.answer_s + self.target.connect_s
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DATA_SENT, acknowledge_at_once),
            (evt.EVT_ACSE_RECV, self._heard),
            *self._handlers,
        ]
        where, called = (self.target.host, self.target.port), self.target.called_ae
        try:
            self._secure = None if self.target.tls is None else SecureCall(self.target.tls)
            tls = None if self._secure is None else (self._secure, self.target.host)
            return ae.associate(*where, self._contexts, ae_title=called, evt_handlers=handlers, tls_args=tls)
        except UNRESOLVED as why:
            raise troubled(self.target.name, Trouble.NAME_UNKNOWN) from why
        except TlsUnusable as why:
            raise troubled(self.target.name, Trouble.OUR_CERTIFICATE) from why
        except UNREADABLE as why:  # pynetdicom, of an answer that contradicts itself
            if self._opening is None:
                raise
            self._opening.abort()
            raise troubled(self.target.name, Trouble.NO_PROTOCOL) from why

    def _opened(self, event: Any) -> None:
        """Connected: small messages go at once, and no peer can hold us up by not reading."""
        self._connected, self._opening = True, event.assoc
        send_at_once(event, timeout_s=self.target.answer_s)
        guard(event.assoc, timeout_s=self.target.answer_s)

    def _heard(self, event: Any) -> None:
        self._ended_by_peer = isinstance(event.primitive, A_ABORT | A_P_ABORT)

    def _why_not(self) -> OculardError:
        """Why there is no association."""
        name, answer = self.target.name, self._assoc.acceptor.primitive
        if self._secure is not None and self._secure.failure is not None:
            return troubled(name, OF_TLS[self._secure.failure])
        if not self._connected:
            return troubled(name, _diagnose(self.target))
        if self._assoc.is_rejected:
            return rejected(name, answer.result, answer.result_source, answer.diagnostic)
        if self._assoc.rejected_contexts:
            return troubled(name, Trouble.NO_CONTEXT)
        return troubled(name, Trouble.ABORTED if self._ended_by_peer else Trouble.NOT_ASSOCIATED)

    def _ask(self, request: Callable[[], Dataset]) -> Dataset:
        """Make one request and give its answer's status. Raises PacsUnreachable when there is none."""
        if not self._assoc.is_established:
            raise troubled(self.target.name, Trouble.LOST)
        asked_at = monotonic()
        try:
            answer = request()
        except RuntimeError as why:  # pynetdicom: the association ended since we looked
            raise troubled(self.target.name, Trouble.LOST) from why
        if "Status" not in answer:
            waited = monotonic() - asked_at >= self.target.answer_s
            raise troubled(self.target.name, Trouble.NO_ANSWER if waited else Trouble.LOST)
        return answer


def _pair(context: PresentationContext) -> Context:
    return str(context.abstract_syntax), str(context.transfer_syntax[0])


def _diagnose(target: Target) -> Trouble:
    """Why a connection failed: pynetdicom does not say, so it is tried once more, briefly."""
    try:
        socket.create_connection((target.host, target.port), timeout=min(target.connect_s, DIAGNOSIS_S)).close()
    except UNRESOLVED:
        return Trouble.NAME_UNKNOWN
    except TimeoutError:
        return Trouble.CONNECTION_TIMEOUT
    except OSError as why:
        return Trouble.CONNECTION_REFUSED if why.errno == errno.ECONNREFUSED else Trouble.HOST_UNREACHABLE
    return Trouble.CONNECTION_TIMEOUT  # it answers now: it was too slow before
