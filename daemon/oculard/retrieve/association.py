"""One association to an archive: opened, or an error that says why not; every question is answered or given up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.dimse import UNREADABLE, acknowledge_at_once, guard, may_be_sent_to, send_at_once
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveNotTrusted,
    ArchiveRefused,
    ArchiveSilent,
    Stopping,
)
from oculard.retrieve.receiving import Receiver
from oculard.store.spool import Spooler
from oculard.tls import CallingTls, Failure, SecureCall, TlsUnusable

REJECTED_FOR_NOW = 2  # result "rejected-transient", PS3.8 9.3.4
CANCEL_S = 5.0  # how long an archive may take to stop when it is told to
MESSAGE_ID = 1  # one question at a time
PENDING, OUT_OF_RESOURCES = (0xFF00, 0xFF01), 0xA700
SIGNER = "give the archive the authority that signed our certificate, or renew ours"
NO_TLS = "is [[archives]] port the one for TLS 1.2 or 1.3? Or take `tls` out there"
Answers = Iterator[tuple[Dataset, Dataset | None]]
OnStore = Callable[[Any], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Whom to call, as whom, and how long to wait."""

    name: str  # what the archive is called here
    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_s: float = 10.0
    answer_s: float = 60.0  # for the next answer
    tls: CallingTls | None = None


class Caller:
    """Calls one archive, one call at a time. Whatever is under way can be ended from another thread."""

    def __init__(self, spooler: Spooler) -> None:
        self.spooler = spooler
        self._lock = threading.Lock()
        self._is_closed = False
        self._current: ArchiveAssociation | None = None

    def begin(self, association: ArchiveAssociation) -> None:
        """A call begins. Raises Stopping where none may begin any more."""
        with self._lock:
            if self._is_closed:
                raise Stopping("no question is asked any more")
            self._current = association

    def end(self) -> None:
        """The call is over."""
        with self._lock:
            self._current = None

    def close(self) -> None:
        """End what is under way, and let nothing begin."""
        with self._lock:
            self._is_closed, current = True, self._current
        if current is not None:
            current.stop()


