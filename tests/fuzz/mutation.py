"""Hostile bytes made of good ones: the same number gives the same bytes again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MARKS = (  # behind these stand the numbers that decoders believe
    *(bytes((0x28, 0, element, 0)) for element in (0x02, 0x04, 0x06, 0x08, 0x10, 0x11, 0x30)),  # described pixels
    *(bytes((0x28, 0, element, 1)) for element in (0x00, 0x01, 0x02, 0x03)),  # bits
    *(bytes((0, 0x28, 0, element)) for element in (0x02, 0x08, 0x10, 0x11)),  # the same, big endian
    b"\xe0\x7f\x10\0",
    b"\x7f\xe0\0\x10",
    b"\xfe\xff\0\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\x02\0\x10\0",  # the transfer syntax
    *(b"\xff" + bytes((marker,)) for marker in (0xC0, 0xC1, 0xC3, 0xC4, 0xDA, 0xDB, 0xDD, 0xF7, 0xF8)),  # JPEG, JPEG-LS
    *(b"\xff" + bytes((marker,)) for marker in (0x51, 0x52, 0x5C, 0x5E, 0x90, 0x93, 0x50)),  # JPEG 2000, HTJ2K
    b"@IMG_JPEG",
    b"@IMG_SCAN_03",
    b"@IMG_FUNDUS",
    b"@CONTOUR_INFO",
    b"@PARAM_SCAN_04",
    b"@CAPTURE_INFO",
)
NUMBERS = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF)
REACH = 28  # bytes behind a mark
CHANGES_MAX = 6
GROWN_BYTES = 64 << 10  # by so much a mutation may be larger than what it came of


def mutated(seeds: Sequence[bytes], number: str) -> bytes:
    """One of the seeds, changed in a few places."""
    rng = random.Random(number)
    data = bytearray(rng.choice(seeds))
    most = len(data) + GROWN_BYTES
    for _ in range(rng.randint(1, CHANGES_MAX)):
        rng.choice(CHANGES)(rng, data, seeds)
        if not data:
            break
    return bytes(data[:most])


def _flip(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _number(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Write a number at which counters turn over."""
    _write(rng, data, rng.randrange(len(data)))


def _behind_mark(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Write such a number behind something that decoders look for."""
    there = [at for mark in MARKS if (at := data.find(mark, rng.randrange(len(data)))) >= 0]
    there = there or [at for mark in MARKS if (at := data.find(mark)) >= 0]
    if there:
        _write(rng, data, rng.choice(there) + 2 + rng.randrange(REACH))


def _write(rng: random.Random, data: bytearray, at: int) -> None:
    size = rng.choice((1, 2, 4))
    word = (rng.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, rng.choice(("little", "big")))
    data[at : at + size] = word[: max(0, len(data) - at)]


def _cut(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Lose the end, or a part in the middle."""
    at = rng.randrange(len(data))
    del data[at : len(data) if rng.random() < 0.3 else at + rng.randint(1, 64)]


def _twice(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 64, 1024))
    data[at:at] = data[at : at + size] * rng.choice((1, 1, 1, 16))


def _other(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Go on as another seed does."""
    other = rng.choice(seeds)
    at = rng.randrange(len(other)) if other else 0
    data[rng.randrange(len(data)) :] = other[at:]


def _noise(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))


def _marks(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Put in something that decoders look for."""
    at = rng.randrange(len(data))
    data[at:at] = rng.choice(MARKS)


Change = Callable[[random.Random, bytearray, Sequence[bytes]], None]
CHANGES: tuple[Change, ...] = (
    _flip, _set, _number, _number, _behind_mark, _behind_mark, _behind_mark, _behind_mark, _cut, _twice, _other,
    _noise, _marks,
)  # fmt: skip
