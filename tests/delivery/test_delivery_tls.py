"""Peers that are called by TLS: both sides show certificates, and each way to be wrong has its reason."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from outbox import Outbox

from fakes import FakeClock
from oculard.delivery.echo import probe
from oculard.delivery.files import send_files
from oculard.delivery.practice_pacs import PracticePacs
from oculard.delivery.scu import Target
from oculard.settings import Peer, Settings
from peers import LOOPBACK, StoreScp, free_port, program, running
from report.report_samples import part10, photograph
from tls_samples import Authority, Pair, replace

Start = Callable[..., StoreScp]


@pytest.fixture
def pacs(authority: Authority, tmp_path: Path) -> Iterator[Start]:
    """Starts DCMTK's storescp with TLS."""
    with ExitStack() as stack:

        def start(pair: Pair | None = None, *more: str, trusted: Path | None = None) -> StoreScp:
            pair = pair or authority.pair("pacs.clinic.test")
            peer = StoreScp(ae_title="STORESCP", port=free_port(), folder=tmp_path / "storescp")
            peer.folder.mkdir(exist_ok=True)
            tls = [*pair.options, "+cf", str(trusted or authority.file), *more]
            arguments = [program("storescp"), *tls, "-aet", peer.ae_title, "+B", "+xa", "-od", str(peer.folder)]
            stack.enter_context(running([*arguments, str(peer.port)], peer.port))
            return peer

        yield start


def settings(authority: Authority, ours: Pair, to: int, **tls: Any) -> Settings:
    """One peer by TLS, called with our own certificate."""
    files = {"certificate": ours.certificate, "key": ours.key, "authorities": authority.file}
    peer = {"name": "pacs", "ae_title": "STORESCP", "host": LOOPBACK, "port": to, "tls": tls}
    delivery = {"connect_s": 2.0, "answer_s": 20.0}
    return Settings.model_validate({"intake": {"tls": files}, "peers": [peer], "delivery": delivery})


def target(authority: Authority, ours: Pair, to: int, **tls: Any) -> Target:
    found = settings(authority, ours, to, **tls)
    return Target.of(found.peers[0], found)


def test_reports_are_delivered_by_tls(pacs: Start, authority: Authority, ours: Pair, outbox: Outbox) -> None:
    """The whole way, bit for bit, with certificates on both sides."""
    peer = pacs()
    files = outbox.owe(3)

    outbox.sender_of(settings(authority, ours, peer.port)).step()

    assert outbox.states() == ["delivered"] * 3
    kept = [path.read_bytes() for path in peer.folder.iterdir()]
    assert len(kept) == 3
    assert all(any(one.endswith(data[-1000:]) for one in kept) for data in files)


def test_a_big_object_is_sent_by_tls(pacs: Start, authority: Authority, ours: Pair, tmp_path: Path) -> None:
    """Every byte of a volume arrives."""
    peer, file, pixels = pacs(), tmp_path / "big.dcm", bytes(range(256)) * 65_536
    image = photograph()
    image.Rows = image.Columns = 4096
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelData = 1, "MONOCHROME2", pixels
    file.write_bytes(part10(image))

    assert [one.reason for one in send_files(target(authority, ours, peer.port), [file])] == ["stored"]

    [kept] = peer.folder.iterdir()
    assert pixels in kept.read_bytes()


def test_a_peer_is_known_by_name_or_fingerprint(pacs: Start, authority: Authority, ours: Pair) -> None:
    """Its host's name, another name that it was given, or its very certificate; nothing else."""
    pair = authority.pair("pacs.clinic.test", address="192.0.2.1")
    port = pacs(pair).port

    def reason(**tls: Any) -> str:
        return probe(target(authority, ours, port, **tls)).reason

    assert reason(certificates=["pacs.clinic.test"]) == ""
    assert reason(certificates=["other.clinic.test", pair.fingerprint]) == ""
    assert reason() == "pacs-not-trusted", "its certificate does not name 127.0.0.1"
    assert reason(certificates=["other.clinic.test"]) == "pacs-not-trusted"
    assert reason(certificates=[ours.fingerprint]) == "pacs-not-trusted"
    assert reason(authorities=pair.certificate, certificates=[pair.fingerprint]) == "", "its own certificate is enough"


