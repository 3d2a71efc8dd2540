"""Who keeps a place and who has to go: the waiting room, the floor, and a message that hardly comes."""

from __future__ import annotations

import errno
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from pdus import AC, Line, associate_rq
from pynetdicom.transport import ThreadedAssociationServer

from devices import Site
from oculard.intake import floor
from oculard.intake import server as server_module
from oculard.intake.floor import BYTES_A_SECOND_MIN, GIVES_WAY_S, Floor, Progress
from oculard.intake.waiting_room import WaitingRoom

CROWD, CLINIC = "10.0.0.66", "10.0.0.1"


@pytest.fixture
def pair() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes connections: our end and theirs."""
    with ExitStack() as stack:

        def make() -> tuple[socket.socket, socket.socket]:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.settimeout(0.0)
            return ours, theirs

        yield make


def is_sent_away(theirs: socket.socket) -> bool:
    """Whether the other side was closed."""
    try:
        return theirs.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_address_with_the_most_pays(pair: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
    """A device that waits for a second keeps its place, though others came later."""
    room = WaitingRoom(4)
    ends = [pair() for _ in range(6)]
    gone = [room.enter(ours, address) for (ours, _), address in zip(ends, [CLINIC, *(5 * [CROWD])], strict=True)]

    assert gone == ["", "", "", "", CROWD, CROWD]
    assert [is_sent_away(theirs) for _, theirs in ends] == [False, True, True, False, False, False]
    assert len(room) == 4


def test_who_has_begun_to_speak_goes_last(pair: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
    """It may speak through another socket by then, which is still its own place."""
    room, (inside, _) = WaitingRoom(2), pair()
    ends = [pair() for _ in range(3)]
    for ours, _ in ends[:2]:
        room.enter(ours, CROWD)
    room.exchange(ends[0][0], inside)
    room.enter(ends[2][0], CROWD)

    assert [is_sent_away(theirs) for _, theirs in ends] == [False, True, False]
    room.leave(inside)
    room.leave(ends[2][0])
    assert len(room) == 0
    assert room.make_room() == "", "nobody is left to go"


@dataclass(eq=False)
class FakeGuest:
    """An association that has been silent for a while."""

    caller: str
    silent_s: float = 0.0
    is_gone: bool = False

    def give_way(self) -> None:
        self.is_gone = True


@pytest.mark.parametrize(
    ("here", "newcomer", "goes"),
    [
        ([("a", 99.0), ("a", 100.0), ("a", 98.0)], "b", 1),
        ([("a", 0.0), ("a", GIVES_WAY_S - 1), ("a", 0.0)], "b", None),
        ([("a", 99.0), ("a", 99.0), ("a", 99.0)], "a", None),
        ([("a", 99.0), ("a", 0.0), ("b", 99.0)], "b", None),
        ([("a", 99.0), ("a", 0.0), ("b", 99.0)], "c", 0),
        ([("a", 99.0), ("b", 99.0), ("c", 99.0)], "d", None),
    ],
    ids=["the longest", "all busy", "its own", "nearly as many", "fewer", "one each"],
)
def test_a_full_floor(here: list[tuple[str, float]], newcomer: str, goes: int | None) -> None:
    """Only who has two places more than the newcomer loses one, and only one that has long been silent."""
    whole = Floor[FakeGuest](3)
    guests = [FakeGuest(caller, silent_s) for caller, silent_s in here]
    assert all(whole.enter(guest) for guest in guests)

    assert whole.enter(FakeGuest(newcomer)) is (goes is not None)
    assert [number for number, guest in enumerate(guests) if guest.is_gone] == ([] if goes is None else [goes])
    assert len(whole.here()) == 3


def test_a_message_must_get_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same message a stretch of time later, and hardly more of it: it is stuck; any other is not."""
    now = 0.0
    monkeypatch.setattr(floor, "monotonic", lambda: now)
    progress, message, enough = Progress(10.0), object(), int(10 * BYTES_A_SECOND_MIN)
    steps = [(10, message, 5), (20, message, enough), (30, message, 5), (40, object(), 5), (50, None, 0), (60, None, 0)]
    said = []
    for now, under_way, count in steps:  # noqa: B007  the clock reads it
        progress.heard(count)
        said.append(progress.is_stuck(under_way))

    assert said == [False, False, True, False, False, False]
    assert progress.silent_s == 0.0


