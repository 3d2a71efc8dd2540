"""A PACS that stalls, drips, hangs up or lies: the sender ends it in its time, says why, and leaves nothing behind."""

from __future__ import annotations

import itertools
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pacs import Script, accept, answer, contexts_of, good, pacs, requests
from pdus import (
    ABORT,
    AC,
    APPLICATION_CONTEXT,
    ECHO_RSP,
    EXPLICIT,
    P_DATA,
    RELEASE_RQ,
    RJ,
    Line,
    answered,
    associate_ac,
    echo,
    item,
    negotiation,
    p_data,
    pdu,
    user_information,
)
from pydicom.dataset import Dataset
from pynetdicom import acse

from devices import OPHTHALMIC_8_BIT, Site
from oculard import dimse
from oculard.delivery.echo import probe
from oculard.delivery.part10 import Meta, read_meta
from oculard.delivery.scu import PeerAssociation, Target
from oculard.delivery.statuses import PacsBusy, PacsRefused, PacsUnreachable
from oculard.retrieve.archive import ArchiveAway, ArchiveBusy, ArchiveRefused
from oculard.retrieve.association import ArchiveAssociation, Caller
from oculard.retrieve.association import Line as ArchiveLine
from oculard.retrieve.find import FIND, FIND_CONTEXTS
from oculard.store.spool import Spooler
from report.report_samples import part10, photograph

UNREACHABLE = {"pacs-silent", "pacs-aborted", "association-lost", "pacs-no-answer", "pacs-protocol"}
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]


