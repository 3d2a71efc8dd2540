"""Bringing a vault's files into a backup, each once."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from oculard.store.digests import digest_of
from oculard.store.manifest import DAMAGED, Entry
from oculard.store.vault import sync_file, sync_folder


@dataclass(slots=True, kw_only=True)
class Brought:
    """What became of the vault's files."""

    new: int = 0
    there: int = 0  # an earlier backup had brought them
    missing: int = 0
    damaged: int = 0  # the vault's own file is not what was written


def bring(entry: Entry, source: Path, target: Path, brought: Brought) -> None:
    """Bring one file, unless an earlier backup has: only `restore --check` reads that one, and sets aside the damaged.

    Raises OSError.
    """
    if _has_size(target, entry.size_bytes):
        brought.there += 1
        return
    try:
        if digest_of(source, entry.room) != entry.sha256:
            brought.damaged += 1
            return
        _copy(source, target)
    except FileNotFoundError:
        brought.missing += 1
    else:
        brought.new += 1


def _copy(source: Path, target: Path) -> None:
    """Link a file that is never changed, or copy it where no link is possible. Raises FileNotFoundError."""
    new = target.with_name(f"{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, another user, too many links
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            shutil.copyfile(source, new)
        except FileNotFoundError:
            new.unlink()
            raise
        sync_file(new)
    os.replace(new, target)
    target.with_name(f"{target.name}{DAMAGED}").unlink(missing_ok=True)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def make_folder(path: Path) -> Path:
    """A private folder with its parents, each synced."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)
    return path
