"""Devices that stall, drip, hang up or lie, all at once: each is ended in its time, and an honest one is served."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from pdus import (
    ABORT,
    AC,
    APPLICATION_CONTEXT,
    CONTEXTS,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RJ,
    RQ,
    VERIFICATION,
    Line,
    answered,
    associate_ac,
    associate_rq,
    command,
    echo,
    element,
    item,
    negotiation,
    p_data,
    pdu,
    proposed,
    response,
    status_of,
    store_command,
    user_information,
)
from pydicom.uid import ExplicitVRLittleEndian

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, photograph, store
from oculard.intake import association, floor, server
from oculard.intake.connection import Connection

Deed = Callable[[Line], object]
PIXELS = encode(photograph())
NAME, WHOLE = item(0x10, APPLICATION_CONTEXT), user_information()
HTTP = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
STORE = store_command("1.2.3")


def says(*words: bytes) -> Deed:
    """Says this, and waits for what comes of it."""
    return lambda line: line.send(*words)


def inside(*words: bytes) -> Deed:
    """Says this in an association."""
    return lambda line: line.associate().send(*words)


def asking(variable: bytes) -> Deed:
    """Asks for an association by these items."""
    return says(negotiation(RQ, variable))


def drips(words: bytes, line: Line) -> None:
    """A byte now and then, as long as somebody listens."""
    with contextlib.suppress(OSError):
        for byte in words:
            line.send(bytes((byte,)))
            threading.Event().wait(0.05)


def drips_fragments(line: Line) -> None:
    """Whole PDUs that bring a data set forward by a byte each."""
    line.associate().send(STORE)
    with contextlib.suppress(OSError):
        while True:
            line.send(p_data(3, 0, b"\0"))
            threading.Event().wait(0.05)


def never_waits(line: Line) -> None:
    """Asks and asks, and takes no answer."""
    line.associate()
    with contextlib.suppress(OSError):
        for number in itertools.count(1):
            line.send(echo(number % 0xFFFF))


def stores_and_stores(line: Line) -> None:
    """One instance after another, without an ear for the answers."""
    for number in itertools.count(1):
        line.send(store_command("1.2.3", message_id=number % 0xFFFF), p_data(3, 2, b"none"))


def fill(line: Line) -> None:
    """So many P-DATA without anything in them."""
    line.associate().send(*(20_000 * [pdu(P_DATA, b"")]))
    line.send(echo())


def command_of(field: int, *more: bytes, data: bool = False) -> bytes:
    """A message of this kind about nothing much."""
    return p_data(1, 3, command(field, sop_class=VERIFICATION, more=more, data=data))


# What each does, and what it may be answered before it is alone: kinds of PDU, one set for each.
CLOSED, ABORTED, REJECTED = [set()], [{ABORT}], [{RJ}]
ENDED = [set(), {ABORT}]
DEEDS: dict[str, tuple[Deed, list[set[int]]]] = {
    "half a head": (says(b"\x01\x00\x00"), CLOSED),
    "HTTP": (says(HTTP), CLOSED),
    "half a request": (says(associate_rq()[:100]), ENDED),
    "drips a request": (partial(drips, associate_rq()), ENDED),
    "drips a head": (partial(drips, associate_rq()[:9]), CLOSED),
    "four gigabytes": (says(struct.pack(">BBLHH", RQ, 0, 0xFFFFFFFF, 1, 0)), CLOSED),
    "data at once": (says(p_data(1, 3, bytes(20))), CLOSED),
    "releases at once": (says(pdu(RELEASE_RQ, bytes(4)), bytes(10)), CLOSED),
    "an answer of its own": (says(associate_ac([(1, 0, IMPLICIT)])), CLOSED),
    # negotiations
    "an empty request": (asking(b""), [*ENDED, {RJ}]),
    "no context": (asking(NAME + WHOLE), [*ENDED, {AC, ABORT}, {AC}]),
    "no name": (asking(proposed(CONTEXTS) + WHOLE), [*ENDED, {RJ}]),
    "another name": (asking(item(0x10, b"1.2.3") + proposed(CONTEXTS) + WHOLE), [{AC, ABORT}, {RJ}]),
    "no user information": (asking(NAME + proposed(CONTEXTS)), [*ENDED, {AC, ABORT}]),
    "no maximum length": (asking(NAME + proposed(CONTEXTS) + user_information(None)), [*ENDED, {AC, ABORT}]),
    "128 contexts": (
        asking(NAME + proposed((2 * n + 1, f"1.2.{n}", EXPLICIT) for n in range(128)) + WHOLE),
        [{AC, ABORT}],
    ),
    "a thousand contexts": (
        asking(NAME + proposed((n % 128 * 2 + 1, f"1.2.{n}", EXPLICIT) for n in range(1000)) + WHOLE),
        [*ENDED, {AC, ABORT}],
    ),
    "even numbers": (asking(NAME + proposed((n, VERIFICATION, EXPLICIT) for n in (0, 2, 254)) + WHOLE), ENDED),
    "one number twice": (asking(NAME + 2 * proposed(CONTEXTS) + WHOLE), [*ENDED, {AC, ABORT}]),
    "items longer than the PDU": (asking(NAME + item(0x20, bytes(8), length=60_000)), ENDED),
    "items of no length": (asking(NAME + 500 * item(0x20, b"") + WHOLE), [*ENDED, {AC, ABORT}]),
    "items inside items": (asking(NAME + item(0x20, proposed(CONTEXTS), length=9) + WHOLE), [*ENDED, {AC, ABORT}]),
    "unknown items": (asking(NAME + proposed(CONTEXTS) + item(0x99, bytes(99)) + WHOLE), [*ENDED, {AC, ABORT}]),
    "results in a request": (asking(NAME + answered([(1, 0, IMPLICIT)]) + WHOLE), [*ENDED, {AC, ABORT}]),
    "a title of nothing": (says(associate_rq(calling="")), [*ENDED, {RJ}]),
    "a title of controls": (says(associate_rq(calling="\x00\n\x1b[2J\xff")), [*ENDED, {RJ}]),
    "a stranger": (says(associate_rq(calling="STRANGER")), REJECTED),
    "asks twice": (says(associate_rq(), associate_rq()), [{AC, ABORT}, {ABORT}]),
    # after it
    "says nothing": (inside(), ABORTED),
    "a head and no more": (inside(b"\x04\x00\x00"), ENDED),
    "half a fragment's head": (inside(struct.pack(">BBLH", P_DATA, 0, 100, 0)), ENDED),
    "half a command": (inside(STORE[:60]), ENDED),
    "half a data set": (inside(STORE, p_data(3, 0, PIXELS[:100])), ABORTED),
    "half a fragment": (inside(STORE, p_data(3, 2, PIXELS)[:-20]), ENDED),
    "drips fragments": (drips_fragments, ENDED),
    "drips a PDU": (lambda line: drips(STORE + p_data(3, 2, bytes(500)), line.associate()), ENDED),
    "asks and does not wait": (never_waits, [*ENDED, {P_DATA}, {P_DATA, ABORT}]),
    "two gigabytes": (inside(b"\x04\x00\x7f\xff\xff\xff" + bytes(1000)), ABORTED),
    "type 8": (inside(pdu(8, bytes(10))), ABORTED),
    "type 0": (inside(bytes(50)), ABORTED),
    "TLS inside": (inside(HELLO), ABORTED),
    "nothing in it": (fill, [{P_DATA, ABORT}]),
    "a fragment of no length": (inside(pdu(P_DATA, struct.pack(">L", 0))), [*ENDED, {P_DATA, ABORT}]),
    "a fragment of one byte": (inside(pdu(P_DATA, struct.pack(">LB", 1, 1))), ENDED),
    "a fragment longer than its PDU": (inside(pdu(P_DATA, struct.pack(">LBB", 999, 1, 3))), ABORTED),
    "a fragment of four gigabytes": (inside(pdu(P_DATA, struct.pack(">LBB", 0xFFFFFFFF, 1, 3))), ABORTED),
    "a context nobody agreed on": (inside(echo(context_id=77)), ABORTED),
    "a data set first": (inside(p_data(3, 2, PIXELS)), ENDED),
    "a command that is none": (inside(p_data(1, 3, b"\xff" * 100)), ENDED),
    "an empty command": (inside(p_data(1, 3, b"")), ENDED),
    "an unknown command": (inside(command_of(0x7777)), ENDED),
    "a question": (inside(command_of(0x0020, element(0x0110, b"\1\0"), data=True), p_data(1, 2, b"")), ENDED),
    "an answer to nothing": (inside(response(0x8001, 1, sop_class=VERIFICATION)), ENDED),
    "cancels nothing": (inside(command_of(0x0FFF, element(0x0120, b"\1\0"))), ABORTED),
    "a request without a number": (inside(command_of(0x0030)), ENDED),
    "a command inside a data set": (inside(STORE, p_data(3, 0, b"\0"), STORE), ABORTED),
    "an answer in the association": (inside(associate_ac([(1, 0, IMPLICIT)])), ABORTED),
    "a rejection in the association": (inside(pdu(RJ, b"\0\1\1\1")), ABORTED),
    "a release nobody asked for": (inside(pdu(RELEASE_RP, bytes(4))), ABORTED),
    "releases and stays": (inside(pdu(RELEASE_RQ, bytes(4))), [{RELEASE_RP}]),
    "releases and talks": (
        inside(pdu(RELEASE_RQ, bytes(4)), echo(), STORE),
        [{RELEASE_RP}, {RELEASE_RP, ABORT}, {ABORT}],
    ),
    "releases in a data set": (inside(STORE, p_data(3, 0, b"\0"), pdu(RELEASE_RQ, bytes(4))), [{RELEASE_RP}]),
    "aborts in two bytes": (inside(pdu(ABORT, b"\0\0")), ENDED),
}
AT: dict[str, list[bytes]] = {
    "asked": [],
    "in a command": [STORE[:50]],
    "before a data set": [STORE],
    "in a data set": [STORE, p_data(3, 0, PIXELS[:50])],
    "in a fragment": [STORE, p_data(3, 2, PIXELS)[:-30]],
    "before an answer": [echo()],
    "released": [pdu(RELEASE_RQ, bytes(4))],
}


def aborts(line: Line) -> None:
    line.send(pdu(ABORT, bytes(4)))


@pytest.fixture
def patient_site(make_site: Callable[..., Site]) -> Site:
    """An intake that has room for all of them, and little patience with any."""
    return make_site(
        intake={"associations_max": 200, "first_bytes_s": 2.0, "acse_s": 3.0, "network_s": 3.0, "dimse_s": 3.0}
    )


def does(site: Site, deed: Deed) -> set[int]:
    """Do it, and gather what is answered up to the end of the connection, which is the other side's."""
    with Line.to(site.port, receive_bytes=4096) as line:
        with contextlib.suppress(ConnectionError):
            deed(line)
        return set(line.heard()) if line.socket.fileno() >= 0 else set()


