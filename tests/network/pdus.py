"""The upper layer by hand (PS3.8 9.3): PDUs as bytes, true or lying, and a line to say them on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Self

from devices import OPHTHALMIC_8_BIT

RQ, AC, RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
VERIFICATION, IMPLICIT, EXPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
COMMAND, LAST = 1, 2  # message control header, PS3.8 E.2
STORE_RQ, STORE_RSP, ECHO_RQ, ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
NO_DATA_SET, DATA_SET = 0x0101, 0x0000
PATIENCE_S = 20.0  # a test that waits longer has failed
Context = tuple[int, str, str]  # number, abstract syntax, transfer syntax
CONTEXTS: tuple[Context, ...] = ((1, VERIFICATION, IMPLICIT), (3, OPHTHALMIC_8_BIT, EXPLICIT))


class Line:
    """One connection, and nothing between it and the test."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def to(cls, port: int, *, receive_bytes: int = 0) -> Self:
        """Call a port; with a small buffer for what comes, if it is given."""
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", port))
        return cls(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pdus: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(b"".join(pdus))

    def hear(self) -> tuple[int, bytes]:
        """The next PDU; (0, b"") when the other side has ended the connection, with a word or without."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxL", head)
        return kind, self._exactly(length)

    def heard(self) -> list[int]:
        """The kinds of all PDUs up to the end of the connection."""
        kinds = []
        while kind := self.hear()[0]:
            kinds.append(kind)
        return kinds

    def associate(self, *, calling: str = "DEVICE", contexts: Iterable[Context] = CONTEXTS) -> Self:
        """Ask for an association, which is accepted."""
        self.send(associate_rq(calling=calling, contexts=contexts))
        kind, body = self.hear()
        assert kind == AC, (kind, body)
        return self

    def release(self) -> None:
        """End it as it should be."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        assert self.hear()[0] == RELEASE_RP

    def half_close(self) -> None:
        """Say nothing more, and go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away without a goodbye, as a machine does that loses its power."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        try:
            while len(data) < count and (part := self.socket.recv(count - len(data))):
                data += part
        except ConnectionError:
            return b""
        return data


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """A PDU, which may lie about its length."""
    return struct.pack(">BxL", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """An item of a negotiation, which may lie about its length."""
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def user_information(most: int | None = 16384, *more: bytes) -> bytes:
    """The maximum length that may be sent, who speaks, and more items."""
    first = b"" if most is None else item(0x51, struct.pack(">L", most))
    return item(0x50, first + item(0x52, b"1.2.826.0.1.3680043.8.498.77.1") + b"".join(more))


def proposed(contexts: Iterable[Context]) -> bytes:
    """Presentation contexts of a request (PS3.8 9.3.2.2)."""
    return b"".join(
        item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract.encode()) + item(0x40, syntax.encode()))
        for number, abstract, syntax in contexts
    )


def answered(results: Iterable[tuple[int, int, str]]) -> bytes:
    """Presentation contexts of an answer: number, result, transfer syntax (PS3.8 9.3.3.2)."""
    return b"".join(
        item(0x21, bytes((number, 0, result, 0)) + item(0x40, syntax.encode())) for number, result, syntax in results
    )


def negotiation(kind: int, variable: bytes, *, called: str = "OCULARD", calling: str = "DEVICE") -> bytes:
    """An A-ASSOCIATE-RQ or -AC of these items."""
    titles = called.ljust(16).encode("latin-1") + calling.ljust(16).encode("latin-1")
    return pdu(kind, struct.pack(">HH", 1, 0) + titles + bytes(32) + variable)


def associate_rq(
    *,
    called: str = "OCULARD",
    calling: str = "DEVICE",
    contexts: Iterable[Context] = CONTEXTS,
    most: int | None = 16384,
) -> bytes:
    """A request that is as it should be."""
    variable = item(0x10, APPLICATION_CONTEXT) + proposed(contexts) + user_information(most)
    return negotiation(RQ, variable, called=called, calling=calling)


def associate_ac(results: Iterable[tuple[int, int, str]], *, most: int | None = 16384) -> bytes:
    """An acceptance that is as it should be."""
    variable = item(0x10, APPLICATION_CONTEXT) + answered(results) + user_information(most)
    return negotiation(AC, variable, called="PACS", calling="OCULARD")


def p_data(context_id: int, control: int, data: bytes) -> bytes:
    """One fragment in a PDU of its own."""
    return pdu(P_DATA, struct.pack(">LBB", len(data) + 2, context_id, control) + data)


def command(field: int, *, sop_class: str, more: Sequence[bytes], data: bool = False) -> bytes:
    """A command set, implicit little endian, in order (PS3.7 6.3.1)."""
    kind = element(0x0800, struct.pack("<H", DATA_SET if data else NO_DATA_SET))
    parts = [element(0x0002, sop_class.encode()), element(0x0100, struct.pack("<H", field)), kind, *more]
    body = b"".join(sorted(parts, key=lambda part: part[3:1:-1]))
    return element(0x0000, struct.pack("<L", len(body))) + body


def element(number: int, value: bytes) -> bytes:
    """One element of group 0000; text is padded."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, number, len(value)) + value


def echo(message_id: int = 1, *, context_id: int = 1) -> bytes:
    """A C-ECHO request."""
    number = element(0x0110, struct.pack("<H", message_id))
    return p_data(context_id, COMMAND | LAST, command(ECHO_RQ, sop_class=VERIFICATION, more=[number]))


def response(field: int, message_id: int, *, sop_class: str, status: int = 0, context_id: int = 1) -> bytes:
    """An answer to a request."""
    more = [element(0x0120, struct.pack("<H", message_id)), element(0x0900, struct.pack("<H", status))]
    return p_data(context_id, COMMAND | LAST, command(field, sop_class=sop_class, more=more))


def store_command(sop_instance: str, *, message_id: int = 1, context_id: int = 3) -> bytes:
    """A C-STORE request, whose data set is still to come."""
    more = [
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0700, struct.pack("<H", 0)),
        element(0x1000, sop_instance.encode()),
    ]
    return p_data(context_id, COMMAND | LAST, command(STORE_RQ, sop_class=OPHTHALMIC_8_BIT, more=more, data=True))


def status_of(body: bytes) -> int:
    """The status in a P-DATA that holds a whole answer."""
    at, value = 6, -1
    while at + 8 <= len(body):
        _, number, length = struct.unpack_from("<HHL", body, at)
        if number == 0x0900:
            value = struct.unpack_from("<H", body, at + 8)[0]
        at += 8 + length
    return value
