"""TLS at the intake: who shows what is let in, who does not is told so, and nobody else is held up by it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from devices import OPHTHALMIC_8_BIT, Device, Site, encode, peer_program, photograph, store
from oculard import tls
from oculard.cli import people
from oculard.errors import OculardError
from oculard.intake import door, policy
from oculard.intake.contexts import COMMITMENT, COMMITMENT_INSTANCE
from oculard.tls import CallingTls, Credentials, Files, SecureCall, calling
from tls_samples import Authority, Pair, replace

LOOPBACK = "127.0.0.1"
VERIFICATION = ("1.2.840.10008.1.1", [ExplicitVRLittleEndian])
Said = list[dict[str, Any]]


@pytest.fixture
def theirs(authority: Authority) -> Pair:
    return authority.pair("device.clinic.test")


@pytest.fixture
def make_tls_site(make_site: Callable[..., Site], authority: Authority, ours: Pair) -> Callable[..., Site]:
    """Starts intakes with both ports."""

    def make(*, tls: dict[str, Any] | None = None, intake: dict[str, Any] | None = None, **sections: Any) -> Site:
        files = {"port": 0, "certificate": ours.certificate, "key": ours.key, "authorities": authority.file}
        return make_site(intake={"tls": files | (tls or {})} | (intake or {}), **sections)

    return make


@pytest.fixture
def site(make_tls_site: Callable[..., Site]) -> Site:
    return make_tls_site()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What the doors and the policy warned of."""
    found: Said = []
    for logger in (door.logger, policy.logger):
        monkeypatch.setattr(logger, "warning", lambda event, **more: found.append({"event": event, **more}))
    return found


def secure(authority: Authority, pair: Pair, *allowed: str) -> CallingTls:
    """How a device calls."""
    files = Files(authorities=authority.file, certificate=pair.certificate, key=pair.key)
    return CallingTls(credentials=Credentials(files, calling), allowed=allowed)


class TlsDevice(Device):
    """A device that calls the TLS port."""

    def __init__(self, site: Site, tls: CallingTls, **more: Any) -> None:
        super().__init__(site, **more)
        self._tls = tls

    def association(self, *contexts: tuple[str, list[str]], **more: Any) -> Any:
        tls = (SecureCall(self._tls), LOOPBACK)
        return super().association(*contexts, **{"port": self._site.server.tls_port, "tls_args": tls} | more)


@contextmanager
def in_pieces(to_port: int) -> Iterator[int]:
    """A way to a port on which whatever comes goes on in pieces of seven bytes, each in a segment of its own."""
    with socket.create_server((LOOPBACK, 0)) as server, ExitStack() as stack:

        def forward(source: socket.socket, target: socket.socket, size: int) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    for at in range(0, len(data), size):
                        target.sendall(data[at : at + size])
                target.shutdown(socket.SHUT_WR)

        def run() -> None:
            here = stack.enter_context(server.accept()[0])
            there = stack.enter_context(socket.create_connection((LOOPBACK, to_port)))
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=forward, args=(there, here, 65536), daemon=True).start()
            forward(here, there, 7)

        threading.Thread(target=run, daemon=True).start()
        yield int(server.getsockname()[1])


def dcmtk(name: str, site: Site, authority: Authority, pair: Pair | None, *more: str, port: int = 0) -> str:
    """Run one of DCMTK's tools; gives what it says, ending with its exit code."""
    tls = [] if pair is None else [*pair.options, "+cf", str(authority.file)]
    arguments = [peer_program(name), "-v", *tls, "-aet", "DEVICE", "-aec", "OCULARD"]
    arguments += [LOOPBACK, str(port or site.server.tls_port), *more]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    return f"{done.stdout}{done.stderr}\nexit {done.returncode}"


def test_dcmtk_echoes_by_tls(site: Site, authority: Authority, theirs: Pair) -> None:
    """Another's TLS is understood."""
    assert "exit 0" in dcmtk("echoscu", site, authority, theirs)


