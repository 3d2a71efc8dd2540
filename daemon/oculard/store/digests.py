"""Digests of kept files, to see that they are what was written: a report's of its bytes, an image's of its data set."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

READ_BYTES = 1 << 20
PREAMBLE_BYTES = 128
META = b"DICM\x02\0\0\0UL\x04\0"  # PS3.10 7.1: the prefix, and the length of what follows of the file meta information
META_BYTES_MAX = 1 << 20


def digest_of(path: Path, room: str) -> str:
    """The digest by which a file is named in its room. Raises OSError."""
    with path.open("rb") as file:
        if room == "instances":
            file.seek(_data_set_at(file))
        digest = hashlib.sha256()
        while part := file.read(READ_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _data_set_at(file: BinaryIO) -> int:
    """Where the data set begins behind the file meta information that intake wrote; 0 where there is none."""
    head = file.read(PREAMBLE_BYTES + len(META) + 4)
    if head[PREAMBLE_BYTES:-4] != META:
        return 0
    length = int.from_bytes(head[-4:], "little")
    return len(head) + length if length <= META_BYTES_MAX else 0
