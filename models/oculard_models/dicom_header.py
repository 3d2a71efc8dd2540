"""Elements of a header that came from anywhere: absent, broken and of the wrong form are one and the same."""

from __future__ import annotations

import errno
import struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence

UNREADABLE = (  # what pydicom raises on values that are not what their VR says; OSError and EOFError are its parser's
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    LookupError,
    OverflowError,
    OSError,
    EOFError,
    struct.error,
    BytesLengthException,  # of no kind above
)


def must_be_the_files(why: BaseException) -> None:
    """Raise what the system said of reading a file, also where a parser hid it behind an error of its own.

    That is the vault's trouble, and it may pass. Parsers raise OSError of their own, which say nothing of the disk.
    """
    behind: BaseException | None = why
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno not in (None, errno.EINVAL):  # a place that no file has
            raise behind
        behind = behind.__cause__ or behind.__context__


def header_items(ds: Dataset, keyword: str) -> list[Dataset]:
    """A sequence's items; none when it is absent or cannot be decoded."""
    value = header_value(ds, keyword)
    return list(value) if isinstance(value, Sequence) else []


def header_value(ds: Dataset, keyword: str) -> Any:
    """An element's value, or None when it is absent or cannot be decoded: a bad value is not a reason to refuse.

    Raises OSError when a long value, which is still in the file, cannot be read.
    """
    try:
        return ds.get(keyword)
    except UNREADABLE as why:
        must_be_the_files(why)
        return None


def header_text(ds: Dataset, keyword: str) -> str:
    """An element's text; "" when it is absent or cannot be decoded."""
    value = header_value(ds, keyword)
    return "" if value is None else str(value).replace("\0", "").strip()


def header_numbers(ds: Dataset, keyword: str) -> tuple[float, ...] | None:
    """An element's numbers, NaN for what is none; None when the element is absent or empty."""
    value = header_value(ds, keyword)
    if value is None or value == "":
        return None
    values = [value] if isinstance(value, int | float | str) else list(value)
    return tuple(_number(one) for one in values) or None


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")