@pytest.mark.parametrize(
    ("version", "suite", "is_good"),
    [
        (ssl.TLSVersion.TLSv1_3, "ALL", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA", False),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
def test_only_what_bcp_195_asks_for_is_spoken(
    site: Site, authority: Authority, theirs: Pair, said: Said, version: ssl.TLSVersion, suite: str, is_good: bool
) -> None:
    """TLS 1.3, and 1.2 with elliptic curves and AES-GCM (RFC 8996, RFC 9325 4.2); all else is refused with a reason."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.set_ciphers(suite)
    with warnings.catch_warnings(action="ignore"):  # that the old versions are old
        context.minimum_version = context.maximum_version = version
    with socket.create_connection((LOOPBACK, site.server.tls_port)) as plain:
        try:
            context.wrap_socket(plain, server_hostname=LOOPBACK).close()
        except ssl.SSLError:
            site.wait_until(lambda: [one["reason"] for one in said] == ["tls-failed"])
            assert not is_good
        else:
            assert is_good


def test_dcmtk_stores_a_big_object_by_tls(site: Site, authority: Authority, theirs: Pair, tmp_path: Path) -> None:
    """The fast way works over TLS: every byte of a volume, and then some."""
    file, ds = tmp_path / "big.dcm", photograph(Rows=4096, Columns=4096, PixelData=bytes(range(256)) * (4096 * 16))
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(file, ds, enforce_file_format=True)

    words = dcmtk("storescu", site, authority, theirs, str(file))

    assert "exit 0" in words, words
    [row] = site.rows()
    assert site.stored_data_set(row).endswith(ds.PixelData)


@pytest.mark.parametrize("pdu", [4096, 131072])
def test_the_fast_way_is_the_way_over_tls(site: Site, authority: Authority, theirs: Pair, pdu: int) -> None:
    """Whatever the size of PDU and record, an object comes as the bytes that it is, many on one association."""
    device = TlsDevice(site, secure(authority, theirs), pdu=pdu)
    sent = [photograph(PixelData=bytes([number]) * 300_001 + b"\0") for number in range(8)]
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        for ds in sent:
            assert store(association, encode(ds), sop_instance=ds.SOPInstanceUID).Status == 0x0000

    assert [site.stored_data_set(row) for row in site.rows()] == [encode(ds) for ds in sent]


def test_eight_devices_store_at_once(site: Site, authority: Authority, theirs: Pair) -> None:
    """Threads do not meet in TLS."""
    tls, failed = secure(authority, theirs), []

    def send() -> None:
        ds = photograph(PixelData=bytes(500_000))
        if TlsDevice(site, tls).send_dataset(ds).get("Status") != 0x0000:
            failed.append(ds)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, len(site.rows())) == ([], 8)


def test_who_shows_no_certificate_is_refused(site: Site, authority: Authority, said: Said) -> None:
    """Authentication is mutual."""
    context = ssl.create_default_context(cafile=str(authority.file))
    plain = socket.create_connection((LOOPBACK, site.server.tls_port))
    with (
        context.wrap_socket(plain, server_hostname=LOOPBACK) as inside,
        pytest.raises(ssl.SSLError, match="CERTIFICATE"),
    ):
        inside.recv(1)

    site.wait_until(lambda: [one["reason"] for one in said] == ["tls-no-certificate"])


def test_a_stranger_s_certificate_is_refused(site: Site, authority: Authority, said: Said, tmp_path: Path) -> None:
    """Somebody else's authority may sign what it likes."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "Other Authority").pair("device.clinic.test")

    words = dcmtk("echoscu", site, authority, stranger)

    assert "exit 0" not in words
    site.wait_until(lambda: [one["reason"] for one in said] == ["tls-not-trusted"])
    assert said[0]["hint"]


def test_a_certificate_that_has_ended_is_refused(site: Site, authority: Authority, said: Said) -> None:
    """Nobody lives on an old certificate."""
    words = dcmtk("echoscu", site, authority, authority.pair("device.clinic.test", days=-1))

    assert "exit 0" not in words
    site.wait_until(lambda: [one["reason"] for one in said] == ["tls-not-trusted"])


def test_a_device_that_does_not_trust_us_is_told_apart(site: Site, theirs: Pair, said: Said, tmp_path: Path) -> None:
    """It hangs up on our certificate, and the log says who must change what."""
    (tmp_path / "other").mkdir()

    words = dcmtk("echoscu", site, Authority(tmp_path / "other", "Other Authority"), theirs)

    assert "exit 0" not in words
    site.wait_until(lambda: [one["reason"] for one in said] == ["tls-refuses-us"])


def test_a_withdrawn_certificate_is_refused(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair, said: Said
) -> None:
    """A list of revoked certificates beside the authority's own is heeded, as soon as it is there."""
    site, good = make_tls_site(), authority.pair("good.clinic.test")
    assert "exit 0" in dcmtk("echoscu", site, authority, theirs)

    own = authority.file.read_bytes()
    replace(authority.file, own + authority.revoke(theirs))

    assert "exit 0" not in dcmtk("echoscu", site, authority, theirs)
    site.wait_until(lambda: [one["reason"] for one in said] == ["tls-not-trusted"])
    assert "exit 0" in dcmtk("echoscu", site, authority, good)


def test_a_plain_device_on_the_tls_port_is_rejected(site: Site, authority: Authority, said: Said) -> None:
    """It hears a rejection in its own words; the log says what to do."""
    words = dcmtk("echoscu", site, authority, None)

    assert "Reject" in words, words
    [one] = said
    assert (one["reason"], one["address"]) == ("plain-on-tls-port", LOOPBACK)
    assert "[intake] port" in one["hint"]


def test_a_tls_device_on_the_plain_port_is_rejected(site: Site, authority: Authority, theirs: Pair, said: Said) -> None:
    """It hears an alert in its own words; the log says what to do."""
    words = dcmtk("echoscu", site, authority, theirs, port=site.port)

    assert "handshake failure" in words, words
    [one] = said
    assert (one["reason"], one["address"]) == ("tls-on-plain-port", LOOPBACK)
    assert "[intake.tls] port" in one["hint"]


def test_who_is_sent_away_is_heard_out(site: Site) -> None:
    """Closing on what was not read yet would take the answer back before it is heard."""
    with socket.create_connection((LOOPBACK, site.server.tls_port), timeout=20) as other:
        other.sendall(b"\x01\x00\x00\x00\x00\x44" + bytes(8 << 20))
        assert other.recv(100) == door.REJECTED
        assert other.recv(100) == b""


def test_a_flood_at_the_door_is_no_flood_in_the_log(site: Site, said: Said) -> None:
    """Who tries for ever is written down now and then."""
    for _ in range(60):
        with socket.create_connection((LOOPBACK, site.server.tls_port), timeout=20) as other:
            other.sendall(b"\x01\x00\x00\x00\x00\x44" + bytes(68))
            assert other.recv(100)[0] == 3
    assert 0 < len(said) < 60


@pytest.mark.parametrize("words", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_silent_and_slow_ones_hold_up_nobody(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair, words: bytes
) -> None:
    """The handshake is never in the accept loop, and it has its time."""
    site = make_tls_site(intake={"first_bytes_s": 2.0})
    device = TlsDevice(site, secure(authority, theirs))
    with ExitStack() as stack:
        others = [
            stack.enter_context(closing(socket.create_connection((LOOPBACK, site.server.tls_port)))) for _ in range(40)
        ]
        for other in others:
            other.sendall(words)

        with device.association(VERIFICATION) as association:
            assert association.send_c_echo().Status == 0x0000
        for other in others:
            other.settimeout(20)
            while other.recv(100):
                pass
    site.wait_until(lambda: not site.server._tls_listener.waiting)


def test_who_waits_at_one_port_makes_room_for_the_other(make_tls_site: Callable[..., Site]) -> None:
    """Places and file handles are the process's: a crowd at the TLS port takes none from the plain one."""
    site = make_tls_site(intake={"connections_max": 1, "first_bytes_s": 600.0})
    with closing(socket.create_connection((LOOPBACK, site.server.tls_port))) as silent:
        site.wait_until(lambda: len(site.server._tls_listener.waiting) == 1)
        with Device(site).association(VERIFICATION) as association:
            assert association.send_c_echo().Status == 0x0000
        silent.settimeout(20)
        assert silent.recv(1) == b""


def test_after_the_handshake_the_request_must_come(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair
) -> None:
    """A certificate is no right to sit at the door."""
    site = make_tls_site(intake={"first_bytes_s": 1.0})
    call = SecureCall(secure(authority, theirs))
    connection = socket.create_connection((LOOPBACK, site.server.tls_port), timeout=20)
    with call.wrap_socket(connection, server_side=False, server_hostname=LOOPBACK) as inside:
        inside.sendall(b"\x01\x00\x00")
        assert inside.recv(1) == b""
    site.wait_until(lambda: not site.server._tls_listener.waiting)


def test_half_a_record_keeps_nothing_waiting(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair
) -> None:
    """A record that never ends is a PDU that never ends: its association ends in its time."""
    site = make_tls_site(intake={"network_s": 1.0})
    device = TlsDevice(site, secure(authority, theirs))
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        raw: socket.socket = association.dul.socket.socket
        socket.socket.send(raw, b"\x17\x03\x03\x40\x00" + bytes(100))
        site.wait_idle()


def test_a_record_in_small_pieces_is_read(site: Site, authority: Authority, theirs: Pair) -> None:
    """TCP may cut where it likes."""
    with in_pieces(site.server.tls_port) as port:
        device = TlsDevice(site, secure(authority, theirs))
        with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian]), port=port) as association:
            ds = photograph(PixelData=bytes(60_000))
            assert store(association, encode(ds), sop_instance=ds.SOPInstanceUID).Status == 0x0000
    assert len(site.rows()) == 1


def test_broken_records_end_the_association(site: Site, authority: Authority, theirs: Pair) -> None:
    """Whoever meddles with the stream is found out, and nothing of it is kept."""
    device = TlsDevice(site, secure(authority, theirs))
    with device.association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        raw: socket.socket = association.dul.socket.socket
        socket.socket.send(raw, b"\x17\x03\x03\x00\x40" + bytes(64))
        site.wait_until(lambda: not association.is_established)
    site.wait_idle()
    assert (site.rows(), site.spooled()) == ([], [])


def test_a_title_may_be_bound_to_a_certificate(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair, said: Said
) -> None:
    """Only who shows the certificate of this device may bear its AE title, whoever else was given one by the clinic."""
    other = authority.pair("other.clinic.test")
    site = make_tls_site(
        senders=[
            {"name": "device", "ae_title": "DEVICE", "certificates": ["Device.clinic.test"]},
            {"name": "second", "ae_title": "SECOND", "certificates": [other.fingerprint]},
        ]
    )

    def is_let_in(device: Device) -> bool:
        with device.association(VERIFICATION) as association:
            return bool(association.is_established)

    assert is_let_in(TlsDevice(site, secure(authority, theirs)))
    assert is_let_in(TlsDevice(site, secure(authority, other), ae_title="SECOND"))
    assert said == []
    assert not is_let_in(TlsDevice(site, secure(authority, other)))
    assert not is_let_in(TlsDevice(site, secure(authority, theirs), ae_title="SECOND"))
    assert not is_let_in(Device(site)), "in plain nobody can prove anything"
    assert [one["reason"] for one in said] == ["certificate-unknown"] * 3
    assert [one["certificate"] for one in said] == [other.fingerprint, theirs.fingerprint, ""]
    refused = site.callers.list(state="refused")
    assert [caller.reason for caller in refused] == ["certificate-unknown"] * 2
    with pytest.raises(OculardError, match="does not prove") as why:
        people._meant(refused, "SECOND", "OCULARD")
    assert (why.value.reason, "certificates" in why.value.hint) == ("certificate-unknown", True)


def test_nobody_is_let_in_past_a_certificate(make_tls_site: Callable[..., Site], theirs: Pair) -> None:
    """Who was allowed by hand once does not get around the certificate that is asked for now."""
    site = make_tls_site()
    with Device(site, ae_title="NEW").association(VERIFICATION) as association:
        assert association.is_rejected
    [caller] = site.callers.list(state="refused")
    site.callers.allow(caller.id, actor="test")
    bound = make_tls_site(
        store={"folder": site.settings.store.folder},
        senders=[{"name": "new", "ae_title": "NEW", "certificates": ["new.clinic.test"]}],
    )

    with Device(bound, ae_title="NEW").association(VERIFICATION) as association:
        assert association.is_rejected


def test_commitment_answers_go_by_tls(make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair) -> None:
    """A device that asks by TLS is answered by TLS where it says so, and only if it is the device."""
    heard: list[str] = []

    def on_report(event: Any) -> tuple[int, None]:
        heard.append(event.event_information.TransactionUID)
        return 0x0000, None

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(theirs.certificate, theirs.key)
    ears = AE("DEVICE")
    ears.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, on_report)]
    server = ears.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers, ssl_context=context)
    sender = {
        "name": "device",
        "ae_title": "DEVICE",
        "certificates": ["device.clinic.test"],
        "commitment_port": server.server_address[1],
    }
    try:
        for certificates, hears in ((["other.clinic.test"], []), (["device.clinic.test"], ["1.2.3"])):
            site = make_tls_site(senders=[sender | {"commitment_tls": {"certificates": certificates}}])
            ds, item = Dataset(), Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = OPHTHALMIC_8_BIT, "1.2.3.4"
            ds.TransactionUID, ds.ReferencedSOPSequence = "1.2.3", [item]
            device = TlsDevice(site, secure(authority, theirs))
            with device.association((COMMITMENT, [ExplicitVRLittleEndian])) as association:
                assert association.send_n_action(ds, 1, COMMITMENT, COMMITMENT_INSTANCE)[0].Status == 0x0000
            assert site.role.step()
            assert heard == hears
    finally:
        server.shutdown()