def test_a_stranger_is_not_believed(pacs: Start, authority: Authority, ours: Pair, tmp_path: Path) -> None:
    """Nothing is sent to whom nobody vouches for, nor to whose certificate has ended."""
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "Other Authority").pair("pacs.clinic.test")
    for pair in (stranger, authority.pair("pacs.clinic.test", days=-1)):
        probed = probe(target(authority, ours, pacs(pair).port))
        assert (probed.reason, bool(probed.hint)) == ("pacs-not-trusted", True)


@pytest.mark.parametrize("how", ["+py", "+px"])
def test_a_pacs_that_refuses_our_certificate(
    pacs: Start, authority: Authority, ours: Pair, tmp_path: Path, how: str
) -> None:
    """It is told apart from a PACS that is away, in TLS 1.3 too, where the refusal comes late."""
    (tmp_path / "other").mkdir()
    peer = pacs(None, how, trusted=Authority(tmp_path / "other", "Other Authority").file)

    assert probe(target(authority, ours, peer.port)).reason == "pacs-refuses-certificate"


def speaks(words: bytes) -> tuple[socket.socket, Callable[[], None]]:
    """Listens, and answers every connection with some words; gives the socket and what to run."""
    server = socket.create_server((LOOPBACK, 0))

    def run() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                if words:
                    connection.sendall(words)
                else:
                    connection.recv(65536)  # until the other side has had enough

    return server, run


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"\x03\x00\x00\x00\x00\x04\x00\x01\x01\x01", "pacs-speaks-no-tls"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "pacs-speaks-no-tls"),
        (b"", "pacs-speaks-no-tls"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "pacs-tls-failed"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "pacs-tls-failed"),
    ],
    ids=["dicom", "http", "silence", "handshake failure", "old version"],
)
def test_who_does_not_speak_our_tls(authority: Authority, ours: Pair, words: bytes, reason: str) -> None:
    """Whatever it says instead, it does not hold us up, and the reason says what to look at."""
    server, run = speaks(words)
    threading.Thread(target=run, daemon=True).start()

    probed = probe(target(authority, ours, int(server.getsockname()[1])))

    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert (probed.reason, bool(probed.hint)) == (reason, True)


def test_a_plain_pacs_is_not_called_by_tls(
    practice: Callable[..., PracticePacs], authority: Authority, ours: Pair
) -> None:
    """A PACS on its plain port: nothing is said to it in plain, whatever it answers."""
    pacs = practice()

    assert probe(target(authority, ours, pacs.port)).reason == "pacs-speaks-no-tls"


def test_a_tls_pacs_called_in_plain(pacs: Start, authority: Authority) -> None:
    """A setting is forgotten here: the hint speaks of TLS."""
    plain = Target(
        name="pacs", host=LOOPBACK, port=pacs().port, called_ae="STORESCP", calling_ae="OCULARD", connect_s=2
    )

    probed = probe(plain)

    assert probed.reason in ("pacs-aborted", "pacs-silent")
    assert "TLS" in probed.hint


def test_reports_wait_for_a_certificate(
    pacs: Start, authority: Authority, ours: Pair, outbox: Outbox, clock: FakeClock
) -> None:
    """Whatever is wrong with certificates, nothing is parked: reports go as soon as it is mended, without a restart."""
    port = pacs().port
    sender = outbox.sender_of(settings(authority, ours, port))
    key = ours.key.read_bytes()
    ours.key.unlink()
    outbox.owe(1)

    sender.step()
    assert [(row["state"], row["reason"]) for row in outbox.rows()] == [("pending", "certificate-unusable")]
    replace(ours.key, key)
    clock.pass_(3600)
    sender.step()
    assert outbox.states() == ["delivered"]

    replace(ours.key, b"half a key")
    outbox.owe(1)
    sender.step()
    assert outbox.states() == ["delivered"] * 2, "the pair that was good serves on"


def test_our_tls_is_by_bcp_195(authority: Authority, ours: Pair) -> None:
    """Whom we call is offered TLS 1.2 with elliptic curves and AES-GCM, and 1.3."""
    found = target(authority, ours, 1).tls
    assert found is not None
    context = found.credentials.context()
    old = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert old == {f"ECDHE-{a}-AES{b}" for a in ("RSA", "ECDSA") for b in ("128-GCM-SHA256", "256-GCM-SHA384")}
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_peers_are_as_they_are_configured() -> None:
    """Without TLS there is none."""
    peer = Peer(name="pacs", ae_title="PACS", host=LOOPBACK, port=104)
    assert Target.of(peer, Settings(peers=[peer])).tls is None
