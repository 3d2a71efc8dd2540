"""A device: sends until it is told Success, asks for storage commitment, and notes what it was told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context

from sweep.judge import Ledger, digest_of

COMMITMENT_CLASS, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
SUCCESS, ANSWER_S = 0x0000, 30.0
LOOPBACK = "127.0.0.1"


class Device:
    """An SCU with a port for the answers. Use it as a context."""

    def __init__(self, ledger: Ledger, ae_title: str = "TOPCON") -> None:
        self.ledger, self._ae, self.port = ledger, AE(ae_title), 0
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = ANSWER_S
        self._transactions: dict[str, list[str]] = {}
        self._server: Any = None

    def __enter__(self) -> Self:
        _config.STORE_SEND_CHUNKED_DATASET = True  # a file goes as the bytes it is
        answers = AE(self._ae.ae_title)
        answers.add_supported_context(COMMITMENT_CLASS, scu_role=True, scp_role=True)
        heard = [(evt.EVT_N_EVENT_REPORT, self._hear)]
        self._server = answers.start_server((LOOPBACK, 0), block=False, evt_handlers=heard)
        self.port = self._server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def send(self, port: int, files: Sequence[Path]) -> bool:
        """Send what was not acknowledged yet, on one association; whether all is acknowledged now."""
        headers = {path: dcmread(path, stop_before_pixels=True) for path in files}
        left = [path for path in files if str(headers[path].SOPInstanceUID) not in self.ledger.acknowledged]
        contexts = {(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in headers.values()}
        association = self._ae.associate(LOOPBACK, port, [build_context(*one) for one in contexts], ae_title="OCULARD")
        for path in left:
            if not association.is_established:
                return False
            try:
                answer = association.send_c_store(path)
            except RuntimeError:  # pynetdicom: the association ended since we looked
                return False
            if "Status" in answer and answer.Status == SUCCESS:
                self._note(headers[path], path)
        association.release()
        return True if not left else all(str(headers[one].SOPInstanceUID) in self.ledger.acknowledged for one in left)

    def ask(self, port: int, transaction_uid: str, files: Sequence[Path]) -> bool:
        """Ask to commit to these files; whether the request was accepted."""
        action, items = Dataset(), []
        for path in files:
            ds, item = dcmread(path, stop_before_pixels=True), Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
            items.append(item)
        action.TransactionUID, action.ReferencedSOPSequence = transaction_uid, items
        self._transactions[transaction_uid] = [str(item.ReferencedSOPInstanceUID) for item in items]
        association = self._ae.associate(LOOPBACK, port, [build_context(COMMITMENT_CLASS)], ae_title="OCULARD")
        if not association.is_established:
            return False
        try:
            status, _ = association.send_n_action(action, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
        except RuntimeError:  # as above
            return False
        association.release()
        accepted = "Status" in status and status.Status == SUCCESS
        if accepted:
            with self.ledger.lock:
                self.ledger.asked.update(self._transactions[transaction_uid])
        return accepted

    def _hear(self, event: Any) -> tuple[int, None]:
        """An answer: every instance that it names as kept is committed, every other one is refused."""
        said = event.event_information
        with self.ledger.lock:
            for item in said.get("ReferencedSOPSequence") or ():
                self.ledger.committed.add(str(item.ReferencedSOPInstanceUID))
            for item in said.get("FailedSOPSequence") or ():
                self.ledger.refused.add(str(item.ReferencedSOPInstanceUID))
        return SUCCESS, None

    def _note(self, header: Dataset, path: Path) -> None:
        sha256 = digest_of(path)
        assert sha256 is not None, "a painted study has file meta information"
        with self.ledger.lock:
            self.ledger.acknowledged[str(header.SOPInstanceUID)] = sha256
            self.ledger.study_of[str(header.SOPInstanceUID)] = str(header.StudyInstanceUID)