def test_there_may_be_no_plain_port(make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair) -> None:
    """plain = false: everybody calls by TLS."""
    site = make_tls_site(tls={"plain": False})

    assert (site.port, site.server.tls_port > 0) == (0, True)
    assert "exit 0" in dcmtk("echoscu", site, authority, theirs)


def test_a_new_certificate_needs_no_restart(
    site: Site, authority: Authority, ours: Pair, theirs: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next to call sees the new one; a broken pair leaves the old one in force until it is mended."""
    failed: Said = []
    monkeypatch.setattr(tls.logger, "error", lambda event, **more: failed.append({"event": event, **more}))

    def shown() -> str:
        call = SecureCall(secure(authority, theirs))
        connection = socket.create_connection((LOOPBACK, site.server.tls_port), timeout=20)
        with call.wrap_socket(connection, server_side=False, server_hostname=LOOPBACK) as inside:
            assert inside.certificate is not None
            return inside.certificate.fingerprint

    first, device = ours.fingerprint, TlsDevice(site, secure(authority, theirs))
    with device.association(VERIFICATION) as running:
        assert shown() == first
        renewed = authority.pair("oculard.clinic.test")
        assert shown() == renewed.fingerprint != first
        old = ours.certificate.read_bytes()
        second = renewed.fingerprint

        replace(ours.key, b"-----BEGIN PRIVATE KEY-----\nhalf of it")
        assert [shown() for _ in range(3)] == [second] * 3
        assert [one["reason"] for one in failed] == ["certificate-unusable"], "said once for each change"
        third = authority.pair("oculard.clinic.test").fingerprint
        assert shown() == third
        replace(ours.certificate, old)
        assert shown() == third, "a certificate that is not the key's"
        ours.certificate.unlink()
        assert shown() == third
        assert len(failed) == 3
        assert running.send_c_echo().Status == 0x0000, "who is inside stays"


def test_a_bad_pair_at_the_start_leaves_the_plain_port(
    make_tls_site: Callable[..., Site], authority: Authority, ours: Pair, theirs: Pair, said: Said
) -> None:
    """Devices without TLS are served; the others are told no, and let in as soon as the pair is there."""
    ours.key.unlink()
    site = make_tls_site()

    assert Device(site).send_dataset(photograph()).Status == 0x0000
    assert "handshake failure" in dcmtk("echoscu", site, authority, theirs)
    assert [one["reason"] for one in said] == ["certificate-unusable"]
    authority.pair("oculard.clinic.test")
    assert "exit 0" in dcmtk("echoscu", site, authority, theirs)


def test_many_visits_leave_no_thread_and_no_file_open(site: Site, authority: Authority, theirs: Pair) -> None:
    """Who comes by TLS, well or badly, leaves the house as it was."""
    device = TlsDevice(site, secure(authority, theirs))

    def visit() -> None:
        with device.association(VERIFICATION) as association:
            assert association.send_c_echo().Status == 0x0000
        with socket.create_connection((LOOPBACK, site.server.tls_port)) as bad:
            bad.sendall(struct.pack(">BHH", 22, 0x0301, 4) + b"nope")

    visit()
    site.wait_idle()
    site.wait_until(lambda: not site.server._tls_listener.waiting)
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(30):
        visit()
    site.wait_idle()
    site.wait_until(lambda: threading.active_count() <= threads)
    site.wait_until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files + 2)


def test_a_stop_ends_who_is_here(make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair) -> None:
    """Both ports close, and a silent association over TLS does not hold up the stop."""
    site = make_tls_site()
    port = site.server.tls_port
    with TlsDevice(site, secure(authority, theirs)).association(VERIFICATION) as association:
        site.server.stop(grace_s=0.1)
        site.wait_until(lambda: not association.is_established)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port), timeout=5)


def test_the_connection_is_closed_as_tls_wants_it(site: Site, authority: Authority, theirs: Pair) -> None:
    """Our end is said to be the end (RFC 8446 6.1): nobody takes it for a connection that was cut."""
    device = TlsDevice(site, secure(authority, theirs))
    with device.association(VERIFICATION) as association:
        association.dul.kill_dul()  # from here on the socket is ours alone
        association.dul.join()
        connection = association.dul.socket.socket
        connection.suppress_ragged_eofs = False
        connection.settimeout(20)
        connection.sendall(b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        while connection.recv(4096):
            pass
        association.kill()


def test_a_certificate_for_one_thing_is_none_for_another(
    make_tls_site: Callable[..., Site], authority: Authority, theirs: Pair
) -> None:
    """A title that is a peer and a sender: who proves to be the peer alone may not store, whoever once let it in."""
    first = make_tls_site(senders=[])
    with Device(first, ae_title="PACS").association(VERIFICATION) as association:
        assert association.is_rejected
    [caller] = first.callers.list(state="refused")
    first.callers.allow(caller.id, actor="test")
    site = make_tls_site(
        store={"folder": first.settings.store.folder},
        senders=[{"name": "pacs", "ae_title": "PACS", "certificates": ["pacs.clinic.test"]}],
        peers=[{"name": "pacs", "ae_title": "PACS", "host": LOOPBACK, "port": 1}],
    )

    with Device(site, ae_title="PACS").association((OPHTHALMIC_8_BIT, [ExplicitVRLittleEndian])) as association:
        assert not association.accepted_contexts
