"""C-GET, Study Root: a study comes on the association that asked for it (PS3.4 C.4.3), bit for bit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, build_context, build_role
from pynetdicom.presentation import PresentationContext

from oculard import log
from oculard.errors import OculardError, Rejected
from oculard.retrieve.archive import Retrieved, Take
from oculard.retrieve.association import ArchiveAssociation, Line
from oculard.retrieve.move import final_answer, retrieved, study_query

GET = "1.2.840.10008.5.1.4.1.2.2.3"  # Study Root, C-GET
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
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
_SWITCH = threading.Lock()
_getting: list[None] = []  # one for each retrieval that is under way
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
    study_s: float
    here: str
    remarks: Counter[str]

    def retrieve(self, study_instance_uid: str, take: Take) -> Retrieved:
        """As `Archive.retrieve`."""
        roles = [build_role(uid, scp_role=True) for uid in (*EYES, *OTHERS)]
        store = _Store(take, self.remarks)
        with _to_files(), ArchiveAssociation(self.line, contexts(), roles=roles, on_store=store) as association:
            last = final_answer(association.get(study_query(study_instance_uid), GET), self.line, self.study_s)
            return retrieved(last, self.line.name, self.here)


@contextmanager
def _to_files() -> Iterator[None]:
    """Whatever is stored to this process meanwhile goes to a file as it comes: the library has one switch for all."""
    with _SWITCH:
        _getting.append(None)
        _config.STORE_RECV_CHUNKED_DATASET = True
    try:
        yield
    finally:
        with _SWITCH:
            _getting.pop()
            _config.STORE_RECV_CHUNKED_DATASET = bool(_getting)


class _Store:
    """Answers the C-STOREs of an archive with what custody says."""

    def __init__(self, take: Take, remarks: Counter[str]) -> None:
        self._take, self._remarks = take, remarks

    def __call__(self, event: Any) -> int:
        path = Path(event.dataset_path)
        try:
            self._take(path)
        except Rejected as why:
            self._remarks[why.reason] += 1
            logger.warning("instance refused", reason=why.reason, hint=why.hint)
            return CANNOT_UNDERSTAND
        except (OculardError, OSError) as why:
            logger.warning("instance not taken", reason=getattr(why, "reason", "unreadable"))
            return OUT_OF_RESOURCES
        finally:
            path.unlink(missing_ok=True)  # the library leaves it
        return SUCCESS