class ArchiveAssociation:
    """An association as a context: released at its end, aborted when the block ends with an error.

    All its questions together may take `within_s`. Entering raises ArchiveAway, ArchiveBusy, ArchiveRefused or
    Stopping.
    """

    def __init__(
        self,
        line: Line,
        caller: Caller,
        contexts: Sequence[PresentationContext],
        *,
        within_s: float,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        on_store: OnStore | None = None,
    ) -> None:
        self._line, self._caller, self._contexts, self._roles = line, caller, list(contexts), list(roles)
        self._within_s, self._on_store = within_s, on_store
        self._assoc: Any = None
        self._opening: Any = None  # connected, and not associated yet
        self._secure: Any = None  # the call by TLS, if it is one
        self._receiver: Receiver | None = None
        self._model = ""  # of the question that is under way
        self._connected, self._stopping, self._ended = False, False, threading.Event()
        self._ends_at = 0.0
        self.our_address = ""  # as the archive may see it

    def __enter__(self) -> Self:
        self._caller.begin(self)
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _why: BaseException | None, _at: TracebackType | None) -> None:
        try:
            if kind is None and self._assoc.is_established:
                self._assoc.release()
            elif not self._assoc.acse.is_aborted():
                self._assoc.abort()
        finally:
            self._close()

    def find(self, query: Dataset, model: str) -> Answers:
        """C-FIND: every answer as it comes. Raises ArchiveSilent, or ArchiveRefused where it knows no such model."""
        return self._answers("send_c_find", query, model, model)

    def move(self, query: Dataset, model: str, destination: str) -> Answers:
        """C-MOVE: every answer as it comes. Raises as `find`."""
        return self._answers("send_c_move", query, model, destination, model)

    def get(self, query: Dataset, model: str) -> Answers:
        """C-GET: every answer as it comes; what is stored meanwhile goes to `on_store`. Raises as `find`."""
        return self._answers("send_c_get", query, model, model)

    def cancel(self) -> None:
        """C-CANCEL of the question that is under way; its answers end soon."""
        if self._model and self._assoc.is_established:
            with contextlib.suppress(RuntimeError):  # pynetdicom: the association ended since we looked
                self._assoc.send_c_cancel(MESSAGE_ID, query_model=self._model)

    def done(self, spool: Any) -> None:
        """What was stored has been taken, or not."""
        assert self._receiver is not None, "it came by the receiver"
        self._receiver.done(spool)

    def stop(self) -> None:
        """End it from another thread: C-CANCEL first, and an abort where that does not help."""
        self._stopping = True
        if self._receiver is None:
            return  # it is being opened, which takes connect_s at the most
        self.cancel()
        if not self._ended.wait(CANCEL_S):
            self._receiver.hang_up()

    def _open(self) -> None:
        self._assoc = self._associate()
        if self._assoc.is_established:
            self._assoc.dimse = self._receiver = Receiver(self._assoc, self._caller.spooler)
        if not self._assoc.is_established:
            raise self._why_not()
        if not may_be_sent_to(self._assoc):
            self._assoc.abort()
            raise ArchiveAway(f"archive `{self._line.name}` accepts, and takes nothing")
        if self._stopping:
            self._assoc.abort()
            raise Stopping("it was ended before it began")
        self._ends_at = monotonic() + self._within_s

    def _close(self) -> None:
        self._ended.set()
        self._caller.end()
        if self._receiver is not None:
            self._receiver.discard()

    def _answers(self, ask: str, query: Dataset, model: str, *how: str) -> Answers:
        self._model = model
        self._restrain()
        try:
            answers = getattr(self._assoc, ask)(query, *how, msg_id=MESSAGE_ID)
        except ValueError as why:  # pynetdicom: no accepted context
            raise ArchiveRefused(f"archive `{self._line.name}` does not offer what we ask for") from why
        except RuntimeError as why:  # pynetdicom: the association ended since we looked
            raise self._stopped_or(ArchiveAway(f"archive `{self._line.name}` ended the association")) from why
        asked_at = monotonic()
        for status, identifier in _heard(answers, self._line.name, twice=PENDING if ask == "send_c_find" else ()):
            if "Status" not in status or self._stopping:
                raise self._stopped_or(self._no_answer(monotonic() - asked_at))
            yield status, identifier
            asked_at = monotonic()
            self._restrain()
        self._model = ""

    def _restrain(self) -> None:
        """Let nobody wait beyond the end of all questions. Raises ArchiveSilent when that has come."""
        left_s = self._ends_at - monotonic()
        if left_s <= 0:
            self.cancel()
            raise ArchiveSilent(f"archive `{self._line.name}` was not done in {self._within_s:g} s")
        self._assoc.dimse_timeout = min(self._line.answer_s, left_s)

    def _no_answer(self, waited_s: float) -> ArchiveAway:
        is_silent = waited_s >= self._assoc.dimse_timeout or monotonic() >= self._ends_at
        return (ArchiveSilent if is_silent else ArchiveAway)(f"archive `{self._line.name}` gave no answer")

    def _stopped_or(self, why: ArchiveAway) -> ArchiveAway | Stopping:
        return Stopping("it was ended on the way") if self._stopping else why

    def _stored(self, event: Any) -> int:
        """A C-STORE within a C-GET. Each looks at the clock, for no answer may come between."""
        assert self._on_store is not None, "bound only with a handler"
        assert self._receiver is not None, "nothing comes before it is open"
        try:
            self._restrain()
        except ArchiveSilent:
            self._receiver.hang_up()
            return OUT_OF_RESOURCES
        return self._on_store(event)

    def _associate(self) -> Any:
        line = self._line
        _config.LOG_RESPONSE_IDENTIFIERS = False  # each would be formatted, and one with an odd element given up
        ae = AE(line.calling_ae)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = ae.acse_timeout = line.connect_s
        ae.dimse_timeout = line.answer_s
        ae.network_timeout = line.answer_s + line.connect_s
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self._opened), (evt.EVT_DATA_SENT, acknowledge_at_once)]
        if self._on_store is not None:
            handlers.append((evt.EVT_C_STORE, self._stored))
        try:
            self._secure = None if line.tls is None else SecureCall(line.tls)
            return ae.associate(
                line.host,
                line.port,
                self._contexts,
                ae_title=line.called_ae,
                ext_neg=list(self._roles),
                evt_handlers=handlers,
                tls_args=None if self._secure is None else (self._secure, line.host),
            )
        except TlsUnusable as why:
            raise ArchiveAway(str(why), reason=why.reason, hint=why.hint) from why
        except UNREADABLE as why:
            if self._opening is None:  # OSError, or UnicodeError: an empty label, or one over 63 characters
                raise ArchiveAway(f"archive `{line.name}`: its host's name is not known") from why
            self._opening.abort()
            raise ArchiveAway(f"archive `{line.name}` sends what is no answer") from why

    def _opened(self, event: Any) -> None:
        self._connected, self._opening = True, event.assoc
        self.our_address = event.assoc.dul.socket.socket.getsockname()[0]
        send_at_once(event, timeout_s=self._line.answer_s)
        guard(event.assoc, timeout_s=self._line.answer_s)

    def _why_not(self) -> Exception:
        name, answer = self._line.name, self._assoc.acceptor.primitive
        failure = None if self._secure is None else self._secure.failure
        if failure is not None:
            return _of_tls(failure, name)
        if not self._connected:
            return ArchiveAway(f"archive `{name}` cannot be reached")
        if self._assoc.is_rejected:
            kind = ArchiveBusy if answer.result == REJECTED_FOR_NOW else ArchiveRefused
            return kind(f"archive `{name}` rejected the association ({answer.result_source}/{answer.diagnostic})")
        if self._assoc.rejected_contexts:
            return ArchiveRefused(f"archive `{name}` does not offer what we ask for")
        return ArchiveAway(f"archive `{name}` ended the association")


def _of_tls(failure: Failure, name: str) -> Exception:
    """Why there is no TLS with an archive."""
    if failure in (Failure.NOT_TRUSTED, Failure.NO_CERTIFICATE):
        return ArchiveNotTrusted(f"archive `{name}`: its certificate is not one of those that we trust")
    if failure is Failure.REFUSED:
        return ArchiveRefused(
            f"archive `{name}` refuses our certificate", reason="archive-refuses-certificate", hint=SIGNER
        )
    return ArchiveAway(f"archive `{name}` speaks no TLS with us", reason="archive-speaks-no-tls", hint=NO_TLS)


def _heard(answers: Answers, name: str, *, twice: tuple[int, ...] = ()) -> Answers:
    """Every answer once, whatever the archive sends. Raises ArchiveAway for what is none.

    pynetdicom tells `twice` of a match that it cannot decode, the first time with its lock held: whoever touched the
    association then would wait for ever.
    """
    while True:
        try:
            status, match = next(answers)
            if match is None and status.get("Status") in twice:
                next(answers)
        except StopIteration:
            return
        except UNREADABLE as why:
            raise ArchiveAway(f"archive `{name}` sends what is no message") from why
        yield status, match