def target(port: int, *, answer_s: float = 0.5) -> Target:
    """A PACS that is given little time."""
    here = {"name": "pacs", "host": "127.0.0.1", "called_ae": "PACS", "calling_ae": "OCULARD"}
    return Target(port=port, connect_s=answer_s, answer_s=answer_s, **here)


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No association leaves a thread behind; whoever must be made to end is given little time, too."""
    monkeypatch.setattr(dimse, "GOODBYE_S", 0.5)
    before = set(threading.enumerate())
    yield
    for one in set(threading.enumerate()) - before:
        while one.ident is None:  # it is just being started
            threading.Event().wait(0.01)
        one.join(20)
        assert not one.is_alive(), one


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Meta]:
    """An instance of some hundred kilobytes."""
    path = tmp_path_factory.mktemp("pacs") / "file.dcm"
    path.write_bytes(part10(photograph(Rows=512, Columns=512, PixelData=bytes(3 * 512 * 512))))
    return path, read_meta(path)


def drip(line: Line, words: bytes) -> None:
    """A byte now and then: each comes in time, and all of them do not."""
    for byte in words:
        line.send(bytes((byte,)))
        threading.Event().wait(0.1)


def ac(line: Line) -> bytes:
    """What an honest PACS would answer."""
    return associate_ac([(number, 0, syntax) for number, syntax in contexts_of(line.hear()[1])])


def lying(variable: Callable[[bytes], bytes]) -> Script:
    """Answers with these items, given the honest contexts."""

    def script(line: Line) -> None:
        contexts = answered((number, 0, syntax) for number, syntax in contexts_of(line.hear()[1]))
        line.send(negotiation(AC, variable(contexts)))
        line.heard()

    return script


def saying(*pdus: bytes) -> Script:
    """Answers a request for an association with this."""

    def script(line: Line) -> None:
        line.hear()
        line.send(*pdus)
        line.heard()

    return script


def stall_in_the_answer(line: Line) -> None:
    line.send(ac(line)[:50])
    line.heard()


def hang_up_in_the_answer(line: Line) -> None:
    line.send(ac(line)[:50])


def twice(line: Line) -> None:
    line.send(*(2 * [ac(line)]))
    line.heard()


NAME = item(0x10, APPLICATION_CONTEXT)
ROLE_OF = struct.pack(">H", len(OPHTHALMIC_8_BIT)) + OPHTHALMIC_8_BIT.encode()
NEGOTIATIONS: dict[str, Script] = {
    "silent": lambda line: line.heard(),
    "hangs up": lambda line: line.hear(),
    "resets": lambda line: (line.hear(), line.reset()),
    "half closes": lambda line: (line.hear(), line.half_close(), line.heard()),
    "aborts": saying(pdu(ABORT, bytes(4))),
    "stalls in the answer": stall_in_the_answer,
    "hangs up in the answer": hang_up_in_the_answer,
    "drips the answer": lambda line: drip(line, ac(line)),
    "drips without end": lambda line: drip(line, b"\x02\x00\xff\xff\xff\xff" + bytes(600)),
    "four gigabytes": saying(b"\x02\x00\xff\xff\xff\xff" + bytes(100_000)),
    "accepts twice": twice,
    "speaks HTTP": saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "speaks TLS": saying(b"\x15\x03\x01\x00\x02\x02\x28"),
    "releases": saying(pdu(RELEASE_RQ, bytes(4))),
    "sends data": saying(p_data(1, 3, bytes(20))),
    "asks in turn": lambda line: line.send(pdu(1, line.hear()[1])),
    "an empty acceptance": saying(pdu(AC, b"")),
    "nothing in it": lying(lambda _contexts: b""),
    "no context": lying(lambda _contexts: NAME + user_information()),
    "no user information": lying(lambda contexts: NAME + contexts),
    "no maximum length": lying(lambda contexts: NAME + contexts + user_information(None)),
    "a maximum length of 6": lying(lambda contexts: NAME + contexts + user_information(6)),
    "a maximum length of 7": lying(lambda contexts: NAME + contexts + user_information(7)),
    "other contexts": lying(
        lambda _contexts: NAME + answered((n, 0, EXPLICIT) for n in (99, 2, 0)) + user_information()
    ),
    "another syntax": lying(lambda contexts: NAME + contexts.replace(b"1.2.840.10008.1.2", b"9.9.999.99999.9.9")),
    "items longer than the PDU": lying(lambda contexts: NAME + contexts + item(0x50, bytes(8), length=60_000)),
    "items inside items": lying(lambda contexts: NAME + item(0x21, contexts, length=4) + user_information()),
    "unknown items": lying(lambda contexts: NAME + contexts + item(0x77, bytes(9)) + user_information()),
    "roles nobody asked for": lying(
        lambda contexts: NAME + contexts + user_information(16384, item(0x54, b"\x00\x031.2\x00\x00"))
    ),
    "roles of the class that was asked for": lying(
        lambda contexts: (
            NAME + contexts + user_information(16384, *(item(0x54, ROLE_OF + roles) for roles in (b"\1\1", b"\0\1")))
        )
    ),
    "a maximum length of two bytes": lying(lambda contexts: NAME + contexts + item(0x50, item(0x51, b"\x40\x00"))),
    "rejects for no known reason": saying(pdu(RJ, b"\x00\x09\x09\x09")),
    "rejects in one byte": saying(pdu(RJ, b"\x00")),
}


@pytest.mark.parametrize("script", NEGOTIATIONS.values(), ids=NEGOTIATIONS)
def test_a_pacs_that_cannot_negotiate(script: Script, file: tuple[Path, Meta]) -> None:
    """Whatever it answers to a request for an association: there is a reason, in its time."""
    path, meta = file
    with (
        pacs(script) as port,
        pytest.raises((PacsUnreachable, PacsRefused, PacsBusy)) as caught,
        PeerAssociation(target(port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        association.store(path, meta)  # some are accepted, and are not answered
    assert caught.value.hint


def test_probes_of_them_all() -> None:
    """`oculard doctor` says of each what is wrong, or that nothing is."""

    def look(script: Script) -> bool:
        with pacs(script) as port:
            probed = probe(target(port))
        return probed.is_fine or bool(probed.reason and probed.hint)

    with ThreadPoolExecutor(len(NEGOTIATIONS)) as pool:
        assert all(pool.map(look, NEGOTIATIONS.values()))


def test_archives_that_cannot_negotiate(site: Site) -> None:
    """Back-fill calls others by the same rules: none of them is a surprise."""
    spooler = Spooler(site.vault, site.settings.store)
    here = {"name": "pacs", "host": "127.0.0.1", "called_ae": "PACS", "calling_ae": "OCULARD"}

    def ask(script: Script) -> str:
        try:
            with pacs(script) as port:
                line = ArchiveLine(port=port, connect_s=0.5, answer_s=0.5, **here)
                with ArchiveAssociation(line, Caller(spooler), FIND_CONTEXTS, within_s=2.0) as association:
                    list(association.find(Dataset(), FIND))
        except (ArchiveAway, ArchiveBusy, ArchiveRefused) as why:
            return why.reason
        return ""

    with ThreadPoolExecutor(len(NEGOTIATIONS)) as pool:
        assert all(pool.map(ask, NEGOTIATIONS.values()))


def contradiction(*_: object) -> None:
    raise KeyError("no such role")


def test_an_answer_that_pynetdicom_cannot_weigh_is_the_pacs_trouble(
    file: tuple[Path, Meta], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer that we know makes it raise in our own thread: should one do so, it costs that call and no more."""
    meta, ends = file[1], queue.SimpleQueue[list[int]]()
    monkeypatch.setattr(acse, "negotiate_as_requestor", contradiction)
    here = {"name": "pacs", "host": "127.0.0.1", "called_ae": "PACS", "calling_ae": "OCULARD"}
    caller = Caller(Spooler(site.vault, site.settings.store))
    with pacs(lambda line: (accept(line), ends.put(line.heard()))) as port:
        line = ArchiveLine(port=port, connect_s=5.0, answer_s=5.0, **here)
        with pytest.raises(PacsUnreachable) as caught:
            PeerAssociation(target(port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]).__enter__()
        assert caught.value.reason == "pacs-protocol"
        assert ends.get(timeout=20) == [ABORT], "the connection ends with it"
        with pytest.raises(ArchiveAway, match="no answer"):
            ArchiveAssociation(line, caller, FIND_CONTEXTS, within_s=2.0).__enter__()
        assert ends.get(timeout=20) == [ABORT]


