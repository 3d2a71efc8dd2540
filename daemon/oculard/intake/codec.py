"""The codec of an ordinary C-STORE: its command read and its response written without building data sets.

Whatever is not ordinary is left to pynetdicom, which knows the rest of PS3.7; tests compare the two, byte for byte.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

STORE_REQUEST, STORE_RESPONSE = 0x0001, 0x8001  # PS3.7 E.1-1
NO_DATA_SET = 0x0101
PRIORITIES = (0, 1, 2)  # medium, high, low (PS3.7 E.1-1)
P_DATA_TF = 4  # PS3.8 9.3.5
COMMAND_LAST = 3  # message control header: a command's last fragment (PS3.8 E.2)
PDV_HEAD_BYTES = 6  # length, presentation context ID, message control header
ELEMENT = struct.Struct("<HHL")
US = struct.Struct("<H")
UL = struct.Struct("<L")
# The elements of an ordinary request in their order, and their values' lengths; None: a UID (PS3.7 9.3.1.1).
REQUIRED: tuple[tuple[int, int | None], ...] = (
    (0x0000, 4),
    (0x0002, None),
    (0x0100, 2),
    (0x0110, 2),
    (0x0700, 2),
    (0x0800, 2),
    (0x1000, None),
)
UID = re.compile(rb"^[0-9]+(\.[0-9]+)*\0?$")
UID_BYTES_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """An ordinary C-STORE request: what it announces, and what its response repeats."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


def read_store(command: bytes | bytearray) -> StoreCommand | None:
    """The command of an ordinary C-STORE request with a data set; None for anything else, which pynetdicom reads."""
    values, at = [], 0
    try:
        for element, length in REQUIRED:
            group, number, said = ELEMENT.unpack_from(command, at)
            at += ELEMENT.size
            if (group, number) != (0, element) or (said > UID_BYTES_MAX if length is None else said != length):
                return None
            values.append(bytes(command[at : at + said]))
            at += said
    except struct.error:
        return None
    group_length, sop_class, kind, message_id, priority, data_set, sop_instance = values
    whole = at == len(command) and UL.unpack(group_length)[0] == at - ELEMENT.size - UL.size
    if not whole or US.unpack(kind)[0] != STORE_REQUEST or US.unpack(data_set)[0] == NO_DATA_SET:
        return None
    if US.unpack(priority)[0] not in PRIORITIES:
        return None
    if not all(len(uid) % 2 == 0 and UID.match(uid) for uid in (sop_class, sop_instance)):
        return None
    return StoreCommand(
        message_id=US.unpack(message_id)[0],
        sop_class_uid=sop_class.rstrip(b"\0").decode("ascii"),
        sop_instance_uid=sop_instance.rstrip(b"\0").decode("ascii"),
    )


def write_store_response(command: StoreCommand, context_id: int, status: int, comment: str = "") -> bytes:
    """The P-DATA-TF PDU with the response to an ordinary C-STORE (PS3.7 9.3.1.2)."""
    body = b"".join(
        (
            _element(0x0002, _uid(command.sop_class_uid)),
            _element(0x0100, US.pack(STORE_RESPONSE)),
            _element(0x0120, US.pack(command.message_id)),
            _element(0x0800, US.pack(NO_DATA_SET)),
            _element(0x0900, US.pack(status)),
            _element(0x0902, _even(comment.encode("ascii"), b" ")) if comment else b"",
            _element(0x1000, _uid(command.sop_instance_uid)),
        )
    )
    body = _element(0x0000, UL.pack(len(body))) + body
    head = struct.pack(">BBLLBB", P_DATA_TF, 0, len(body) + PDV_HEAD_BYTES, len(body) + 2, context_id, COMMAND_LAST)
    return head + body


def _element(number: int, value: bytes) -> bytes:
    return ELEMENT.pack(0, number, len(value)) + value


def _uid(uid: str) -> bytes:
    return _even(uid.encode("ascii"), b"\0")


def _even(value: bytes, padding: bytes) -> bytes:
    return value if len(value) % 2 == 0 else value + padding
