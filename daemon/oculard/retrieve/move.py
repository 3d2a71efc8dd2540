"""C-MOVE, Study Root: an archive sends a study to our own intake (PS3.4 C.4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from oculard.retrieve.archive import (
    SOME_FAILED,
    ArchiveAway,
    ArchiveBusy,
    ArchiveDoesNotKnowUs,
    ArchiveRefused,
    Retrieved,
    StudyFailed,
    Take,
)
from oculard.retrieve.association import Answers, ArchiveAssociation, Caller, Line

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"  # Study Root, C-MOVE
MOVE_CONTEXTS = (build_context(MOVE, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]),)
PENDING, SUCCESS, WARNING, CANCELLED = 0xFF00, 0x0000, 0xB000, 0xFE00  # PS3.4 table C.4-2
UNKNOWN_DESTINATION, NO_MATCHES, NONE_SENT = 0xA801, 0xA701, 0xA702
NOT_AUTHORIZED, NOT_SUPPORTED = 0x0124, 0x0122


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """Lets studies come to our own AE title."""

    line: Line
    caller: Caller
    study_s: float
    port: int  # where our intake listens

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`; what comes is taken by our intake."""
        del take
        with ArchiveAssociation(self.line, self.caller, MOVE_CONTEXTS, within_s=self.study_s) as association:
            answers = association.move(study_query(study_instance_uid), MOVE, self.line.calling_ae)
            last, name = final_answer(answers, self.line.name), self.line.name
            here = f"AE title {self.line.calling_ae}, host {association.our_address}, port {self.port}"
            if last.Status == UNKNOWN_DESTINATION:
                raise ArchiveDoesNotKnowUs(f"archive `{name}` does not know where to send", hint=f"enter there: {here}")
            return retrieved(last, name, f"its log says why; perhaps it does not know us: enter there: {here}")


def study_query(study_instance_uid: str) -> Dataset:
    """The identifier of a retrieval of one study."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    return query


def final_answer(answers: Answers, name: str) -> Dataset:
    """The answer after which nothing more comes. Raises ArchiveAway, ArchiveSilent or Stopping."""
    for status, _ in answers:
        if status.Status != PENDING:
            return status
    raise ArchiveAway(f"archive `{name}` ended the association")


def retrieved(last: Dataset, name: str, hint: str) -> Retrieved:
    """What the final answer means. Raises where it is not about this study alone."""
    status, failed = int(last.Status), _count(last, "NumberOfFailedSuboperations")
    if status in (SUCCESS, WARNING, NONE_SENT):
        return Retrieved(
            completed=_count(last, "NumberOfCompletedSuboperations"),
            failed=failed,
            warned=_count(last, "NumberOfWarningSuboperations"),
            reason=SOME_FAILED if failed or status == NONE_SENT else None,
        )
    if status == NO_MATCHES:
        raise ArchiveBusy(f"archive `{name}` is out of resources (0x{status:04X})")
    if status in (NOT_AUTHORIZED, NOT_SUPPORTED):
        raise ArchiveRefused(f"archive `{name}` does not let us retrieve (0x{status:04X})")
    raise StudyFailed(f"archive `{name}` answered 0x{status:04X}", hint=hint)


def _count(answer: Dataset, keyword: str) -> int:
    value = answer.get(keyword)
    return value if isinstance(value, int) and value >= 0 else 0