def test_file_handles_are_asked_for(make_site: Callable[..., Site]) -> None:
    """A soft limit below what the settings may need is raised, as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
        make_site(intake={"connections_max": 100})
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 4 * 100 + 8 * 25 + 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_speaks_is_not_sent_away_for_who_is_silent(make_site: Callable[..., Site]) -> None:
    """It came first and has begun to speak: the silent one behind it goes for the next."""
    site = make_site(intake={"connections_max": 2, "first_bytes_s": 60.0, "acse_s": 60.0})
    waiting = site.server._listener.waiting
    request = associate_rq()
    with Line.to(site.port) as speaks:
        site.wait_until(lambda: len(waiting) == 1)
        [first] = waiting._places
        with Line.to(site.port) as silent:
            site.wait_until(lambda: len(waiting) == 2)
            speaks.send(request[:50])
            site.wait_until(lambda: next(iter(waiting._places)) is not first)  # it goes last now
            with Line.to(site.port) as late:
                assert silent.heard() == [], "it had to go"
                speaks.send(request[50:])
                late.send(request)
                assert (speaks.hear()[0], late.hear()[0]) == (AC, AC)


@pytest.mark.parametrize(
    ("said", "goes"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.ENOMEM, True), (errno.ECONNABORTED, False)]
)
def test_who_waits_goes_only_where_there_is_no_file_handle(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, said: int, goes: bool
) -> None:
    """A connection that is gone before it is accepted costs nobody a place."""
    site = make_site(intake={"first_bytes_s": 60.0})
    listener = site.server._listener

    def fail(_: object) -> None:
        raise OSError(said, "as the system says it")

    with Line.to(site.port) as silent:
        site.wait_until(lambda: len(listener.waiting) == 1)
        with monkeypatch.context() as system:
            system.setattr(ThreadedAssociationServer, "get_request", fail)
            with pytest.raises(OSError, match="as the system says it"):
                listener.get_request()
        assert len(listener.waiting) == (0 if goes else 1)
        if goes:
            assert silent.heard() == []


def no_listing(_: str) -> list[str]:
    raise OSError(errno.EMFILE, "too many open files")


@pytest.mark.parametrize(
    ("listed", "most", "goes"),
    [
        (lambda _: ["0"] * 84, 100, False),
        (lambda _: ["0"] * 85, 100, True),
        (no_listing, 100, True),
        (lambda _: ["0"] * 85, resource.RLIM_INFINITY, False),
    ],
    ids=["enough", "one too few", "none to look with", "no limit"],
)
def test_who_waits_goes_where_file_handles_run_short(
    make_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
    listed: Callable[[str], list[str]],
    most: int,
    goes: bool,
) -> None:
    """Before the last one is taken: who is served needs some. The newcomer itself stays."""
    site = make_site(intake={"first_bytes_s": 60.0})
    waiting = site.server._listener.waiting
    with Line.to(site.port) as silent:
        site.wait_until(lambda: len(waiting) == 1)
        monkeypatch.setattr(server_module.resource, "getrlimit", lambda _: (most, most))
        monkeypatch.setattr(server_module.os, "listdir", listed)
        with Line.to(site.port) as line:
            line.associate().release()
        assert len(waiting) == (0 if goes else 1)
        if goes:
            assert silent.heard() == []


def test_who_cannot_wait_takes_the_place_of_who_does(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last file handle was its own: there is none to keep its place by, and the next one finds one."""
    site = make_site(intake={"first_bytes_s": 60.0})
    listener = site.server._listener

    def fail(_: object, __: str) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with Line.to(site.port) as silent:
        site.wait_until(lambda: len(listener.waiting) == 1)
        with monkeypatch.context() as system:
            system.setattr(listener.waiting, "enter", fail)
            with Line.to(site.port) as refused:
                assert refused.heard() == []
                assert silent.heard() == []
        with Line.to(site.port) as line:
            line.associate().release()
