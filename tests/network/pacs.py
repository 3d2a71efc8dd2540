"""A PACS by hand: does with each connection what a script says, and remembers nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pdus import P_DATA, RELEASE_RP, RELEASE_RQ, RQ, Line, associate_ac, pdu, response

Script = Callable[[Line], object]


@contextmanager
def pacs(script: Script) -> Iterator[int]:
    """Listens, and plays the script on every connection in a thread of its own; gives the port."""
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:

        def play(line: Line) -> None:
            with line, contextlib.suppress(OSError):
                script(line)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line = Line(server.accept()[0])
                    stack.callback(_end, line)
                    threading.Thread(target=play, args=(line,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _end(line: Line) -> None:
    """Wake whoever still reads from it; its thread closes it."""
    with contextlib.suppress(OSError):
        line.socket.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A request that came whole."""

    context_id: int
    message_id: int
    sop_class: str
    field: int


def contexts_of(request: bytes) -> list[tuple[int, str]]:
    """Number and first transfer syntax of every context that a request proposes."""
    found, at = [], 68
    while at + 4 <= len(request):
        kind, length = struct.unpack_from(">BxH", request, at)
        if kind == 0x20:
            inside, number = request[at + 8 : at + 4 + length], request[at + 4]
            abstract = struct.unpack_from(">BxH", inside)[1]
            syntax = struct.unpack_from(">BxH", inside, 4 + abstract)[1]
            found.append((number, inside[8 + abstract : 8 + abstract + syntax].decode()))
        at += 4 + length
    return found


def accept(line: Line, *, most: int | None = 16384) -> list[tuple[int, str]]:
    """Accept everything that is proposed."""
    kind, body = line.hear()
    assert kind == RQ
    offered = contexts_of(body)
    line.send(associate_ac([(number, 0, syntax) for number, syntax in offered], most=most))
    return offered


def requests(line: Line) -> Iterator[Message]:
    """Every message as it is complete; a release is answered, and ends it."""
    command, has_data = b"", False
    while (got := line.hear())[0] == P_DATA:
        body, at = got[1], 0
        while at < len(body):
            length, context_id, control = struct.unpack_from(">LBB", body, at)
            if control & 1:
                command += body[at + 6 : at + 4 + length]
            at += 4 + length
            if control & 2 and control & 1:
                has_data = values(command)[0x0800] != b"\x01\x01"
            if control & 2 and bool(control & 1) is not has_data:
                yield message(command, context_id)
                command = b""
    if got[0] == RELEASE_RQ:
        line.send(pdu(RELEASE_RP, bytes(4)))


def values(command: bytes) -> dict[int, bytes]:
    """The elements of a command set."""
    found, at = {}, 0
    while at + 8 <= len(command):
        _, number, length = struct.unpack_from("<HHL", command, at)
        found[number] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return found


def message(command: bytes, context_id: int) -> Message:
    """What a command set says."""
    found = values(command)
    sop_class = found.get(0x0002, b"").rstrip(b"\0").decode()
    message_id, field = (int.from_bytes(found.get(number, b""), "little") for number in (0x0110, 0x0100))
    return Message(context_id=context_id, message_id=message_id, sop_class=sop_class, field=field)


def answer(asked: Message, *, status: int = 0, message_id: int | None = None, field: int | None = None) -> bytes:
    """The answer to a request, right or wrong."""
    return response(
        asked.field | 0x8000 if field is None else field,
        asked.message_id if message_id is None else message_id,
        sop_class=asked.sop_class,
        status=status,
        context_id=asked.context_id,
    )


def good(line: Line) -> None:
    """As a PACS should be."""
    accept(line)
    for asked in requests(line):
        line.send(answer(asked))
