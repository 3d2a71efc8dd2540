"""A disk or a system that does not do what a large data set needs: it is written in another way, or refused."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from pathlib import Path

import pytest

from bulks import BLOCK, HEAD, has_direct_writing, opened, small_blocks, write_all
from oculard.store import bulk as bulk_module
from oculard.store.bulk import Bulk

__all__ = ["small_blocks"]


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


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_direct_write_that_fails_is_not_tried_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Only where there is no direct writing: what a disk says of itself is said."""
    control, write = fcntl.fcntl, os.write

    def fail(handle: int, data: memoryview) -> int:
        if control(handle, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(number, os.strerror(number))
        return write(handle, data)

    if not has_direct_writing(tmp_path):
        pytest.skip("there is no direct writing here")
    monkeypatch.setattr(bulk_module.os, "write", fail)
    with opened(tmp_path / "file") as (_, bulk, _), pytest.raises(OSError, match=os.strerror(number)):
        bulk.write(bytes(3 * BLOCK))


def test_a_disk_that_takes_nothing_in_any_way_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EINVAL of an ordinary write is no matter of alignment."""

    def fail(*_: object) -> int:
        raise OSError(errno.EINVAL, "never")

    with opened(tmp_path / "file") as (_, bulk, _):
        monkeypatch.setattr(bulk_module.os, "write", fail)
        with pytest.raises(OSError, match="never"):
            bulk.write(bytes(3 * BLOCK))


@pytest.mark.parametrize("takes", ["no direct one", "none"])
def test_a_write_of_nothing_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: str) -> None:
    """FUSE hands on what its server says it has written of a direct write, be it nothing."""
    control, write = fcntl.fcntl, os.write

    def nothing(handle: int, data: memoryview) -> int:
        is_direct = control(handle, fcntl.F_GETFL) & os.O_DIRECT
        return 0 if is_direct or takes == "none" else write(handle, data)

    monkeypatch.setattr(bulk_module.os, "write", nothing)
    data = os.urandom(3 * BLOCK)
    with opened(tmp_path / "file") as (_, bulk, _):
        if takes == "none":
            with pytest.raises(OSError, match="nothing was written"):
                bulk.write(data)
            return
        bulk.write(data)
        bulk.finish()

    assert (tmp_path / "file").read_bytes() == HEAD + data


@pytest.mark.parametrize(("number", "wanted"), [(errno.EPERM, True), (errno.EPERM, False), (errno.EINVAL, False)])
def test_a_flag_that_cannot_be_set_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, wanted: bool
) -> None:
    """No direct writing is one answer to one wish; the end of a file is never written directly."""
    control = fcntl.fcntl

    def fail(handle: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and bool(flags & os.O_DIRECT) is wanted:
            raise OSError(number, os.strerror(number))
        return control(handle, command, flags)

    if not has_direct_writing(tmp_path):
        pytest.skip("there is no direct writing here")
    monkeypatch.setattr(bulk_module.fcntl, "fcntl", fail)
    with opened(tmp_path / "file") as (_, bulk, _), pytest.raises(OSError, match=os.strerror(number)):
        write_all(bulk, bytes(2 * BLOCK))


def test_a_digest_that_broke_off_is_none(tmp_path: Path) -> None:
    """The file would be named by the digest of another one. Who writes gets the blocks back, and hears of it."""

    class Digest:
        def update(self, _: memoryview) -> None:
            raise MemoryError

    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    bulk = Bulk(handle, Digest(), 0)  # type: ignore[arg-type]
    bulk.write(bytes(6 * BLOCK))
    with pytest.raises(OSError, match="no digest was taken: MemoryError"):
        bulk.finish()
    os.close(handle)


def test_a_system_without_another_thread_is_the_disks_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told to try again: its association is not broken."""

    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    with pytest.raises(BlockingIOError):
        Bulk(handle, hashlib.sha256(), 0)
    os.close(handle)

    assert not Bulk._all
