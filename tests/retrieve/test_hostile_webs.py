"""Web archives that misbehave: wrong statuses, lists without end or in pieces, parts that do not hold together."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from archived import study, taking
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from provider import GOOD, Asked, Page, browsed, pages, raw_web, web

from devices import Site
from oculard.errors import Misconfigured, OculardError
from oculard.retrieve import dicomweb
from oculard.retrieve.archive import (
    ArchiveAway,
    ArchiveBusy,
    ArchiveNotTrusted,
    ArchiveRefused,
    ArchiveSilent,
    Days,
    Stopping,
    StudyFailed,
    TooManyMatches,
)
from oculard.retrieve.multipart import BadMultipart, Parts
from oculard.store.spool import Spooler
from oculard.store.vault import DiskFull

DAY = Days(first=date(2026, 11, 20), last=date(2026, 11, 20))
JSON = "application/dicom+json"
STUDY = '{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00080020":{"vr":"DA","Value":["20261120"]}}'
RELATED = 'multipart/related; type="application/dicom"; boundary=edge'


def parts(*bodies: bytes, ends: bool = True) -> bytes:
    """A multipart answer."""
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + body + b"\r\n" for body in bodies) + (b"--edge--\r\n" if ends else b"")


@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        (200, JSON, b"<html>", StudyFailed),
        (200, JSON, b'{"a": 1}', StudyFailed),
        (200, JSON, b"[" * 100_000, StudyFailed),
        (302, JSON, b"", ArchiveRefused),
        (401, JSON, b"", ArchiveRefused),
        (400, JSON, b"", ArchiveRefused),
        (404, JSON, b"", ArchiveAway),
        (410, JSON, b"", ArchiveAway),
        (500, JSON, b"", StudyFailed),
        (502, JSON, b"", ArchiveAway),
        (503, JSON, b"", ArchiveBusy),
        (504, JSON, b"", ArchiveAway),
    ],
)
def test_a_web_archive_that_answers_wrongly(
    here: Site, status: int, kind: str, body: bytes, error: type[Exception]
) -> None:
    """Each has its meaning; no redirection is followed."""
    with web(pages({"/web/studies": Page(status=status, kind=kind, body=body)})) as port, pytest.raises(error):
        browsed(here, port).find_studies(DAY, ())


def test_a_web_archive_that_pads_its_list(here: Site) -> None:
    """What is no match is left out, and what names another day is a remark."""
    other = STUDY.replace("20261120", "20250101")
    no_uids = ["{}", '{"0020000D": 4}', '{"0020000D":{"Value":[{}]}}', STUDY.replace("1.2.3", "1.2.3\\n")]
    body = f"[{','.join([STUDY, '3', 'null', *no_uids, other])}]".encode()
    with web(pages({"/web/studies": Page(body=body)})) as port:
        archive = browsed(here, port)
        assert [one.study_instance_uid for one in archive.find_studies(DAY, ())] == [GOOD]

    assert archive.remarks == {"match-unreadable": 2, "match-without-uid": 4, "match-of-another-day": 1}


def test_a_web_archive_that_ignores_pages(here: Site) -> None:
    """The same full page for ever does not end in a loop."""
    body = f"[{','.join([STUDY] * 200)}]".encode()
    with web(lambda _: Page(body=body)) as port:
        assert len(browsed(here, port).find_studies(DAY, ())) == 1


@pytest.mark.parametrize(
    ("kind", "body", "came"),
    [
        ("application/dicom", b"DICM", 0),
        ("multipart/related", b"x", 0),
        (RELATED.replace("application/dicom", "text/html"), parts(study(1).files[0]), 0),
        (RELATED.replace("edge", "e" * 300), b"", 0),
        (RELATED, b"nothing of the sort", 0),
        (RELATED, b"", 0),
        (RELATED, parts(*study(1).files[:2], ends=False), 1),
    ],
)
def test_a_web_archive_whose_parts_do_not_hold_together(here: Site, kind: str, body: bytes, came: int) -> None:
    """What came whole is in custody, the study is tried again, and the spool is empty."""
    with web(pages({"/web/studies/1.2.3": Page(kind=kind, body=body)})) as port, pytest.raises(StudyFailed):
        browsed(here, port).retrieve(GOOD, taking(here))

    assert len(here.rows()) == came
    assert not list(here.vault.spool.iterdir())


def test_a_part_that_is_no_instance_is_refused(here: Site) -> None:
    """The others are taken."""
    body = parts(b"MZ this is no DICOM", study(1).files[0])
    with web(pages({"/web/studies/1.2.3": Page(kind=RELATED, body=body)})) as port:
        archive = browsed(here, port)
        said = archive.retrieve(GOOD, taking(here))

    assert (said.completed, said.failed, said.reason) == (1, 1, "instances-refused")
    assert archive.remarks == {"not-dicom": 1}


def test_a_web_archive_that_never_ends_is_larger_than_we_take(here: Site) -> None:
    """The limit is on what comes, not on what was announced."""
    whole = Parts("edge", Spooler(here.vault, here.settings.store), lambda _: None, bytes_max=100)
    whole.feed(b"--edge\r\n\r\n" + b"x" * 60)
    with pytest.raises(BadMultipart, match="larger"):
        whole.feed(b"x" * 60)
    whole.discard()
    assert not here.spooled()


def test_nothing_compressed_is_asked_for(here: Site) -> None:
    """A small answer must not become a large one in memory."""
    asked: list[Asked] = []
    with web(lambda one: asked.append(one) or Page(body=b"[]")) as port:
        assert browsed(here, port).find_studies(DAY, ()) == []
    assert [one.headers["Accept-Encoding"] for one in asked] == ["identity"]


def test_no_redirection_is_followed(here: Site) -> None:
    """Whoever sends us elsewhere is not the archive of the configuration."""
    answers = {
        "/web/studies": Page(status=307, headers=(("Location", "/elsewhere"),)),
        "/elsewhere": Page(body=listed("1.2.3")),
    }
    with web(pages(answers)) as port, pytest.raises(ArchiveRefused):
        browsed(here, port).find_studies(DAY, ())


def listed(*uids: str) -> bytes:
    """A list of studies."""
    return f"[{','.join(STUDY.replace('1.2.3', uid) for uid in uids)}]".encode()


def test_a_web_archive_that_gives_short_pages(here: Site) -> None:
    """It gives three at a time, whatever we ask for: none of seven is lost."""
    uids = [f"1.2.{number}" for number in range(1, 8)]

    def answer(asked: Asked) -> Page:
        offset = int(asked.query["offset"])
        return Page(body=listed(*uids[offset : offset + 3])) if uids[offset:] else Page(status=204)

    with web(answer) as port:
        assert [one.study_instance_uid for one in browsed(here, port).find_studies(DAY, ())] == uids


def test_a_web_archive_without_end_is_asked_no_more(here: Site) -> None:
    """More matches than may be."""
    numbers = iter(range(1, 1_000_000))
    with web(lambda _: Page(body=listed(f"1.2.{next(numbers)}"))) as port, pytest.raises(TooManyMatches):
        browsed(here, port, matches_max=10).find_studies(DAY, ())


def test_a_web_archive_that_does_not_say_modalities_is_asked_for_its_series(here: Site) -> None:
    """It ignores ModalitiesInStudy in question and answer."""
    series = '[{"0020000E":{"Value":["1.2.3.1"]},"00080060":{"Value":["%s"]}}]'
    answers = {
        "/web/studies": Page(body=listed("1.2.3", "1.2.4")),
        "/web/studies/1.2.3/series": Page(body=(series % "OP").encode()),
        "/web/studies/1.2.4/series": Page(body=(series % "US").encode()),
    }
    with web(pages(answers)) as port:
        assert [one.study_instance_uid for one in browsed(here, port).find_studies(DAY, ("OP",))] == [GOOD]


def test_a_study_that_vanishes_while_a_web_archive_is_asked(here: Site) -> None:
    """The others of its day are found."""
    series = '[{"0020000E":{"Value":["1.2.3.1"]},"00080060":{"Value":["OP"]}}]'
    answers = {
        "/web/studies": Page(body=listed("1.2.4", GOOD)),
        "/web/studies/1.2.3/series": Page(body=series.encode()),
    }
    with web(pages(answers)) as port:
        assert [one.study_instance_uid for one in browsed(here, port).find_studies(DAY, ("OP",))] == [GOOD]


def test_modalities_of_a_web_archive_that_cannot_be(here: Site) -> None:
    """None is longer than 16 characters: it is left out, and is a remark."""
    named = STUDY.removesuffix("}") + ',"00080061":{"Value":["OP","%s"]}}' % ("X" * 17)
    with web(pages({"/web/studies": Page(body=f"[{named}]".encode())})) as port:
        archive = browsed(here, port)
        assert [one.modalities for one in archive.find_studies(DAY, ())] == [("OP",)]
    assert archive.remarks == {"modality-not-believed": 1}


def test_a_page_of_a_web_archive_that_is_too_large(here: Site) -> None:
    """What a page of matches needs is a fraction of it; the day is asked for in parts."""
    with web(pages({"/web/studies": Page(body=b"[" + b" " * (5 << 20) + b"]")})) as port, pytest.raises(TooManyMatches):
        browsed(here, port).find_studies(DAY, ())


@pytest.mark.parametrize("status", [404, 410])
def test_a_study_that_is_gone_from_a_web_archive(here: Site, status: int) -> None:
    """It has no series; fetched all the same, it fails."""
    with web(lambda _: Page(status=status)) as port:
        archive = browsed(here, port)
        assert archive.count_series(GOOD) == {}
        with pytest.raises(StudyFailed):
            archive.retrieve(GOOD, taking(here))


@pytest.mark.parametrize("count", ["0", "-1", f'"{"9" * 5000}"', "1e3", "{}", '"many"'])
def test_a_count_of_a_web_archive_that_cannot_be_believed(here: Site, count: str) -> None:
    """The instances are counted one by one; those of other series and the doubled ones do not count."""
    series = '[{"0020000E":{"Value":["1.2.3.1"]},"00201209":{"Value":[COUNT]}}]'.replace("COUNT", count)
    instance = '{"0020000E":{"Value":["1.2.3.%d"]},"00080018":{"Value":["1.2.3.1.%d"]}}'
    instances = ",".join(instance % one for one in ((1, 1), (1, 2), (1, 2), (9, 3)))
    answers = {
        "/web/studies/1.2.3/series": Page(body=series.encode()),
        "/web/studies/1.2.3/series/1.2.3.1/instances": Page(body=f"[{instances}]".encode()),
    }
    with web(pages(answers)) as port:
        assert browsed(here, port).count_series(GOOD) == {"1.2.3.1": 2}


@pytest.mark.parametrize(("said", "after_s"), [("120", 120.0), ("999999", 900.0), ("soon", 0.0), ("-5", 0.0)])
def test_a_web_archive_that_asks_for_patience(here: Site, said: str, after_s: float) -> None:
    """It gets some, and not more than we think right."""
    page = Page(status=503, headers=(("Retry-After", said),))
    with web(lambda _: page) as port, pytest.raises(ArchiveBusy) as why:
        browsed(here, port).find_studies(DAY, ())
    assert why.value.after_s == after_s


def dripping(over: threading.Event, first: bytes = b"") -> Iterator[bytes]:
    """One byte at a time, without end."""
    yield first
    while not over.wait(0.05):
        yield b" "


def test_a_web_archive_that_drips_a_list(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time: the question as a whole has its time."""
    monkeypatch.setattr(dicomweb, "STUDIES_TIMES", 1)
    over = threading.Event()
    with web(lambda _: Page(body=dripping(over))) as port:
        with pytest.raises(ArchiveSilent):
            browsed(here, port, find_s=1).find_studies(DAY, ())
        over.set()


