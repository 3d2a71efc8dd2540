"""A small PACS for the demonstration and for tests. For practice, not for custody: it syncs nothing to disk.

It keeps what it is sent as files, answers C-ECHO, C-STORE, C-FIND and storage commitment, and can be told to misbehave.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.presentation import build_context

from oculard.delivery.practice_find import find
from oculard.delivery.scu import COMMITMENT_CLASS, COMMITMENT_INSTANCE, VERIFICATION

FIND_CLASSES = ("1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1")  # patient root, study root
UID_TEXT = re.compile(r"^[0-9.]{1,64}$")
SUCCESS, PENDING, NO_SUCH_INSTANCE, CANNOT_UNDERSTAND = 0x0000, 0xFF00, 0x0112, 0xC000
ALL_COMMITTED, SOME_FAILED = 1, 2  # event types, PS3.4 J.3.3
ASSOCIATIONS_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How it behaves. The defaults are those of a good PACS."""

    refused_classes: frozenset[str] = frozenset()
    transfer_syntaxes: tuple[str, ...] = tuple(str(uid) for uid in AllTransferSyntaxes)
    callers: tuple[str, ...] = ()  # calling AE titles that it knows; () knows everyone
    statuses: tuple[int, ...] = ()  # answered to the first C-STOREs instead of success, and nothing is kept
    loses_answers: int = 0  # of so many first C-STOREs: kept, and the association is aborted instead of an answer
    aborts_after: int | None = None  # C-STOREs; aborts once, in the middle of an association
    aborts_at: frozenset[str] = frozenset()  # SOP Instance UIDs that it dies of, every time
    waits_for: threading.Event | None = None  # no C-STORE is answered before that
    commitment: Literal["new", "same", "silent"] = "new"  # the association on which it answers, or that it never does
    denies: bool = False  # answers that it has nothing of what it was asked to commit to
    answers_to: tuple[str, int] | None = None  # where our storage commitment answers go


@dataclass(slots=True)
class PracticePacs:
    """A server on its own threads. Use it as a context, or call `start` and `stop`."""

    folder: Path
    ae_title: str = "PRACTICE"
    host: str = "127.0.0.1"
    port: int = 0  # 0 picks a free one, which stands here after `start`
    manners: Manners = Manners()
    received: list[str] = field(default_factory=list)  # SOP Instance UID of every C-STORE, repeated ones too
    associations: int = 0
    commitments: int = 0  # N-ACTIONs heard
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _headers: dict[str, Dataset] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _aborted: bool = False
    _server: Any = None

    def start(self) -> None:
        """Listen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = self._entity().start_server((self.host, self.port), block=False, evt_handlers=self._handlers())
        self.port = self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """End every association and stop listening."""
        for thread in self._threads:
            thread.join()
        self._server.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        """Wait until the predicate holds; looked at again whenever something came. False when it never did."""
        with self._changed:
            return self._changed.wait_for(predicate, timeout_s)

    def path(self, sop_instance_uid: str) -> Path:
        """Where an instance lies, if it is here."""
        assert UID_TEXT.match(sop_instance_uid), "a UID has digits and dots"
        return self.folder / f"{sop_instance_uid}.dcm"

    def uids(self) -> set[str]:
        """What it keeps."""
        return {path.stem for path in self.folder.glob("*.dcm")}

    def _entity(self) -> AE:
        ae = AE(self.ae_title)
        ae.maximum_associations = ASSOCIATIONS_MAX
        ae.require_called_aet = True
        ae.require_calling_aet = list(self.manners.callers)
        for context in AllStoragePresentationContexts:
            if context.abstract_syntax not in self.manners.refused_classes:
                ae.add_supported_context(str(context.abstract_syntax), list(self.manners.transfer_syntaxes))
        for uid in (VERIFICATION[0], COMMITMENT_CLASS, *FIND_CLASSES):
            if uid not in self.manners.refused_classes:
                ae.add_supported_context(uid)
        return ae

    def _handlers(self) -> list[Any]:
        return [
            (evt.EVT_ESTABLISHED, self._on_association),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_N_ACTION, self._on_action),
        ]

    def _on_association(self, event: Any) -> None:
        del event
        with self._changed:
            self.associations += 1
            self._changed.notify_all()

    def _on_store(self, event: Any) -> int:
        manners, uid = self.manners, str(event.request.AffectedSOPInstanceUID)
        if manners.waits_for is not None:
            manners.waits_for.wait()
        with self._changed:
            count = len(self.received)
            if manners.aborts_after is not None and count >= manners.aborts_after and not self._aborted:
                self._aborted = True
                event.assoc.abort(block=False)
                return SUCCESS
            if uid in manners.aborts_at:
                event.assoc.abort(block=False)
                return SUCCESS
            self.received.append(uid)
            try:
                if count < len(manners.statuses):
                    return manners.statuses[count]
                return self._keep(event, uid, lose=count < manners.loses_answers)
            finally:
                self._changed.notify_all()

    def _keep(self, event: Any, uid: str, *, lose: bool) -> int:
        """Keep the file bit for bit, and its header for queries."""
        if not UID_TEXT.match(uid):
            return CANNOT_UNDERSTAND
        data = event.encoded_dataset()
        self.path(uid).write_bytes(data)
        self._headers[uid] = dcmread(BytesIO(data), stop_before_pixels=True)
        if lose:
            event.assoc.abort(block=False)
        return SUCCESS

    def _on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        with self._changed:
            headers = list(self._headers.values())
        for answer in find(event.identifier, headers):
            yield PENDING, answer

    def _on_action(self, event: Any) -> tuple[int, None]:
        """Storage commitment is asked: say yes at once, and answer from another thread."""
        with self._changed:
            self.commitments += 1
            self._changed.notify_all()
        report = self._report(event.action_information)
        if self.manners.commitment != "silent":
            caller = str(event.assoc.requestor.ae_title)
            where = (event.assoc,) if self.manners.commitment == "same" else (None, caller)
            thread = threading.Thread(target=self._answer, args=(report, *where), name="commitment")
            self._threads.append(thread)
            thread.start()
        return SUCCESS, None

    def _report(self, action: Dataset) -> Dataset:
        report, kept, missing = Dataset(), [], []
        report.TransactionUID = action.TransactionUID
        for asked in action.ReferencedSOPSequence:
            item = Dataset()
            item.ReferencedSOPClassUID = asked.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = asked.ReferencedSOPInstanceUID
            if not self.manners.denies and str(asked.ReferencedSOPInstanceUID) in self.uids():
                kept.append(item)
            else:
                item.FailureReason = NO_SUCH_INSTANCE
                missing.append(item)
        if kept:
            report.ReferencedSOPSequence = kept
        if missing:
            report.FailedSOPSequence = missing
        return report

    def _answer(self, report: Dataset, association: Any, caller: str = "") -> None:
        kind = SOME_FAILED if "FailedSOPSequence" in report else ALL_COMMITTED
        if association is not None:
            association.send_n_event_report(report, kind, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
            return
        if self.manners.answers_to is None:
            return
        ours = AE(self.ae_title)
        association = ours.associate(
            *self.manners.answers_to,
            [build_context(COMMITMENT_CLASS)],
            ae_title=caller,
            ext_neg=[build_role(COMMITMENT_CLASS, scp_role=True)],  # who asks for the association is the SCP here
        )
        if association.is_established:
            association.send_n_event_report(report, kind, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
            association.release()
