"""C-GET, Study Root: a study comes on the association that asked for it (PS3.4 C.4.3), bit for bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.presentation import PresentationContext

from oculard import log
from oculard.errors import Permanent, Rejected, Transient
from oculard.retrieve.archive import ArchiveAway, Retrieved, StudyFailed, Take
from oculard.retrieve.association import OUT_OF_RESOURCES, ArchiveAssociation, Caller, Line
from oculard.retrieve.move import final_answer, retrieved, study_query
from oculard.store.vault import VaultUnreadable

GET = "1.2.840.10008.5.1.4.1.2.2.3"  # Study Root, C-GET
SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000
ARC = "1.2.840.10008.5.1.4.1.1."
EYES = tuple(f"{ARC}77.1.5.{number}" for number in range(1, 9))  # photographs, volumes, en face and flow (PS3.4 B.5)
OTHERS = (  # what devices of eye clinics store beside them
    f"{ARC}7",  # Secondary Capture
    f"{ARC}7.2",
    f"{ARC}7.4",
    f"{ARC}66",  # Raw Data
    f"{ARC}66.4",  # Segmentation
    f"{ARC}66.5",  # Surface Segmentation
    f"{ARC}66.8",  # Height Map Segmentation
    f"{ARC}77.1.4",  # VL Photographic Image
    f"{ARC}81.1",  # Ophthalmic Thickness Map
    f"{ARC}88.11",  # Basic Text SR
    f"{ARC}88.22",  # Enhanced SR
    f"{ARC}88.33",  # Comprehensive SR
    f"{ARC}88.34",  # Comprehensive 3D SR
    f"{ARC}104.1",  # Encapsulated PDF
)
PLAIN = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
COMPRESSED = tuple(f"1.2.840.10008.1.2.{rest}" for rest in ("4.50", "4.51", "4.70", "4.80", "4.90", "4.91", "5"))
CONTEXTS_MAX = 128  # PS3.8 9.3.2.2
HINT = "its log says why"
logger = log.get("retrieve")


def contexts() -> list[PresentationContext]:
    """Each class with each transfer syntax on its own, so that the archive has no reason to convert anything."""
    pairs = [(uid, syntax) for uid in EYES for syntax in (*PLAIN, *COMPRESSED)]
    pairs += [(uid, syntax) for uid in OTHERS for syntax in (*PLAIN, COMPRESSED[0])]
    proposed = [build_context(GET, list(PLAIN)), *(build_context(uid, syntax) for uid, syntax in pairs)]
    assert len(proposed) <= CONTEXTS_MAX, f"{len(proposed)} presentation contexts"
    return proposed


@dataclass(frozen=True, slots=True, kw_only=True)
class Getter:
    """Fetches studies on our own association."""

    line: Line
    caller: Caller
    study_s: float
    remarks: Counter[str]

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`. Raises also what hindered our own house from taking what came."""
        roles = [build_role(uid, scp_role=True) for uid in (*EYES, *OTHERS)]
        store = _Store(take, self.remarks)
        store.association = ArchiveAssociation(
            self.line, self.caller, contexts(), within_s=self.study_s, roles=roles, on_store=store
        )
        try:
            with store.association as association:
                last = final_answer(association.get(study_query(study_instance_uid), GET), self.line.name)
                said = retrieved(last, self.line.name, HINT)
        except (ArchiveAway, StudyFailed) as why:
            raise store.trouble or why from why
        if store.trouble is not None:
            raise store.trouble
        return said


class _Store:
    """Answers the C-STOREs of an archive with what custody says."""

    association: ArchiveAssociation

    def __init__(self, take: Take, remarks: Counter[str]) -> None:
        self._take, self._remarks = take, remarks
        self.trouble: Transient | None = None  # of our own house: nothing more is taken

    def __call__(self, event: Any) -> int:
        spool = event.request._dataset_file
        if spool is None:
            return self._refuse(Rejected("a request without a data set", reason="no-data-set"))
        try:
            if self.trouble is None:
                spool.finish()
                self._take(spool.path)
        except (Rejected, Permanent) as why:
            return self._refuse(why)
        except (Transient, OSError) as why:
            self.trouble = why if isinstance(why, Transient) else VaultUnreadable("cannot read what was spooled")
            self.association.cancel()
        finally:
            self.association.done(spool)
        return SUCCESS if self.trouble is None else OUT_OF_RESOURCES

    def _refuse(self, why: Rejected | Permanent) -> int:
        self._remarks[why.reason] += 1
        logger.warning("instance refused", reason=why.reason, hint=why.hint)
        return CANNOT_UNDERSTAND