def test_a_web_archive_that_drips_a_study(here: Site) -> None:
    """A study has its time as a whole."""
    over = threading.Event()
    with web(lambda _: Page(kind=RELATED, body=dripping(over, b"--edge\r\n\r\n"))) as port:
        with pytest.raises(ArchiveSilent):
            browsed(here, port, study_s=1).retrieve(GOOD, taking(here))
        over.set()


@pytest.mark.parametrize("question", ["studies", "study"])
def test_a_web_archive_that_drips_headers(here: Site, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """Its answer never begins, though each byte comes in time: it has its time as a whole."""
    monkeypatch.setattr(dicomweb, "STUDIES_TIMES", 1)
    over = threading.Event()

    def drip(send: Callable[[bytes], None]) -> None:
        send(b"HTTP/1.1 204 No Content\r\nX-Patience: ")
        for _ in range(400):
            if over.wait(0.05):
                return
            send(b"y")
        send(b"\r\n\r\n")

    with raw_web(drip) as port:
        archive = browsed(here, port, find_s=1, study_s=1)
        with pytest.raises(ArchiveSilent):
            archive.find_studies(DAY, ()) if question == "studies" else archive.retrieve(GOOD, taking(here))
        over.set()


@pytest.mark.parametrize("is_secret", [False, True])
def test_we_stop_before_a_web_archive_answers(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_secret: bool
) -> None:
    """It took the question and is silent: nobody waits for it, with TLS or without."""
    asked, over = threading.Event(), threading.Event()

    def silent(_: Callable[[bytes], None]) -> None:
        asked.set()
        over.wait(30)

    tls, pem = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))  # the machine knows who signed it
    with raw_web(silent, tls=tls if is_secret else None) as port, ThreadPoolExecutor(1) as threads:
        url = f"http{'s' * is_secret}://127.0.0.1:{port}/web"
        archive = browsed(here, port, url=url, find_s=1000)
        running = threads.submit(archive.find_studies, DAY, ())
        assert asked.wait(20)
        archive.close()
        try:
            assert type(running.exception(10)) is Stopping
        finally:
            over.set()


