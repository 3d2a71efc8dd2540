"""Large data sets on their way to a test's disk, in blocks of two pages."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from oculard.store import bulk as bulk_module
from oculard.store.bulk import Bulk

BLOCK = 8192
HEAD = b"head" * 100


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every test of a module that has it."""
    monkeypatch.setattr(bulk_module, "BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(bulk_module, "LEAST_BYTES", BLOCK // 2)
    monkeypatch.setattr(Bulk, "_all", WeakSet())


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, Bulk, Any]]:
    """A file with something in it, and the bulk that goes on."""
    path.write_bytes(HEAD)
    digest = hashlib.sha256(HEAD)
    handle = os.open(path, os.O_RDWR | os.O_APPEND)
    bulk = Bulk(handle, digest, len(HEAD))
    try:
        yield handle, bulk, digest
    finally:
        bulk.end()
        os.close(handle)


def write_all(bulk: Bulk, data: bytes) -> None:
    """All of it, to the end."""
    bulk.write(data)
    bulk.finish()


def has_direct_writing(folder: Path) -> bool:
    """Whether the disk under a folder takes it."""
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True
