"""What a backup says of itself: the one file that makes the others a backup, checked when it is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oculard.errors import Permanent
from oculard.store.digests import digest_of
from oculard.store.vault import DIGEST, Vault

MANIFEST = "manifest.json"
FILES = "files"  # the folder of the vault's files, laid out as the vault
DAMAGED = ".damaged"  # one that was found so, until the next backup has brought it anew
KINDS = ("sqlite", "postgresql")
NAME = re.compile(r"^(database|vault-index)-[0-9TZ]+-[0-9a-f]{8}\.(sqlite|dump|jsonl)$")
OURS = re.compile(r"^(database|vault-index)-[0-9TZ]+-[0-9a-f]{8}\.")  # with the journal of a copy that was killed
VAULT_ID = re.compile(r"^([0-9a-f]{32})?$")
MANIFEST_BYTES_MAX = 1 << 16
LINE_MAX = 1000
ROOMS = ("instances", "reports")


class BackupDamaged(Permanent):
    """A backup is not what was written, or is none."""

    reason = "backup-damaged"
    hint = "take another backup; a later one leaves the earlier as it is until it is whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a backup."""

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not NAME.match(self.name) or not DIGEST.match(self.sha256) or self.size_bytes < 0:
            raise ValueError("not a file of a backup")

    @classmethod
    def of(cls, path: Path) -> Part:
        """What a file that has been written is."""
        return cls(name=path.name, sha256=digest_of(path, "backup"), size_bytes=path.stat().st_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the index: a file of the vault on which a row lives."""

    path: str  # below the vault
    sha256: str  # of a report's bytes, of an image's data set
    size_bytes: int  # of the file

    def __post_init__(self) -> None:
        if not DIGEST.match(self.sha256) or self.size_bytes < 0:
            raise ValueError("not a file of a vault")
        if self.path not in [Vault.place(room, self.sha256) for room in ROOMS]:
            raise ValueError("a file's place is its digest's")

    @property
    def room(self) -> str:
        """Where it lies: what it is."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole backup."""

    version: str  # of the program
    revision: str  # of the database
    made_at: datetime
    kind: str
    vault_id: str  # of the vault that belongs to it; "" where it had none yet
    database: Part
    index: Part
    counts: dict[str, int]  # rows by table
    files: int  # in the index
    has_files: bool  # whether they are beside it
    missing: int  # of them, because the vault did not have them

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.made_at.tzinfo is None or not VAULT_ID.match(self.vault_id):
            raise ValueError("not a manifest")

    def write(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self) | {"made_at": self.made_at.isoformat()}, indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises BackupDamaged."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(MANIFEST_BYTES_MAX))
        return _manifest(values)
    except FileNotFoundError as why:
        raise BackupDamaged(f"{folder} holds no backup: there is no {MANIFEST}") from why
    except OSError as why:
        raise BackupDamaged(f"cannot read {path}: {why.strerror}") from why
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as why:
        raise BackupDamaged(f"{path} is not a manifest") from why


def read_index(path: Path) -> Iterator[Entry]:
    """The lines of an index. Raises BackupDamaged."""
    try:
        with path.open(encoding="utf-8") as lines:
            while line := lines.readline(LINE_MAX):
                yield Entry(**json.loads(line))
    except OSError as why:
        raise BackupDamaged(f"cannot read {path}: {why.strerror}") from why
    except (ValueError, TypeError, RecursionError) as why:
        raise BackupDamaged(f"{path} is not an index") from why


def _manifest(values: dict[str, Any]) -> Manifest:
    return Manifest(
        version=str(values["version"]),
        revision=str(values["revision"]),
        made_at=datetime.fromisoformat(values["made_at"]),
        kind=str(values["kind"]),
        vault_id=str(values["vault_id"]),
        database=Part(**values["database"]),
        index=Part(**values["index"]),
        counts={str(name): int(count) for name, count in values["counts"].items()},
        files=int(values["files"]),
        has_files=values["has_files"] is True,
        missing=int(values["missing"]),
    )