def an_honest_device_is_served(site: Site, *, times: int) -> None:
    """It stores what is stored, and is answered."""
    for _ in range(times):
        ds = photograph()
        with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as honest:
            assert honest.is_established
            assert store(honest, encode(ds), sop_instance=ds.SOPInstanceUID).Status == 0x0000


def test_every_hostile_device_at_once(patient_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is sent away with what may be expected; meanwhile an honest one is served; and nothing is left of them."""
    site, broken = patient_site, list[str]()
    monkeypatch.setattr(association.logger, "error", lambda event, **more: broken.append(f"{event} {more}"))
    an_honest_device_is_served(site, times=1)
    site.wait_idle()
    threads = threading.active_count()
    with ThreadPoolExecutor(len(DEEDS)) as pool:
        answers = {name: pool.submit(does, site, deed) for name, (deed, _) in DEEDS.items()}
        an_honest_device_is_served(site, times=5)

    heard = {name: answer.result() for name, answer in answers.items()}
    assert {name: kinds - {AC} for name, kinds in heard.items() if not _expected(name, kinds)} == {}
    assert broken == [], "none of them is unexpected"
    assert len(site.rows()) == 6, "the honest device's, and nothing else"
    site.wait_until(lambda: not site.server._listener.waiting and not site.spooled())
    site.wait_idle()
    site.wait_until(lambda: threading.active_count() <= threads)


def _expected(name: str, kinds: set[int]) -> bool:
    """Whether it may have been answered so; that it was accepted first says nothing."""
    return any(kinds - {AC} == allowed - {AC} for allowed in DEEDS[name][1])


@pytest.mark.parametrize("leaves", [aborts, Line.half_close, Line.reset], ids=["aborts", "half closes", "resets"])
def test_whoever_leaves_leaves_nothing(patient_site: Site, leaves: Callable[[Line], None]) -> None:
    """In every state of an association, by every way out; as soon as it is gone, its place and its spool are free."""
    site = patient_site

    def leave(words: list[bytes]) -> set[int]:
        def deed(line: Line) -> None:
            line.associate().send(*words)
            leaves(line)

        return does(site, deed)

    with ThreadPoolExecutor(len(AT)) as pool:
        answers = [pool.submit(leave, words) for words in AT.values()]
        an_honest_device_is_served(site, times=2)
    assert all(answer.result() <= {ABORT, P_DATA, RELEASE_RP} for answer in answers)
    site.wait_idle()
    site.wait_until(lambda: not site.spooled())
    assert len(site.rows()) == 2


def test_an_instance_that_is_whole_is_kept_though_its_device_has_left(site: Site) -> None:
    """It came to its end before the connection did: it is in custody, though nobody hears of it."""
    ds = photograph()
    with Line.to(site.port) as line:
        line.associate().send(store_command(ds.SOPInstanceUID), p_data(3, 2, encode(ds)))
        line.half_close()
        kind, answer = line.hear()
    assert (kind, status_of(answer)) == (P_DATA, 0)
    site.wait_idle()
    assert [row["sop_instance_uid"] for row in site.rows()] == [ds.SOPInstanceUID]


def test_a_device_that_never_reads_is_left(make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """Our answers find no room on its side: that has its time, and then its place is free."""

    class Narrow(Connection):
        """With little room for what we send."""

        def __init__(self, kept: object, client_socket: socket.socket, *, send_s: float) -> None:
            super().__init__(kept, client_socket, send_s=send_s)
            client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    monkeypatch.setattr(server, "Connection", Narrow)
    site = make_site(intake={"associations_max": 1, "network_s": 3.0})
    with Line.to(site.port, receive_bytes=2048) as line:
        line.associate()
        with pytest.raises(OSError, match=r"\w"):
            stores_and_stores(line)
        site.wait_idle()
        an_honest_device_is_served(site, times=1)


def test_a_crowd_that_says_nothing_keeps_nobody_out(make_site: Callable[..., Site]) -> None:
    """Twice as many connections as may wait, and none of them says a word: an honest device is served at once."""
    site = make_site(intake={"first_bytes_s": 60.0})
    with ExitStack() as stack:
        crowd = [stack.enter_context(Line.to(site.port)) for _ in range(2 * site.settings.intake.connections_max)]
        an_honest_device_is_served(site, times=3)
        half = len(crowd) // 2
        assert [line.heard() for line in crowd[:half]] == half * [[]], "who came first had to go"


def test_a_crowd_that_keeps_coming_keeps_nobody_out(make_site: Callable[..., Site]) -> None:
    """More and more come, each with half a request: an honest device gets through."""
    site, over = make_site(intake={"first_bytes_s": 60.0, "acse_s": 60.0, "connections_max": 100}), threading.Event()

    def come() -> None:
        crowd = deque[Line]()
        while not over.wait(0.05):
            crowd.append(Line.to(site.port))
            with contextlib.suppress(OSError):
                crowd[-1].send(associate_rq()[:50])
            if len(crowd) > site.settings.intake.connections_max:
                crowd.popleft().socket.close()
        for line in crowd:
            line.socket.close()

    with ThreadPoolExecutor(1) as pool:
        crowd = pool.submit(come)
        try:
            site.wait_until(lambda: len(site.server._listener.waiting) == site.settings.intake.connections_max)
            an_honest_device_is_served(site, times=5)
        finally:
            over.set()
        assert crowd.result() is None


def test_a_device_that_forgets_its_associations_keeps_nobody_out(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds every place and says nothing on any: another caller gets one of them, and it is told."""
    monkeypatch.setattr(floor, "GIVES_WAY_S", 0.2)
    site = make_site(intake={"associations_max": 3}, senders=[{"name": n, "ae_title": n.upper()} for n in ("a", "b")])
    with ExitStack() as stack:
        forgotten = [stack.enter_context(Line.to(site.port)).associate(calling="A") for _ in range(3)]
        full = stack.enter_context(Line.to(site.port))
        full.send(associate_rq(calling="A"))
        assert full.hear()[0] == RJ, "its own next one takes nothing from it"
        threading.Event().wait(0.3)
        forgotten[0].send(echo())
        assert forgotten[0].hear()[0] == P_DATA

        stack.enter_context(Line.to(site.port)).associate(calling="B").release()
        assert [line.hear()[0] for line in forgotten[1:2]] == [ABORT], "the one that was silent for longest"
        forgotten[0].release()
