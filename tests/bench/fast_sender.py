"""A storage SCU that costs little: raw sockets and sendfile, no Nagle, one association.

    python -m bench.fast_sender HOST PORT CALLED_AE FOLDER

sends every file of a folder as it is, waits for a line on stdin before the first, and prints what it took as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from pydicom.filereader import read_file_meta_info

from oculard.intake.codec import PDV_HEAD_BYTES

PDU_BYTES = 131_072
FILE_META_FROM = 144
ASSOCIATE_RQ, ASSOCIATE_AC, RELEASE_RQ = 1, 2, 5
CALLING_AE = "FASTSCU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A file to send, and what its file meta information says: a device knows that before it sends."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_from: int  # where its data set begins, in bytes
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> Load:
        """Read what is needed of a file."""
        meta = read_file_meta_info(path)
        return cls(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            data_from=FILE_META_FROM + int(meta.FileMetaInformationGroupLength),
            size_bytes=path.stat().st_size,
        )


class Sender:
    """One association."""

    def __init__(self, host: str, port: int, called_ae: str, pairs: list[tuple[str, str]]) -> None:
        self._socket = socket.create_connection((host, port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._contexts = {pair: 2 * number + 1 for number, pair in enumerate(pairs)}
        contexts = b"".join(
            _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, pair[0].encode()) + _item(0x40, pair[1].encode()))
            for pair, number in self._contexts.items()
        )
        user = _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.826.0.1.3680043.8.498.77.0"))
        titles = called_ae.ljust(16).encode() + CALLING_AE.ljust(16).encode()
        body = struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
        self._socket.sendall(struct.pack(">BBL", ASSOCIATE_RQ, 0, len(body)) + body)
        kind, answer = self._receive()
        if kind != ASSOCIATE_AC:
            raise ConnectionError(f"the association was not accepted: PDU type {kind}")
        at = answer.rindex(b"\x51\x00\x00\x04") + 4  # the maximum length that the acceptor takes
        most = struct.unpack_from(">L", answer, at)[0] or PDU_BYTES
        self._fragment_bytes = min(most, PDU_BYTES) - PDV_HEAD_BYTES

    def store(self, load: Load, number: int) -> int:
        """Send one file; gives the status of the answer."""
        context = self._contexts[load.sop_class_uid, load.transfer_syntax_uid]
        command = _command(load.sop_class_uid, load.sop_instance_uid, number % 65535 + 1)
        head = struct.pack(">BBLLBB", 4, 0, len(command) + 6, len(command) + 2, context, 3)
        self._socket.sendall(head + command, socket.MSG_MORE)
        at, size = load.data_from, load.size_bytes
        with load.path.open("rb", buffering=0) as file:
            while at < size:
                count = min(self._fragment_bytes, size - at)
                last = 2 if at + count == size else 0
                self._socket.sendall(struct.pack(">BBLLBB", 4, 0, count + 6, count + 2, context, last), socket.MSG_MORE)
                end = at + count
                while at < end:
                    at += os.sendfile(self._socket.fileno(), file.fileno(), at, end - at)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pushes what MSG_MORE held back
        _, answer = self._receive()
        return _status(answer[PDV_HEAD_BYTES:])

    def release(self) -> None:
        """End the association."""
        self._socket.sendall(struct.pack(">BBL", RELEASE_RQ, 0, 4) + bytes(4))
        self._receive()
        self._socket.close()

    def _receive(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBL", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the receiver closed the connection")
            data += part
        return data


def _item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def _command(sop_class: str, sop_instance: str, message_id: int) -> bytes:
    body = _element(0x0002, sop_class.encode()) + _element(0x0100, b"\x01\0")
    body += _element(0x0110, struct.pack("<H", message_id)) + _element(0x0700, b"\0\0") + _element(0x0800, b"\0\0")
    body += _element(0x1000, sop_instance.encode())
    return _element(0x0000, struct.pack("<L", len(body))) + body


def _status(command: bytes) -> int:
    at = 0
    while at + 8 <= len(command):
        _, number, length = struct.unpack_from("<HHL", command, at)
        if number == 0x0900:
            return int(struct.unpack_from("<H", command, at + 8)[0])
        at += 8 + length
    raise ConnectionError("an answer without a status")


def contexts_of(loads: Iterable[Load]) -> list[tuple[str, str]]:
    """The SOP classes and transfer syntaxes of some files."""
    return sorted({(load.sop_class_uid, load.transfer_syntax_uid) for load in loads})


def main() -> None:
    """The command."""
    host, port, called_ae, folder = sys.argv[1:]
    loads = [Load.of(path) for path in sorted(Path(folder).iterdir())]
    pairs = contexts_of(loads)
    print("ready", flush=True)  # noqa: T201  the bench reads it
    sys.stdin.readline()
    began = perf_counter()
    sender = Sender(host, int(port), called_ae, pairs)
    statuses = [sender.store(load, number) for number, load in enumerate(loads)]
    sender.release()
    print(json.dumps({"seconds": perf_counter() - began, "stored": statuses.count(0)}))  # noqa: T201  likewise


if __name__ == "__main__":
    main()
