"""C-MOVE, Study Root: an archive sends a study to our own intake (PS3.4 C.4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveDoesNotKnowUs,
    ArchiveRefused,
    ArchiveSilent,
    Retrieved,
    StudyFailed,
    Take,
)
from oculard.retrieve.association import Answers, ArchiveAssociation, Line

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"  # Study Root, C-MOVE
MOVE_CONTEXTS = (build_context(MOVE, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]),)
PENDING, SUCCESS, SOME_FAILED, CANCELLED = 0xFF00, 0x0000, 0xB000, 0xFE00  # PS3.4 table C.4-2
UNKNOWN_DESTINATION, NO_MATCHES, NO_RESOURCES = 0xA801, 0xA701, 0xA702
NOT_AUTHORIZED, NOT_SUPPORTED = 0x0124, 0x0122
SOME_MISSING = "sub-operations-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """Lets studies come to our own AE title."""

    line: Line
    study_s: float
    here: str  # where we listen, in words: what the archive's configuration must say

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`; what comes is taken by our intake."""
        del take
        with ArchiveAssociation(self.line, MOVE_CONTEXTS) as association:
            answers = association.move(study_query(study_instance_uid), MOVE, self.line.calling_ae)
            last = final_answer(answers, self.line, self.study_s)
            return retrieved(last, self.line.name, self.here)


def study_query(study_instance_uid: str) -> Dataset:
    """The identifier of a retrieval of one study."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study_instance_uid
    return query


def final_answer(answers: Answers, line: Line, study_s: float) -> Dataset:
    """The answer after which nothing more comes. Raises ArchiveSilent when the study takes too long."""
    ends_at = monotonic() + study_s
    for status, _ in answers:
        if status.Status != PENDING:
            return status
        if monotonic() > ends_at:
            raise ArchiveSilent(f"archive `{line.name}` did not finish with a study in {study_s:g} s")
    raise ArchiveAway(f"archive `{line.name}` ended the association")


def retrieved(last: Dataset, name: str, here: str) -> Retrieved:
    """What the final answer means. Raises where it is not about this study alone."""
    status = int(last.Status)
    failed, warned = _count(last, "NumberOfFailedSuboperations"), _count(last, "NumberOfWarningSuboperations")
    told = {"completed": _count(last, "NumberOfCompletedSuboperations"), "failed": failed, "warned": warned}
    if status in (SUCCESS, SOME_FAILED):
        return Retrieved(**told, reason=SOME_MISSING if failed else None)
    if status == UNKNOWN_DESTINATION:
        raise ArchiveDoesNotKnowUs(f"archive `{name}` does not know where to send", hint=f"enter there: {here}")
    if status in (NO_RESOURCES, NO_MATCHES):
        raise ArchiveBusy(f"archive `{name}` is out of resources (0x{status:04X})")
    if status in (NOT_AUTHORIZED, NOT_SUPPORTED):
        raise ArchiveRefused(f"archive `{name}` does not let us retrieve (0x{status:04X})")
    hint = f"its log says why; Orthanc answers so, too, where it does not know us: enter there: {here}"
    raise StudyFailed(f"archive `{name}` answered 0x{status:04X}", hint=hint)


def _count(answer: Dataset, keyword: str) -> int:
    value = answer.get(keyword)
    return value if isinstance(value, int) and value >= 0 else 0
