"""Topcon's files: its own (.fda, .fds) as DICOM data sets, and whether an export has all files of its acquisitions.

IMAGEnet's exporter writes a folder or a group of names an acquisition: 1.1 is the volume, 2.1 its photograph, and with
angiography 3.1 to 6.80 besides. Two files are whole, and nine; whatever else there is, is said.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oculard.decoders import Decoders, Limits
from oculard.errors import Rejected
from oculard.settings import OCT_EN_FACE, OCT_FLOW_VOLUME, OPHTHALMIC_TOMOGRAPHY
from oculard_models.dicom_pixels import Undecodable

NAME = re.compile(r"(?P<acquisition>.*?)(?P<part>[1-6]\.(?:80|[1-9]))\.dcm", re.IGNORECASE)
PARTS = {  # what each file of an acquisition holds
    "1.1": "the volume",
    "2.1": "its photograph",
    "3.1": "the raw flow",
    "4.1": "the layers",
    "5.1": "the flow",
    "6.3": "a slab",
    "6.4": "a slab",
    "6.5": "a slab",
    "6.80": "a slab",
}
PART_BYTES = 1 << 20
PAIR = frozenset({"1.1", "2.1"})
OCT = frozenset({OPHTHALMIC_TOMOGRAPHY, OCT_EN_FACE, OCT_FLOW_VOLUME})


class TopconUnread(Rejected):
    """A file of Topcon's own that gives no instance."""

    reason = "topcon-unreadable"
    hint = "export it as DICOM from the device's software"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One acquisition of an export, and what is wrong with it; "" when it is whole."""

    folder: Path
    name: str
    files: int
    wrong: str


def converted(file: BinaryIO, folder: Path, limits: Limits) -> Iterator[BinaryIO]:
    """The instances of an open .fda or .fds file, each in a file without a name in `folder`, at its beginning.

    It is read in a process of its own, which may die of it. Raises TopconUnread, DecoderDown, OSError.
    """
    before = os.fstat(file.fileno())
    digest = hashlib.sha256()
    file.seek(0)
    while part := file.read(PART_BYTES):
        digest.update(part)
    try:
        with Decoders(limits) as decoders:
            made = decoders.ask("topcon", file=file.fileno(), folder=str(folder), sha256=digest.hexdigest())
    except Undecodable as why:
        raise TopconUnread(str(why), reason=why.reason) from why
    with made:
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise TopconUnread(
                "it changed while it was read", reason="still-growing", hint="take it when it is finished"
            )
        for instance in [os.fdopen(handle, "rb") for handle in made.take()]:
            with instance:
                yield instance


def exported(files: Iterable[tuple[Path, str]]) -> list[Exported]:
    """The acquisitions among imported files (path and SOP class, "" of what was refused) that look like Topcon's."""
    groups: dict[tuple[Path, str], dict[str, str]] = defaultdict(dict)
    for path, sop_class_uid in files:
        named = NAME.fullmatch(path.name)
        if named is not None:
            groups[path.parent, named["acquisition"]][named["part"]] = sop_class_uid
    return [
        Exported(folder=folder, name=name, files=len(parts), wrong=_wrong(parts))
        for (folder, name), parts in groups.items()
        if set(parts.values()) & OCT or parts.get("1.1") == ""  # others have such names by chance
    ]


def _wrong(parts: dict[str, str]) -> str:
    """What is wrong with an acquisition of these files."""
    refused = sorted(part for part, sop_class_uid in parts.items() if not sop_class_uid)
    expected = PAIR if set(parts) <= PAIR else set(PARTS)
    missing = sorted(expected - set(parts))
    more = sorted(set(parts) - set(PARTS))
    said = [
        ("missing: ", [f"{part} ({PARTS[part]})" for part in missing]),
        ("refused: ", refused),
        ("not expected: ", more),
    ]
    wrong = "; ".join(words + ", ".join(which) for words, which in said if which)
    return wrong if wrong or parts["1.1"] == OPHTHALMIC_TOMOGRAPHY else "1.1 is no OCT volume"