def test_we_stop_while_a_web_archive_gives(here: Site) -> None:
    """The connection is ended, and nothing is asked later."""
    began, over = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        yield parts(study(1).files[0], ends=False)
        began.set()
        over.wait(30)

    with web(lambda _: Page(kind=RELATED, body=body())) as port, ThreadPoolExecutor(1) as threads:
        archive = browsed(here, port, study_s=1000)
        running = threads.submit(archive.retrieve, GOOD, taking(here))
        assert began.wait(20)
        here.wait_until(lambda: bool(here.rows()) or bool(here.spooled()))
        archive.close()
        assert type(running.exception(20)) is Stopping
        with pytest.raises(Stopping):
            archive.count_series(GOOD)
        over.set()
    assert not here.spooled()


def test_a_part_larger_than_we_take(here: Site) -> None:
    """It is swallowed and refused; the others are taken."""
    store = here.settings.store.model_copy(update={"instance_max_gib": 2000 / (1 << 30)})
    here.settings = here.settings.model_copy(update={"store": store})
    body = parts(study(2, PixelData=bytes(4000)).files[0], study(1).files[0])
    with web(pages({"/web/studies/1.2.3": Page(kind=RELATED, body=body)})) as port:
        archive = browsed(here, port)
        said = archive.retrieve(GOOD, taking(here))

    assert (said.completed, said.failed) == (1, 1)
    assert archive.remarks == {"instance-too-large": 1}
    assert not here.spooled()


