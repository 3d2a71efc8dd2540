"""The server's door: who says nothing, talks something else or comes in crowds costs nobody else anything."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu_primitives import P_DATA

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, fragments, photograph, store
from oculard.errors import Misconfigured
from oculard.intake import wire
from oculard.intake.association import IntakeAssociation
from oculard.intake.door import HANDSHAKE_FAILURE, HELLO
from oculard.intake.receiver import MESSAGE_BYTES_MAX

CROWD = 50
VERIFICATION = "1.2.840.10008.1.1"


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.port), timeout=20)


def accepts(site: Site) -> bool:
    """Whether a device is let in and echoed."""
    with Device(site).association((VERIFICATION, [ExplicitVRLittleEndian])) as association:
        return bool(association.is_established and association.send_c_echo().Status == 0x0000)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes, without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_bare_connects_take_no_slot(site: Site) -> None:
    """A port scan, a health check of a load balancer: connect and close."""
    for _ in range(CROWD):
        connect(site).close()

    assert accepts(site)
    site.wait_until(lambda: not site.server._listener.waiting)


def test_silent_connections_take_no_slot_and_are_closed(make_site: Callable[..., Site]) -> None:
    """Who says nothing waits, and is sent away when its time is over."""
    site = make_site(intake={"first_bytes_s": 1.0})
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(site)) for _ in range(CROWD)]

        assert accepts(site)
        assert all(is_closed(connection) for connection in silent)


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x01\x00\xff\xff\xff\xff\x00\x01\x00\x00",
        b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x00",
    ],
    ids=["http", "tls", "huge request", "data before association"],
)
def test_other_protocols_are_closed_at_once(make_site: Callable[..., Site], words: bytes) -> None:
    """Only an A-ASSOCIATE-RQ of sane length is let in."""
    site = make_site(intake={"first_bytes_s": 60.0})
    with ExitStack() as stack:
        others = [stack.enter_context(connect(site)) for _ in range(CROWD)]
        for other in others:
            other.sendall(words)

        if words[0] == HELLO:
            assert all(other.recv(100) == HANDSHAKE_FAILURE for other in others), "TLS is told no in its own words"
        assert all(is_closed(other) for other in others)
        assert accepts(site)


def test_half_a_request_takes_no_slot(make_site: Callable[..., Site]) -> None:
    """A request that begins well and never ends holds nobody's place and is closed."""
    site = make_site(intake={"associations_max": 2, "network_s": 1.0, "acse_s": 1.0})
    with ExitStack() as stack:
        halves = [stack.enter_context(connect(site)) for _ in range(10)]
        for half in halves:
            half.sendall(b"\x01\x00" + struct.pack(">L", 500) + bytes(20))

        assert accepts(site)
        assert all(is_closed(half) for half in halves)


def test_a_pdu_that_never_ends_is_given_up(make_site: Callable[..., Site]) -> None:
    """A device that dies in the middle of a PDU does not keep its place for ever."""
    site = make_site(intake={"associations_max": 1, "network_s": 1.0})
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">L", 5000) + bytes(100))
        site.wait_idle()

        assert accepts(site)


def test_a_fragment_that_is_longer_than_its_pdu_is_aborted(site: Site) -> None:
    """Lengths that contradict each other are no P-DATA (PS3.8 9.3.5)."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association.dul.socket.socket.sendall(struct.pack(">BBLLBB", 4, 0, 20, 1000, 1, 1) + bytes(14))
        site.wait_until(lambda: association.is_aborted)
    site.wait_idle()
    assert accepts(site)


@pytest.mark.parametrize("nonsense", [b"\xff" * 6, struct.pack(">BBLLBB", 4, 0, 20, 1000, 1, 1)])
def test_nonsense_is_answered_with_one_abort(site: Site, nonsense: bytes) -> None:
    """What follows a broken PDU is read and thrown away: nobody is flooded with aborts, and nothing spins."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association.dul.kill_dul()  # from here on the socket is ours alone
        association.dul.join()
        connection: socket.socket = association.dul.socket.socket
        connection.settimeout(20)
        connection.sendall(nonsense + bytes(5000))
        answer = b""
        while part := connection.recv(4096):
            answer += part
        association.kill()
    assert (answer[0], len(answer)) == (7, 10)
    site.wait_idle()


