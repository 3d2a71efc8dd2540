"""Looks into an ONNX file's bytes for tensors that lie outside it, before onnxruntime may follow them.

Loading from bytes is not enough: onnxruntime 1.31 then reads external data relative to the working folder (measured; it
refuses only those tensors that its optimiser touches). So the protobuf wire format is walked here, along the fields in
which onnx.proto keeps tensors, and nothing else of it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

# message -> field number -> the message in that field (onnx.proto, https://onnx.ai/onnx/api/classes.html)
TENSORS_IN: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "Model": {7: "Graph", 20: "Training", 25: "Function"},
        "Training": {1: "Graph", 2: "Graph"},
        "Function": {7: "Node", 11: "Attribute"},
        "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
        "Node": {5: "Attribute"},
        "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
        "SparseTensor": {1: "Tensor", 2: "Tensor"},
        "Tensor": {},
    }
)
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of Tensor: where it lies; 0 in the file itself, 1 outside
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4, groups, do not occur in ONNX
ORT_MARK = b"ORTM"  # at byte 4: onnxruntime then reads the whole file as a flatbuffer, which we do not look into
MAX_DEPTH = 64  # of graphs in attributes of nodes of graphs


class NotOnnx(ValueError):
    """The bytes are no protobuf message, a truncated one, or also something else."""


def has_external_data(content: bytes) -> bool:
    """Tell whether any tensor of the model says that it lies in another file. Raises NotOnnx."""
    if content[4:8] == ORT_MARK:
        raise NotOnnx("it is in onnxruntime's own format")
    return _looks_outside(memoryview(content), "Model", 0)


def _looks_outside(message: memoryview, kind: str, depth: int) -> bool:
    """Walk one message and those in it."""
    if depth > MAX_DEPTH:
        raise NotOnnx(f"graphs are nested more than {MAX_DEPTH} deep")
    inner = TENSORS_IN[kind]
    for field, value in _fields(message):
        if kind == "Tensor" and (field == EXTERNAL_DATA or (field == DATA_LOCATION and value != 0)):
            return True
        if field in inner and isinstance(value, memoryview) and _looks_outside(value, inner[field], depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number of every field with its integer, or with its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == VARINT:
            number, at = _varint(message, at)
            yield key >> 3, number
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise NotOnnx(f"wire type {wire} at byte {at}")
        if at + size > len(message):
            raise NotOnnx(f"a field of {size} bytes at byte {at} ends after its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read one integer of up to ten bytes; return it with the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise NotOnnx("the file ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise NotOnnx(f"a number of more than ten bytes before byte {at}")