@pytest.mark.parametrize("trouble", [DiskFull("full"), OSError(5, "no")])
def test_trouble_of_our_own_ends_a_web_retrieval(here: Site, trouble: Exception) -> None:
    """It is not the study's fault, and it is no bug."""

    def take(path: Path) -> None:
        raise trouble

    body = parts(*study(1).files)
    with web(pages({"/web/studies/1.2.3": Page(kind=RELATED, body=body)})) as port, pytest.raises(OculardError) as why:
        browsed(here, port).retrieve(GOOD, take)
    assert why.value.reason in ("disk-full", "vault-unreadable")
    assert not here.spooled()


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate that nobody vouches for."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "web.pem"
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(secret + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context, pem


def test_a_web_archive_that_nobody_vouches_for(here: Site, tmp_path: Path) -> None:
    """Neither a question nor the password goes to it."""
    asked: list[Asked] = []
    tls, _ = self_signed(tmp_path)
    password = tmp_path / "password"
    password.write_text("secret")
    with web(lambda one: asked.append(one) or Page(), tls=tls) as port, pytest.raises(ArchiveNotTrusted):
        browsed(here, port, url=f"https://127.0.0.1:{port}/web", user="us", password_file=password).find_studies(
            DAY, ()
        )
    assert asked == []


def test_a_url_that_is_none_is_a_mistake_of_the_configuration(here: Site) -> None:
    """It is said before anything is asked."""
    with pytest.raises(Misconfigured):
        browsed(here, 1, url="http://127.0.0.1:no-port/")
