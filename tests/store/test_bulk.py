"""A large data set goes to the disk in blocks: what lies there and its digest are what came, however it came."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulks import BLOCK, HEAD, has_direct_writing, opened, small_blocks
from oculard.store import bulk as bulk_module
from oculard.store.bulk import Bulk

__all__ = ["small_blocks"]

LEFT_OPEN = """
import hashlib, os, sys
from oculard.store.bulk import Bulk
Bulk(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), hashlib.sha256(), 0).write(b"begun")
"""


@settings(deadline=None)  # a busy disk is no fault
@given(sizes=st.lists(st.integers(0, 3 * BLOCK), max_size=12))
def test_whatever_the_pieces(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """The buffer that they come in is used again at once."""
    path = tmp_path_factory.mktemp("bulk") / "file"
    pieces, buffer = [os.urandom(size) for size in sizes], bytearray(3 * BLOCK)
    with opened(path) as (_, bulk, digest):
        for piece in pieces:
            buffer[: len(piece)] = piece
            with memoryview(buffer) as view:
                bulk.write(view[: len(piece)])
        bulk.finish()
        told = digest.hexdigest()

    assert path.read_bytes() == HEAD + b"".join(pieces)
    assert told == hashlib.sha256(HEAD + b"".join(pieces)).hexdigest()


def test_who_finishes_twice_writes_once(tmp_path: Path) -> None:
    """The end of the file is not there a second time."""
    with opened(tmp_path / "file") as (_, bulk, digest):
        bulk.write(b"end")
        bulk.finish()
        bulk.finish()

    assert (tmp_path / "file").read_bytes() == HEAD + b"end"
    assert digest.hexdigest() == hashlib.sha256(HEAD + b"end").hexdigest()


def test_blocks_pass_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole blocks directly, the first part and the rest in the ordinary way."""
    seen, write = [], os.write

    def watched(handle: int, data: memoryview) -> int:
        seen.append((len(data), bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT)))
        return write(handle, data)

    monkeypatch.setattr(bulk_module.os, "write", watched)
    with opened(tmp_path / "file") as (_, bulk, _):
        bulk.write(bytes(3 * BLOCK))
        bulk.finish()

    has = has_direct_writing(tmp_path)
    assert seen == [(BLOCK - len(HEAD), False), (BLOCK, has), (BLOCK, has), (len(HEAD), False)]


def test_the_files_other_flags_stay(tmp_path: Path) -> None:
    """Direct or not, who opened it to append appends."""
    with opened(tmp_path / "file") as (handle, bulk, _):
        bulk.write(bytes(2 * BLOCK))
        assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND
        bulk.finish()
        assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND


def test_a_block_is_free_when_it_is_digested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next bytes would come into what the digest is being taken of."""
    told: list[str] = []

    class Noted(SimpleQueue[Any]):
        def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
            if isinstance(item, memoryview):
                told.append("free")
            super().put(item, block, timeout)

    class Digest:
        def update(self, _: memoryview) -> None:
            told.append("digested")

    monkeypatch.setattr(bulk_module, "SimpleQueue", Noted)
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    bulk = Bulk(handle, Digest(), 0)  # type: ignore[arg-type]
    bulk.write(bytes(4 * BLOCK))
    bulk.finish()
    os.close(handle)

    assert told == ["free"] * bulk_module.BLOCKS + ["digested", "free"] * 5


def test_the_next_block_is_written_while_one_is_digested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who receives does not wait for the digest of what has just come."""
    write, is_written, came = os.write, threading.Semaphore(0), []

    class Digest:
        def update(self, _: memoryview) -> None:
            if not came:
                is_written.acquire(timeout=20)  # its own block
                came.append(is_written.acquire(timeout=20))  # and the next

    def noted(handle: int, data: memoryview) -> int:
        count = write(handle, data)
        is_written.release()
        return count

    monkeypatch.setattr(bulk_module.os, "write", noted)
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    bulk = Bulk(handle, Digest(), 0)  # type: ignore[arg-type]
    bulk.write(bytes(2 * BLOCK))
    bulk.finish()
    os.close(handle)

    assert came == [True]


def test_what_is_left_open_holds_up_no_exit(tmp_path: Path) -> None:
    """The process ends though nobody ended the file."""
    ran = subprocess.run([sys.executable, "-c", LEFT_OPEN, str(tmp_path / "file")], timeout=60, check=False)

    assert ran.returncode == 0


def test_many_at_once_have_smaller_blocks(tmp_path: Path) -> None:
    """Memory is bounded by what is open, and what ended counts no more."""
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    bulks = [Bulk(handle, hashlib.sha256(), 0) for _ in range(3 * bulk_module.FEW)]
    sizes = [bulk._block_bytes for bulk in bulks]
    for bulk in bulks:
        bulk.end()
    again = Bulk(handle, hashlib.sha256(), 0)
    again.end()
    os.close(handle)

    assert sizes == [BLOCK] * bulk_module.FEW + [BLOCK // 2] * 2 * bulk_module.FEW
    assert again._block_bytes == BLOCK
