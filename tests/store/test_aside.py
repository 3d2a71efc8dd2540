"""A digest that is taken aside, from what the spool holds already, is that of what came, or of nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oculard.store import aside as aside_module
from oculard.store import spool as spool_module
from oculard.store.spool import LARGE_BYTES, SMALL_BYTES, STEP_BYTES, Spool
from oculard.store.vault import VaultUnwritable

HEAD = b"head"
PIECE = 100 << 10  # no whole part of a step
ASIDE = 3 * STEP_BYTES  # some of it is taken aside
PATIENCE_S = 60.0
SIZES = st.integers(0, 3 * STEP_BYTES) | st.sampled_from((1, SMALL_BYTES - len(HEAD), SMALL_BYTES, STEP_BYTES))


def opened(folder: Path) -> Spool:
    """A spool of any size on a disk with room."""
    return Spool(folder / "spooled", HEAD, bytes_max=1 << 40, check_room=lambda: None)


def filled(folder: Path, size: int = ASIDE) -> tuple[Spool, bytes]:
    """One that holds a photograph."""
    spool, data = opened(folder), os.urandom(size)
    for at in range(0, size, PIECE):
        spool.write(data[at : at + PIECE])
    return spool, data


def digest_of(spool: Spool) -> str:
    """What its file would be called."""
    spool.finish()
    return spool.sha256()


@settings(deadline=None)  # a busy disk is no fault
@given(sizes=st.lists(SIZES, max_size=5))
def test_whatever_the_pieces(tmp_path_factory: pytest.TempPathFactory, sizes: Sequence[int]) -> None:
    """Small, in steps, and large; the buffer that they come in is used again at once."""
    spool = opened(tmp_path_factory.mktemp("aside"))
    pieces, buffer = [os.urandom(size) for size in sizes], bytearray(3 * STEP_BYTES)
    for piece in pieces:
        buffer[: len(piece)] = piece
        with memoryview(buffer) as view:
            spool.write(view[: len(piece)])

    assert digest_of(spool) == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert spool.path.read_bytes() == HEAD + b"".join(pieces)
    spool.discard()


def test_one_that_becomes_large(tmp_path: Path) -> None:
    """What was taken aside goes on in blocks."""
    spool, data = filled(tmp_path, LARGE_BYTES + 3 * PIECE)

    assert digest_of(spool) == hashlib.sha256(data).hexdigest()
    spool.discard()


def test_a_photograph_is_taken_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the one thread for it, and the disk is told of each step."""
    who, told, read, advise = list[str](), list[int](), os.preadv, os.posix_fadvise

    def reads(handle: int, buffers: Sequence[memoryview], at: int) -> int:
        who.append(threading.current_thread().name)
        return read(handle, buffers, at)

    def hears(handle: int, start: int, count: int, what: int) -> None:
        told.append(count)
        advise(handle, start, count, what)

    monkeypatch.setattr(aside_module.os, "preadv", reads)
    monkeypatch.setattr(spool_module.os, "posix_fadvise", hears)
    spool, data = filled(tmp_path, 5 * STEP_BYTES + PIECE // 2)
    digest_of(spool)
    spool.discard()

    assert set(who) == {"spool-aside"}
    assert len(told) >= 5
    assert sum(told) == len(data)


def test_a_file_system_that_takes_no_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes when it is told to sync."""

    def refuses(*_: Any) -> None:
        raise OSError(errno.EINVAL, "no advice")

    monkeypatch.setattr(spool_module.os, "posix_fadvise", refuses)
    spool, data = filled(tmp_path)

    assert digest_of(spool) == hashlib.sha256(data).hexdigest()
    spool.discard()


def cuts(path: Path) -> Callable[..., int]:
    """A disk from which the end of a file is gone when it is read."""
    read = os.preadv

    def cut(handle: int, buffers: Sequence[memoryview], at: int) -> int:
        os.truncate(path, len(HEAD))
        return read(handle, buffers, at)

    return cut


def breaks(_: Path) -> Callable[..., int]:
    """A disk that cannot be read once."""
    return fails_once(OSError(errno.EIO, "unreadable"))


def starves(_: Path) -> Callable[..., int]:
    """A machine without memory, for once."""
    return fails_once(MemoryError())


def fails_once(why: Exception) -> Callable[..., int]:
    """Reading that fails once, and goes on."""
    read, failures = os.preadv, [why]

    def fail(handle: int, buffers: Sequence[memoryview], at: int) -> int:
        if failures:
            raise failures.pop()
        return read(handle, buffers, at)

    return fail


@pytest.mark.parametrize(
    ("trouble", "size"),
    [(cuts, ASIDE), (breaks, ASIDE), (starves, ASIDE), (cuts, STEP_BYTES // 2), (breaks, STEP_BYTES // 2)],
)
def test_what_cannot_be_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Callable[[Path], Callable[..., int]], size: int
) -> None:
    """Its digest would be another file's name. The next one is well again."""
    with monkeypatch.context() as patched:
        patched.setattr(aside_module.os, "preadv", trouble(tmp_path / "spooled"))
        spool, _ = filled(tmp_path, size)
        with pytest.raises(VaultUnwritable):
            digest_of(spool)
    assert not spool.path.exists()

    spool, data = filled(tmp_path)
    assert digest_of(spool) == hashlib.sha256(data).hexdigest()
    spool.discard()


def test_a_file_is_open_until_its_digest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An association dies meanwhile: the number of its file may be another file's at once."""
    reading, go_on, read = threading.Event(), threading.Event(), os.preadv

    def waits(handle: int, buffers: Sequence[memoryview], at: int) -> int:
        reading.set()
        go_on.wait(PATIENCE_S)
        return read(handle, buffers, at)

    monkeypatch.setattr(aside_module.os, "preadv", waits)
    spool, _ = filled(tmp_path)
    handle = spool.handle
    reading.wait(PATIENCE_S)
    discarding = threading.Thread(target=spool.discard)
    discarding.start()
    discarding.join(0.2)
    was_open = Path(f"/proc/self/fd/{handle}").resolve() == spool.path
    go_on.set()
    discarding.join()

    assert was_open
    assert not spool.path.exists()


def test_no_thread_is_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device keeps the image, and sends it when there is one."""

    def gives_none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(aside_module, "_reader", aside_module._Reader())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", gives_none)
        spool, _ = filled(tmp_path)
        with pytest.raises(VaultUnwritable):
            digest_of(spool)

    spool, data = filled(tmp_path)
    assert digest_of(spool) == hashlib.sha256(data).hexdigest()
    spool.discard()


def test_who_discards_it_has_no_digest(tmp_path: Path) -> None:
    """What was not taken yet would be missing from it."""
    spool, _ = filled(tmp_path)
    spool.discard()

    with pytest.raises(VaultUnwritable):
        digest_of(spool)


@pytest.mark.parametrize("size", [100, ASIDE, LARGE_BYTES + PIECE])
def test_who_has_not_finished_it_has_no_digest(tmp_path: Path, size: int) -> None:
    """More of it may come, or is not digested yet."""
    spool, data = filled(tmp_path, size)
    with pytest.raises(AssertionError, match="not of all bytes"):
        spool.sha256()

    assert digest_of(spool) == hashlib.sha256(data).hexdigest()
    spool.discard()
