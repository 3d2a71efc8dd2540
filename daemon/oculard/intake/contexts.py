"""Presentation contexts: what we accept of what a peer proposes, and in which transfer syntax."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext

from oculard import COMMITMENT_CLASS_UID, COMMITMENT_INSTANCE_UID

# Our order decides (PS3.8 9.3.3.2: the acceptor chooses): a device that offers both is never made to compress lossily
# for us, and one that offers only JPEG Baseline is accepted.
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 Lossless, RPCL
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.100",  # MPEG2 and MPEG-4 are stored, never decoded
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.106",
)

VERIFICATION = UID("1.2.840.10008.1.1")
COMMITMENT = UID(COMMITMENT_CLASS_UID)
COMMITMENT_INSTANCE = UID(COMMITMENT_INSTANCE_UID)
DICOM_ROOT = "1.2.840.10008."
STORAGE_ARC = "1.2.840.10008.5.1.4.1.1."
LISTED_STORAGE = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def is_storage(abstract_syntax: str) -> bool:
    """Whether it is a class whose instances we store: every known one, every private one, and every newer one.

    Classes without a study (hanging protocols, colour palettes, implants, printing, media) are none.
    """
    if not abstract_syntax.startswith(DICOM_ROOT):
        return True
    if abstract_syntax in LISTED_STORAGE:
        return True
    name = UID(abstract_syntax).name  # the UID itself when pydicom's dictionary is older than the class
    return abstract_syntax.startswith(STORAGE_ARC) and (name == abstract_syntax or "Storage" in name)


def supported(proposed: Iterable[PresentationContext], *, may_store: bool) -> list[PresentationContext]:
    """The contexts to negotiate with, built only for what is proposed: all 170 would cost 41 ms an association."""
    commitment = build_context(COMMITMENT)
    commitment.scu_role = commitment.scp_role = True  # a device asks us; the PACS answers us (PS3.4 J.3)
    contexts: dict[str, PresentationContext] = {VERIFICATION: build_context(VERIFICATION), COMMITMENT: commitment}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        if may_store and abstract_syntax not in contexts and is_storage(abstract_syntax):
            contexts[abstract_syntax] = build_context(UID(abstract_syntax), list(TRANSFER_SYNTAXES))
    return list(contexts.values())