def nothing(line: Line) -> None:
    accept(line)
    line.heard()


def asked_once(deed: Callable[[Line, bytes], object]) -> Script:
    """Accepts, hears one request, and does something else than to answer; it is given the honest answer."""

    def script(line: Line) -> None:
        accept(line)
        for asked in requests(line):
            deed(line, answer(asked))
            line.heard()
            return

    return script


def ceaseless(line: Line, words: bytes) -> None:
    """A command that has no end."""
    part = p_data(words[10], 1, bytes(16_000))
    for _ in itertools.count():
        line.send(part)


def chatters(line: Line) -> None:
    accept(line)
    wrong = [answer(asked, message_id=asked.message_id + 5) for asked in itertools.islice(requests(line), 1)]
    for _ in itertools.count():
        line.send(*wrong)


def renumbered(line: Line) -> None:
    accept(line)
    for asked in requests(line):
        line.send(answer(asked, message_id=asked.message_id + 1))


def of_another_kind(line: Line) -> None:
    accept(line)
    for asked in requests(line):
        line.send(answer(asked, field=ECHO_RSP))


ANSWERS: dict[str, Script] = {
    "nothing": nothing,
    "reads nothing": lambda line: (accept(line), threading.Event().wait(5)),
    "hangs up": asked_once(lambda line, _words: line.socket.close()),
    "resets": asked_once(lambda line, _words: line.reset()),
    "half closes": asked_once(lambda line, _words: line.half_close()),
    "aborts": asked_once(lambda line, _words: line.send(pdu(ABORT, bytes(4)))),
    "releases": asked_once(lambda line, _words: line.send(pdu(RELEASE_RQ, bytes(4)))),
    "stalls": asked_once(lambda line, words: line.send(words[:20])),
    "hangs up in the middle": asked_once(lambda line, words: (line.send(words[:20]), line.socket.close())),
    "drips": asked_once(drip),
    "drips fragments": asked_once(lambda line, words: [drip(line, p_data(words[10], 1, b"\0")) for _ in range(3)]),
    "drips without end": asked_once(lambda line, _words: drip(line, b"\x04\x00\x7f\xff\xff\xff" + bytes(600))),
    "two gigabytes": asked_once(lambda line, _words: line.send(b"\x04\x00\x7f\xff\xff\xff" + bytes(100_000))),
    "a command without end": asked_once(ceaseless),
    "chatters": chatters,
    "another number": renumbered,
    "another kind": of_another_kind,
    "another context": asked_once(lambda line, words: line.send(words[:10] + b"\xfd" + words[11:])),
    "no status": asked_once(lambda line, words: line.send(words.replace(struct.pack("<HH", 0, 0x0900), b"\0\0\1\x09"))),
    "no command": asked_once(lambda line, _words: line.send(p_data(1, 3, b""))),
    "a fragment too long": asked_once(lambda line, _words: line.send(pdu(P_DATA, struct.pack(">LBB", 99, 1, 3)))),
    "a request of its own": asked_once(lambda line, words: line.send(echo(2, context_id=words[10]))),
}


