"""One association to an archive: opened, or an error that says why not; every question is answered or given up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any, Self

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from oculard.dimse import acknowledge_at_once, keep_answers, send_at_once
from oculard.retrieve.archive import ArchiveAway, ArchiveBusy, ArchiveRefused, ArchiveSilent

REJECTED_FOR_NOW = 2  # result "rejected-transient", PS3.8 9.3.4
Answers = Iterator[tuple[Dataset, Dataset | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Whom to call, as whom, and how long to wait."""

    name: str  # what the archive is called here
    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_s: float = 10.0
    answer_s: float = 60.0


class ArchiveAssociation:
    """An association as a context: released at its end, aborted when the block ends with an error.

    Entering raises ArchiveAway, ArchiveBusy or ArchiveRefused.
    """

    def __init__(
        self,
        line: Line,
        contexts: Sequence[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        on_store: Any = None,
    ) -> None:
        self._line, self._contexts, self._roles, self._on_store = line, list(contexts), list(roles), on_store
        self._assoc: Any = None
        self._connected = False

    def __enter__(self) -> Self:
        self._assoc = self._associate()
        keep_answers(self._assoc)
        if not self._assoc.is_established:
            raise self._why_not()
        return self

    def __exit__(self, kind: type[BaseException] | None, _why: BaseException | None, _at: TracebackType | None) -> None:
        if kind is None and self._assoc.is_established:
            self._assoc.release()
        else:
            self._assoc.abort()

    def find(self, query: Dataset, model: str) -> Answers:
        """C-FIND: every answer as it comes. Raises ArchiveSilent, or ArchiveRefused where it knows no such model."""
        return self._answers("send_c_find", query, model)

    def move(self, query: Dataset, model: str, destination: str) -> Answers:
        """C-MOVE: every answer as it comes. Raises as `find`."""
        return self._answers("send_c_move", query, destination, model)

    def get(self, query: Dataset, model: str) -> Answers:
        """C-GET: every answer as it comes; what is stored meanwhile goes to `on_store`. Raises as `find`."""
        return self._answers("send_c_get", query, model)

    def cancel(self, model: str) -> None:
        """C-CANCEL of the question that is under way; its answers end soon."""
        if self._assoc.is_established:
            self._assoc.send_c_cancel(1, query_model=model)

    def _answers(self, ask: str, query: Dataset, *how: str) -> Answers:
        try:
            answers = getattr(self._assoc, ask)(query, *how)
        except ValueError as why:  # pynetdicom: no accepted context
            raise ArchiveRefused(
                f"archive `{self._line.name}` does not offer what we ask for", hint="it must allow us C-FIND and C-MOVE"
            ) from why
        except RuntimeError as why:  # pynetdicom: the association ended since we looked
            raise ArchiveAway(f"archive `{self._line.name}` ended the association") from why
        asked_at = monotonic()
        for status, identifier in answers:
            if "Status" not in status:
                waited = monotonic() - asked_at >= self._line.answer_s
                raise (ArchiveSilent if waited else ArchiveAway)(f"archive `{self._line.name}` gave no answer")
            asked_at = monotonic()
            yield status, identifier

    def _associate(self) -> Any:
        line = self._line
        ae = AE(line.calling_ae)
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.connection_timeout = ae.acse_timeout = line.connect_s
        ae.dimse_timeout = line.answer_s
        ae.network_timeout = line.answer_s + line.connect_s
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, self._opened), (evt.EVT_DATA_SENT, acknowledge_at_once)]
        if self._on_store is not None:
            handlers.append((evt.EVT_C_STORE, self._on_store))
        try:
            return ae.associate(
                line.host,
                line.port,
                self._contexts,
                ae_title=line.called_ae,
                ext_neg=list(self._roles),
                evt_handlers=handlers,
            )
        except (OSError, UnicodeError) as why:
            raise ArchiveAway(f"archive `{line.name}`: its host's name is not known") from why

    def _opened(self, event: Any) -> None:
        self._connected = True
        send_at_once(event, timeout_s=self._line.answer_s)

    def _why_not(self) -> Exception:
        name, answer = self._line.name, self._assoc.acceptor.primitive
        if not self._connected:
            return ArchiveAway(f"archive `{name}` cannot be reached")
        if self._assoc.is_rejected:
            kind = ArchiveBusy if answer.result == REJECTED_FOR_NOW else ArchiveRefused
            return kind(f"archive `{name}` rejected the association ({answer.result_source}/{answer.diagnostic})")
        if self._assoc.rejected_contexts:
            return ArchiveRefused(f"archive `{name}` does not offer what we ask for")
        return ArchiveAway(f"archive `{name}` ended the association")
