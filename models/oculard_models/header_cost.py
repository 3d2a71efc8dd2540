"""What a header costs in memory when pydicom reads it, and how much it may: a few bytes of a file cost a hundredfold.

The costs are pydicom's own, measured on headers that hold nothing else. What eye devices write stays below what a
header may: 4096 frames described in eight sequences and thirty elements each are read. Larger ones exist, as
segmentations of many thousand frames: intake takes them, and the worker says why it does not read them.
"""

from __future__ import annotations

from io import SEEK_SET, BytesIO

from oculard_models.undecodable import Undecodable

COST_MAX = 144 << 20
SHARED_COST = 720  # of a data set that knows its meter
DATA_SET_COST, ELEMENT_COST, READ_COST = 640, 288, 56
SHORT_BYTES = 64 << 10  # up to here a value may be there twice: as it was read, and as it is kept
HEAD_BYTES = 8  # of an element, of an item or of a delimiter
DELIMITERS = (b"\xfe\xff", b"\xff\xfe")  # their group, little and big endian


class HeaderTooLarge(Undecodable):
    """A header claims more than the file holds, or more memory than a header may cost."""

    def __init__(self) -> None:
        super().__init__("header-too-large", "the header claims more than the file holds, or costs too much memory")


class Meter:
    """What one header may still cost, in bytes of memory."""

    def __init__(self) -> None:
        self._left = COST_MAX

    @property
    def bytes_left(self) -> int:
        """How long a value may be."""
        return self._left

    def pay(self, cost: int) -> None:
        """Raises HeaderTooLarge."""
        self._left -= cost
        if self._left < 0:
            raise HeaderTooLarge

    def pay_data_set(self) -> None:
        """A parser goes to a place of the file as it begins a data set, and seldom else. Raises HeaderTooLarge."""
        self.pay(DATA_SET_COST)

    def pay_read(self, data: bytes) -> None:
        """A parser has read so much at once: a head, or a value. Raises HeaderTooLarge."""
        cost = READ_COST + len(data) + min(len(data), SHORT_BYTES)
        if len(data) == HEAD_BYTES and data[:2] not in DELIMITERS:
            cost += ELEMENT_COST
        self.pay(cost)


class MeteredBytes(BytesIO):
    """A value that a parser reads."""

    def __init__(self, value: bytes, meter: Meter) -> None:
        super().__init__(value)
        self._meter = meter

    def seek(self, to: int, whence: int = SEEK_SET) -> int:
        self._meter.pay_data_set()
        return super().seek(to, whence)

    def read(self, count: int | None = -1) -> bytes:
        data = super().read(count)
        self._meter.pay_read(data)
        return data