@pytest.mark.parametrize("script", ANSWERS.values(), ids=ANSWERS)
def test_a_pacs_that_does_not_answer(script: Script, file: tuple[Path, Meta]) -> None:
    """Whatever it does instead of an answer: the instance is not taken for sent, and nobody waits for ever."""
    path, meta = file
    with (
        pacs(script) as port,
        pytest.raises(PacsUnreachable) as caught,
        PeerAssociation(target(port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        association.store(path, meta)
    assert caught.value.reason in UNREACHABLE
    assert caught.value.hint


def test_an_answer_that_comes_twice_is_not_the_next_one(file: tuple[Path, Meta]) -> None:
    """Two answers to the first instance: the second, of which the PACS said nothing, is not taken for stored."""
    path, meta = file

    def script(line: Line) -> None:
        accept(line)
        waiting = requests(line)
        line.send(*(2 * [answer(next(waiting))]))
        next(waiting)
        line.heard()

    with (
        pacs(script) as port,
        PeerAssociation(target(port, answer_s=5.0), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        assert association.store(path, meta).is_taken
        with pytest.raises(PacsUnreachable):
            association.store(path, meta)


def test_a_pacs_that_drips_what_it_reads(tmp_path: Path) -> None:
    """It reads a little now and then: the association ends before the file does, and with it the connection."""
    path, read = tmp_path / "large.dcm", list[int]()
    path.write_bytes(part10(photograph(Rows=2048, Columns=2048, PixelData=bytes(3 * 2048 * 2048))))
    meta = read_meta(path)

    def script(line: Line) -> None:
        line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        accept(line)
        while part := line.socket.recv(20_000):
            read.append(len(part))
            threading.Event().wait(0.02)

    with (
        pacs(script) as port,
        pytest.raises(PacsUnreachable),
        PeerAssociation(target(port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        association.store(path, meta)
    assert sum(read) < path.stat().st_size


@pytest.mark.parametrize("last", [b"", pdu(RELEASE_RQ, bytes(4)), pdu(ABORT, bytes(4)), b"\xff" * 100])
def test_a_pacs_that_does_not_let_go(file: tuple[Path, Meta], last: bytes) -> None:
    """What was answered is taken, however it takes its leave."""
    path, meta = file

    def script(line: Line) -> None:
        accept(line)
        line.send(answer(next(requests(line))))
        line.hear()  # our request to be released
        line.send(last)
        line.heard()

    with (
        pacs(script) as port,
        PeerAssociation(target(port, answer_s=2.0), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        assert association.store(path, meta).is_taken


def test_memory_is_bounded(file: tuple[Path, Meta]) -> None:
    """A PACS that answers with gigabytes costs us some megabytes."""
    path, meta = file

    def script(line: Line) -> None:
        accept(line)
        next(requests(line))
        line.send(b"\x04\x00\x7f\xff\xff\xff")
        while True:
            line.send(bytes(1 << 20))

    before = resident()
    with (
        pacs(script) as port,
        pytest.raises(PacsUnreachable),
        PeerAssociation(target(port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association,
    ):
        association.store(path, meta)
    assert resident() - before < 64 << 20


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_honest_pacs(file: tuple[Path, Meta]) -> None:
    """The guards are no hindrance: a scripted PACS that behaves is probed and sent to."""
    path, meta = file
    with pacs(good) as port:
        assert probe(target(port, answer_s=20.0)).is_fine
        with PeerAssociation(
            target(port, answer_s=20.0), [(meta.sop_class_uid, meta.transfer_syntax_uid)]
        ) as association:
            assert all(association.store(path, meta).is_taken for _ in range(20))


def wired(connection: socket.socket | None = None) -> Any:
    """An association as far as the guards see it, with everything that pynetdicom would be told."""
    dimse_service = SimpleNamespace(message=None, msg_queue=queue.Queue(), get_msg=None, send_msg=None)
    dimse_service.receive_primitive = lambda primitive: primitive.then()
    dul = SimpleNamespace(event_queue=queue.Queue(), socket=SimpleNamespace(socket=connection))
    return SimpleNamespace(dimse=dimse_service, dul=dul)


def fragment(size_bytes: int, then: Callable[[], None] = lambda: None) -> Any:
    """A P-DATA, and what pynetdicom does with it."""
    return SimpleNamespace(presentation_data_value_list=[(1, bytes(size_bytes))], then=then)


def one_more_answer(association: Any) -> None:
    association.dimse.msg_queue.put((1, object()))


def unreadable() -> None:
    raise KeyError("what pydicom may raise")


def test_answers_have_bounds() -> None:
    """Too long, too many, or none: the association ends, whoever waits is told, and nothing more is kept."""
    for play in (
        lambda association: [fragment(1 << 20)] * 17,
        lambda association: [fragment(1, then=lambda: one_more_answer(association))] * 18,
        lambda association: [fragment(1, then=unreadable)],
    ):
        association = wired()
        dimse.keep_answers(association)
        parts = play(association)
        if len(parts) == 17:
            association.dimse.message = object()  # they belong to one
        for part in parts:
            assert association.dul.event_queue.empty(), "not too early"
            association.dimse.receive_primitive(part)
        assert association.dul.event_queue.get_nowait() == "Evt19"
        waiting = list(association.dimse.msg_queue.queue)
        assert waiting[-1] == (None, None)
        association.dimse.receive_primitive(fragment(1, then=lambda: pytest.fail("it is over")))


def test_a_pdu_has_its_time() -> None:
    """A byte now and then is not enough, though each comes in time."""
    ours, theirs = socket.socketpair()
    association, over = wired(ours), threading.Event()

    def dripping() -> None:
        while not over.wait(0.02):
            theirs.send(b"\0")

    dripper = threading.Thread(target=dripping)
    with ours, theirs:
        dripper.start()
        try:
            with pytest.raises(TimeoutError):
                dimse._read(association, 0.3, 1000)
        finally:
            over.set()
            dripper.join()
