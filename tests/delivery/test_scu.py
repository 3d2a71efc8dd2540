"""One association: how it is refused, how it breaks, and that no peer can hold us up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_ECHO

from oculard.delivery.echo import probe
from oculard.delivery.part10 import read_meta
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import COMMITMENT, VERIFICATION, PeerAssociation, Target
from oculard.delivery.statuses import PacsRefused, PacsUnreachable
from peers import StoreScp, free_port
from report.report_samples import part10, photograph

Start = Callable[..., PracticePacs]


def target(to: int, /, **changes: object) -> Target:
    """A peer on loopback that is given little time."""
    here = Target(name="pacs", host="127.0.0.1", port=to, called_ae="PRACTICE", calling_ae="OCULARD")
    return replace(here, **({"connect_s": 1.0, "answer_s": 1.0} | changes))  # type: ignore[arg-type]  # fields of it


@pytest.fixture
def stubborn() -> Callable[..., int]:
    """Listens and does one thing with each connection; gives the port."""
    servers = []

    def listen(behave: Callable[[socket.socket], None]) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                behave(connection)

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield listen
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_probe_of_a_good_pacs(practice: Start):
    """A probe finds every class, commitment and the round trip, and leaves nothing behind."""
    pacs = practice()

    probed = probe(target(pacs.port))

    assert probed.is_fine
    assert probed.commitment
    assert len(probed.reports) == 6
    assert probed.echo_s is not None
    assert probed.associate_s is not None
    assert pacs.received == []


def test_a_probe_tells_what_a_pacs_lacks(practice: Start):
    """A PACS with one old class and without commitment is told apart from a good one."""
    refused = {f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (22, 34)} | {COMMITMENT[0]}
    pacs = practice(refused_classes=frozenset(refused))

    probed = probe(target(pacs.port))

    assert {uid for uid, _ in probed.reports} == {ComprehensiveSRStorage}
    assert not probed.commitment
    assert probed.is_fine


def test_a_probe_of_a_pacs_without_reports(practice: Start):
    """A PACS that takes no SR at all is not fine, though it answers."""
    refused = {f"1.2.840.10008.5.1.4.1.1.88.{n}" for n in (22, 33, 34)}
    pacs = practice(refused_classes=frozenset(refused))

    probed = probe(target(pacs.port))

    assert probed.reason == "pacs-accepts-no-class"
    assert probed.echo_s is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"called_ae": "WRONG"}, "pacs-called-ae-unknown"),
        ({"calling_ae": "WRONG"}, "pacs-calling-ae-unknown"),
        ({"port": 1}, "pacs-connection-refused"),
        ({"host": "no-such-host.invalid"}, "pacs-name-unknown"),
        ({"host": "pacs..clinic.local"}, "pacs-name-unknown"),
        ({"host": f"{'p' * 64}.local"}, "pacs-name-unknown"),
    ],
)
def test_a_probe_says_what_is_wrong(practice: Start, changes: dict[str, object], reason: str):
    """Each way to be wrong has its own reason and a hint."""
    pacs = practice(callers=("OCULARD",))

    probed = probe(target(pacs.port, **changes))

    assert probed.reason == reason
    assert probed.hint


def test_a_listener_that_says_nothing(stubborn: Callable[..., int]):
    """Something that takes connections and never answers is not waited for."""
    open_ones = []

    probed = probe(target(stubborn(open_ones.append)))

    assert probed.reason == "pacs-silent"


def test_a_listener_that_hangs_up(stubborn: Callable[..., int]):
    """Something that hangs up at once is named."""
    probed = probe(target(stubborn(socket.socket.close)))

    assert probed.reason == "pacs-aborted"


def test_a_listener_that_speaks_something_else(stubborn: Callable[..., int]):
    """A web server on the port is named as no PACS."""

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()

    probed = probe(target(stubborn(behave)))

    assert probed.reason in ("pacs-aborted", "pacs-silent")


def test_no_context_at_all_is_a_refusal(practice: Start):
    """An association on which nothing is accepted is refused for good."""
    pacs = practice(refused_classes=frozenset({ComprehensiveSRStorage}))

    with (
        pytest.raises(PacsRefused) as caught,
        PeerAssociation(target(pacs.port), [(ComprehensiveSRStorage, ExplicitVRLittleEndian)]),
    ):
        pass

    assert caught.value.reason == "pacs-accepts-no-class"


def test_small_messages_are_not_held_back(practice: Start):
    """The socket has TCP_NODELAY, and a limit on how long it may block."""
    pacs = practice()

    with PeerAssociation(target(pacs.port, connect_s=10.0), [VERIFICATION]) as association:
        connection = association._assoc.dul.socket.socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.gettimeout() == 1.0


def test_an_answer_is_for_whoever_asked(practice: Start):
    """The thread that runs beside an association takes no answer from the queue; a request does."""
    pacs = practice()
    asked = C_ECHO()
    asked.MessageID, asked.AffectedSOPClassUID = 7, VERIFICATION[0]

    with PeerAssociation(target(pacs.port, connect_s=10.0), [VERIFICATION]) as association:
        dimse = association._assoc.dimse
        dimse.send_msg(asked, 1)
        while dimse.msg_queue.empty():
            assert dimse.get_msg(block=False) == (None, None)
        _, answer = dimse.get_msg(block=True)
        assert (answer.MessageIDBeingRespondedTo, answer.Status) == (7, 0)


def test_a_peer_that_stops_reading_is_left(practice: Start, tmp_path: Path):
    """A peer that neither reads nor answers holds us up no longer than it may take to answer."""
    pacs = practice()
    file = tmp_path / "large.dcm"
    file.write_bytes(part10(photograph(Rows=4096, Columns=4096, PixelData=bytes(3 * 4096 * 4096))))
    meta = read_meta(file)
    relay = _Relay(pacs.port)

    with PeerAssociation(target(relay.port), [(meta.sop_class_uid, meta.transfer_syntax_uid)]) as association:
        relay.stop()
        with pytest.raises(PacsUnreachable) as caught:
            association.store(file, meta)

    assert caught.value.reason in ("pacs-no-answer", "association-lost")


def test_an_association_ends_its_threads(practice: Start):
    """Released, rejected and failed associations leave no thread behind."""
    pacs = practice()
    before = set(threading.enumerate())

    for changes in ({}, {"called_ae": "WRONG"}, {"port": free_port()}):
        probe(target(pacs.port, **changes))

    left = [one for one in set(threading.enumerate()) - before if "Acceptor" not in one.name and one.is_alive()]
    for one in left:
        one.join(5)
    assert not [one for one in left if one.is_alive()]


def test_storescp_is_probed(storescp: StoreScp):
    """DCMTK's storescp takes all three classes and knows no commitment."""
    probed = probe(target(storescp.port, called_ae=storescp.ae_title, connect_s=10.0, answer_s=10.0))

    assert probed.is_fine
    assert len({uid for uid, _ in probed.reports}) == 3
    assert not probed.commitment


class _Relay:
    """Carries bytes to a port both ways, until it stops without hanging up."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._serve, args=(port,), daemon=True).start()

    def stop(self) -> None:
        """Read nothing any more."""
        self._stopped.set()

    def _serve(self, port: int) -> None:
        self._here, _ = self._server.accept()
        self._there = socket.create_connection(("127.0.0.1", port))
        for ends in ((self._here, self._there), (self._there, self._here)):
            threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(4096):
            if self._stopped.is_set():
                threading.Event().wait()
            sink.sendall(data)