@pytest.mark.parametrize("kind", [4, 5])
def test_a_pdu_of_absurd_length_is_aborted(site: Site, kind: int) -> None:
    """Nobody waits for two gigabytes, data or not."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association.dul.socket.socket.sendall(struct.pack(">BBL", kind, 0, 1 << 31))
        site.wait_until(lambda: association.is_aborted)
    site.wait_idle()
    assert accepts(site)


def test_a_command_inside_a_data_set_is_aborted(site: Site) -> None:
    """A message ends before the next one begins (PS3.7 annex E); nothing of it is kept."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        parts = fragments(association, bytes(40_000), sop_instance="1.2.3")
        for part in (*parts[:2], parts[0]):
            association.dul.send_pdu(part)
        site.wait_until(lambda: association.is_aborted)
    site.wait_idle()
    assert (site.rows(), site.spooled()) == ([], [])


def drip(connection: socket.socket) -> None:
    """Send a byte now and then, until the other side has closed; give up after a while."""
    for _ in range(100):
        connection.sendall(b"\0")
        threading.Event().wait(0.1)


def test_a_pdu_that_drips_is_given_up(make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps an association from being silent, and is no PDU in its time all the same."""
    said: list[str] = []
    for level in ("warning", "error"):
        monkeypatch.setattr(wire.logger, level, lambda _event, **more: said.append(more["reason"]))
    site = make_site(intake={"network_s": 1.0})
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        connection: socket.socket = association.dul.socket.socket
        connection.sendall(struct.pack(">BBLLBB", 4, 0, 100_000, 99_996, 1, 1))
        with pytest.raises(OSError, match=r"\w"):
            drip(connection)
    site.wait_idle()
    assert said == ["bad-message"], "said once, and nothing else went wrong"
    assert accepts(site)


def test_a_silent_association_is_aborted(make_site: Callable[..., Site]) -> None:
    """Who holds an association and says nothing loses it."""
    site = make_site(intake={"network_s": 1.0})
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        site.wait_idle()
        site.wait_until(lambda: association.is_aborted)


def test_connections_beyond_the_limit_take_the_place_of_the_longest(make_site: Callable[..., Site]) -> None:
    """There is only so much room to wait in: whoever has said nothing for longest leaves it to the newest."""
    site = make_site(intake={"connections_max": 5, "first_bytes_s": 60.0})
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(site)) for _ in range(5)]
        site.wait_until(lambda: len(site.server._listener.waiting) == 5)

        waiting += [stack.enter_context(connect(site)) for _ in range(2)]
        assert all(is_closed(connection) for connection in waiting[:2])
        assert accepts(site)
        for connection in waiting:
            connection.close()
        site.wait_until(lambda: not site.server._listener.waiting)


def test_associations_beyond_the_limit_are_rejected_for_now(make_site: Callable[..., Site]) -> None:
    """The next one is told that the limit is reached, and let in when somebody has left."""
    site = make_site(intake={"associations_max": 2})
    context = (VERIFICATION, [ExplicitVRLittleEndian])
    with ExitStack() as stack:
        _, _, third = (stack.enter_context(Device(site).association(context)) for _ in range(3))
        assert third.is_rejected
        answer = third.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    site.wait_idle()

    assert accepts(site)


def test_many_associations_leave_no_thread_and_no_file_open(site: Site) -> None:
    """A hundred visits leave the house as it was."""
    assert accepts(site)
    site.wait_idle()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    for _ in range(100):
        assert accepts(site)

    site.wait_idle()
    site.wait_until(lambda: threading.active_count() <= threads)
    site.wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files + 2)  # noqa: PTH208


def test_garbage_inside_an_association_hurts_nobody_else(site: Site) -> None:
    """An association that talks nonsense is aborted; the others and the server go on."""
    context = (OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])
    nonsense = [
        b"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x01\x03\xff\xff",
        b"\x04\x00\x00\x00\x00\x0e" + struct.pack(">L", 10) + b"\x01\x03" + b"\x00\x00\x00\x00\x04\x00\x00\x00",
        b"\x09\x00\x00\x00\x00\x04abcd",
        b"\x04\x00\x7f\xff\xff\xff" + bytes(100),
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x07\x02",
    ]
    with Device(site).association(context) as other:
        for words in nonsense:
            with Device(site).association(context) as association:
                association.dul.socket.socket.sendall(words)
                site.wait_until(lambda association=association: not association.is_established)
        ds = photograph()
        assert store(other, encode(ds), sop_instance=ds.SOPInstanceUID).Status == 0x0000


def test_a_message_without_end_is_aborted(site: Site) -> None:
    """What is no data set of a C-STORE is kept in memory, so there is a bound to it."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        for _ in range(MESSAGE_BYTES_MAX // 16000 + 1):
            part = P_DATA()
            part.presentation_data_value_list.append((1, b"\x01" + bytes(16000)))
            association.dul.send_pdu(part)
        site.wait_until(lambda: association.is_aborted)


def test_requests_that_do_not_wait_for_answers_wait_in_the_line(site: Site) -> None:
    """Nobody can heap up instances that nobody has looked at yet: the next is read when the last is answered."""
    most = 0
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        association._reactor_checkpoint.clear()  # its own thread must not take the answers
        for _ in range(100):
            for part in fragments(association, b"ab", sop_instance="1.2.3"):
                association.dul.send_pdu(part)
            most = max(most, len(site.spooled()))
        answers = [association.dimse.get_msg(block=True)[1].Status for _ in range(100)]
        association._reactor_checkpoint.set()
    assert answers == [0xC000] * 100
    assert most <= 1
    site.wait_idle()
    assert site.spooled() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the sender's own thread, cut off
def test_echoes_that_do_not_wait_for_answers_are_aborted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept in memory until it is served has a bound."""
    go = threading.Event()
    monkeypatch.setattr(IntakeAssociation, "_serve_request", lambda *_: go.wait(20))
    with Device(site).association((VERIFICATION, [ExplicitVRLittleEndian])) as association:
        for number in range(20):
            request, message = C_ECHO(), C_ECHO_RQ()
            request.MessageID, request.AffectedSOPClassUID = number + 1, UID(VERIFICATION)
            message.primitive_to_message(request)
            for part in message.encode_msg(1, 16382):
                association.dul.send_pdu(part)
        site.wait_until(lambda: association.is_aborted)
        go.set()
    site.wait_idle()


def test_a_request_that_cannot_be_answered_is_aborted(site: Site) -> None:
    """Without a message id there is no response."""
    with Device(site).association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        for part in fragments(association, encode(photograph()), sop_instance="1.2.3", message_id=None):
            association.dul.send_pdu(part)
        site.wait_until(lambda: association.is_aborted)


def test_128_contexts_are_negotiated(site: Site) -> None:
    """A device that proposes all there may be is answered in full."""
    private = [f"1.3.6.1.4.1.99999.{number}" for number in range(1, 129)]
    ae = Device(site).ae
    association = ae.associate(
        "127.0.0.1", site.port, [build_context(uid, [ExplicitVRLittleEndian]) for uid in private], ae_title="OCULARD"
    )
    assert len(association.accepted_contexts) == 128
    association.release()


def test_stopping_lets_no_one_in_and_ends_who_is_here(make_site: Callable[..., Site]) -> None:
    """A stop ends within its grace, whoever stays."""
    site = make_site()
    port = site.port
    with Device(site).association((VERIFICATION, [ExplicitVRLittleEndian])) as association:
        site.server.stop(grace_s=0.1)
        site.wait_until(lambda: not association.is_established)

    assert site.server._services.floor.here() == []
    with pytest.raises(OSError):  # noqa: PT011  any refusal will do
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_that_is_taken_is_said_so(site: Site, make_site: Callable[..., Site]) -> None:
    """Two programs on one port: the second says which and what to do."""
    with pytest.raises(Misconfigured, match=str(site.port)):
        make_site(intake={"port": site.port})
