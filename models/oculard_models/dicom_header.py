"""Elements of a header that came from anywhere: absent, broken and of the wrong form are one and the same."""

from __future__ import annotations

import errno
import struct
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_deferred_data_element, read_sequence
from pydicom.sequence import Sequence

from oculard_models.header_cost import SHARED_COST, HeaderTooLarge, Meter, MeteredBytes

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


def is_too_large(why: BaseException | None) -> bool:
    """Whether a header was refused for its size, also where a parser hid that behind an error of its own."""
    while why is not None and not isinstance(why, HeaderTooLarge):
        why = why.__cause__ or why.__context__
    return why is not None


def share_meter(ds: Dataset, meter: Meter) -> None:
    """Let what is decoded of a data set later cost no more than is left. Raises HeaderTooLarge."""
    if getattr(ds, "_oculard_meter", None) is None:
        meter.pay(SHARED_COST)
        ds._oculard_meter = meter  # pydicom leaves a data set's further attributes alone


def header_items(ds: Dataset, keyword: str) -> list[Dataset]:
    """A sequence's items; none when it is absent or cannot be decoded.

    Raises HeaderTooLarge where they cost too much memory: they are there. OSError as `header_value` does.
    """
    meter = getattr(ds, "_oculard_meter", None) or Meter()
    try:
        share_meter(ds, meter)
        if isinstance(ds, Dataset):  # and no quick look at one, which has no sequences
            _decode_items(ds, keyword, meter)
        value = header_value(ds, keyword)
        items = list(value) if isinstance(value, Sequence) else []
        for item in items:
            share_meter(item, meter)
    except UNREADABLE as why:
        must_be_the_files(why)
        if is_too_large(why):
            raise HeaderTooLarge from why
        return []
    return items


def _decode_items(ds: Dataset, keyword: str, meter: Meter) -> None:
    """Decode a sequence that has a length: pydicom would do so without looking at the cost."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, f"`{keyword}` is none of the Standard's"
    element = ds.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement) or not element.length:
        return
    if element.value is None and isinstance(ds, FileDataset):  # it is still in the file
        element = read_deferred_data_element(ds.fileobj_type, ds.filename or ds.buffer, ds.timestamp, element)
    value, implicit, little = element.value or b"", element.is_implicit_VR, element.is_little_endian
    items = read_sequence(MeteredBytes(value, meter), implicit, little, len(value), ds.original_character_set)
    ds[tag] = DataElement(tag, "SQ", items)


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
