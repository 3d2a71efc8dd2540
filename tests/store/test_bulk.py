"""A large data set goes to the disk in blocks: what lies there and its digest are what came, however it came."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculard.store import bulk as bulk_module
from oculard.store.bulk import Bulk

BLOCK = 8192
HEAD = b"head" * 100


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two pages."""
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

    has = _has_direct_writing(tmp_path)
    assert seen == [(BLOCK - len(HEAD), False), (BLOCK, has), (BLOCK, has), (len(HEAD), False)]


def _has_direct_writing(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("says_so", ["when it is asked for", "when it is done"])
def test_a_file_system_without_direct_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says_so: str) -> None:
    """It takes the same blocks in the ordinary way, and is not asked again."""
    asked, control, write = [], fcntl.fcntl, os.write

    def has_none(handle: int, command: int, flags: int = 0) -> int:
        if flags & os.O_DIRECT:
            asked.append(flags)
            if says_so == "when it is asked for":
                raise OSError(errno.EINVAL, "no direct writing")
        return control(handle, command, flags)

    def takes_none(handle: int, data: memoryview) -> int:
        if control(handle, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no direct writing")
        return write(handle, data)

    monkeypatch.setattr(bulk_module.fcntl, "fcntl", has_none)
    monkeypatch.setattr(bulk_module.os, "write", takes_none)
    data = os.urandom(5 * BLOCK)
    with opened(tmp_path / "file") as (_, bulk, digest):
        bulk.write(data)
        bulk.finish()

    assert (tmp_path / "file").read_bytes() == HEAD + data
    assert digest.hexdigest() == hashlib.sha256(HEAD + data).hexdigest()
    assert len(asked) == 1


def test_a_part_that_is_no_whole_sector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that writes less than it was given gets the rest."""
    write = os.write
    monkeypatch.setattr(bulk_module.os, "write", lambda handle, data: write(handle, bytes(data[: len(data) // 2 + 3])))
    data = os.urandom(4 * BLOCK)
    with opened(tmp_path / "file") as (_, bulk, _):
        bulk.write(data)
        bulk.finish()

    assert (tmp_path / "file").read_bytes() == HEAD + data


def test_a_disk_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no trouble of alignment is the caller's."""
    with opened(tmp_path / "file") as (_, bulk, _):
        bulk.write(bytes(2 * BLOCK))

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(bulk_module.os, "write", full)
        with pytest.raises(OSError, match="full"):
            bulk.write(bytes(2 * BLOCK))


def test_many_at_once_have_smaller_blocks(tmp_path: Path) -> None:
    """Memory is bounded by what is open, and what ended counts no more."""
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    bulks = [Bulk(handle, hashlib.sha256(), 0) for _ in range(2 * bulk_module.FEW)]
    sizes = [bulk._block_bytes for bulk in bulks]
    for bulk in bulks:
        bulk.end()
    again = Bulk(handle, hashlib.sha256(), 0)
    again.end()
    os.close(handle)

    assert sizes == [BLOCK] * bulk_module.FEW + [BLOCK // 2] * bulk_module.FEW
    assert again._block_bytes == BLOCK
