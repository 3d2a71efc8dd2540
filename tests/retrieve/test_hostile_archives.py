"""Archives that misbehave: too much, malformed, half, silent, lying. Nothing that they say is trusted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from archived import opened, study, taking
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt

from devices import OPHTHALMIC_8_BIT, Site
from oculard.retrieve.archive import (
    Archive,
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    ArchiveSilent,
    Days,
    StudyFailed,
    TooManyMatches,
)
from oculard.retrieve.find import FIND
from oculard.retrieve.get import GET
from oculard.retrieve.move import MOVE

DAY = Days(first=date(2026, 11, 20), last=date(2026, 11, 20))
GOOD = "1.2.3"


@contextmanager
def scripted(*handlers: Any) -> Iterator[int]:
    """A query and retrieve provider that does what its handlers say; gives its port."""
    ae = AE("SCRIPTED")
    for uid in (FIND, MOVE, GET):
        ae.add_supported_context(uid)
    ae.add_requested_context(OPHTHALMIC_8_BIT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def match(**values: Any) -> Dataset:
    """One match of a query for studies."""
    ds = Dataset()
    for keyword, value in (
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": GOOD, "StudyDate": "20261120"} | values
    ).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def asked(here: Site, port: int, **entry: Any) -> Archive:
    """The client of a scripted archive."""
    return opened(here, ae_title="SCRIPTED", port=port, **entry)


def finding(*answers: Any) -> tuple[Any, Callable[[Any], Iterator[Any]]]:
    """Answers every C-FIND with these."""

    def handle(event: Any) -> Iterator[Any]:
        yield from answers

    return evt.EVT_C_FIND, handle


BAD_MATCHES = [
    (match(StudyInstanceUID=None), "match-without-uid"),
    (match(StudyInstanceUID=""), "match-without-uid"),
    (match(StudyInstanceUID="../../etc/passwd"), "match-without-uid"),
    (match(StudyInstanceUID="1." * 40), "match-without-uid"),
    (match(StudyDate="20250101"), "match-of-another-day"),
    (match(StudyDate="today"), "match-of-another-day"),
    (match(StudyDate=None), "match-of-another-day"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bad", "remark"), BAD_MATCHES)
def test_a_malformed_match_is_a_remark(here: Site, bad: Dataset, remark: str) -> None:
    """It is left out and counted by its reason; the good ones count."""
    with scripted(finding((0xFF00, bad), (0xFF00, match()))) as port:
        archive = asked(here, port)
        (found,) = archive.find_studies(DAY, ())

    assert found.study_instance_uid == GOOD
    assert archive.remarks == {remark: 1}


def test_a_match_that_comes_twice_counts_once(here: Site) -> None:
    """And is remarked on."""
    with scripted(finding((0xFF00, match()), (0xFF01, match()))) as port:
        archive = asked(here, port)
        assert len(archive.find_studies(DAY, ())) == 1

    assert archive.remarks == {"match-doubled": 1}


def test_an_archive_without_end_is_told_to_stop(here: Site) -> None:
    """Ten thousand matches where thirty may be: cancelled."""
    stopped = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        for number in range(1_000_000):
            if event.is_cancelled:
                stopped.set()
                yield 0xFE00, None
                return
            yield 0xFF00, match(StudyInstanceUID=f"1.2.{number}")

    with scripted((evt.EVT_C_FIND, handle)) as port, pytest.raises(TooManyMatches):
        asked(here, port, matches_max=30).find_studies(DAY, ())


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, ArchiveBusy), (0xA900, ArchiveRefused), (0xC001, ArchiveRefused), (0xFE00, StudyFailed)],
)
def test_a_query_that_fails(here: Site, status: int, error: type[Exception]) -> None:
    """Its status says whether it may be asked again."""
    with scripted(finding((0xFF00, match()), (status, None))) as port, pytest.raises(error):
        asked(here, port).find_studies(DAY, ())


def test_an_archive_that_stalls_between_matches(here: Site) -> None:
    """It is waited for so long, and no longer."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield 0xFF00, match()
        over.wait(30)
        yield 0xFF00, match(StudyInstanceUID="1.2.4")

    with scripted((evt.EVT_C_FIND, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, find_s=0.5).find_studies(DAY, ())
        over.set()


def test_an_archive_that_aborts_in_the_middle(here: Site) -> None:
    """What was told until then is not taken for all."""

    def handle(event: Any) -> Iterator[Any]:
        yield 0xFF00, match()
        event.assoc.abort()

    with scripted((evt.EVT_C_FIND, handle)) as port, pytest.raises(ArchiveAway):
        asked(here, port).find_studies(DAY, ())


@pytest.mark.parametrize("count", ["-1", "0", "999999999", None])
def test_a_count_that_cannot_be_believed_is_counted_one_by_one(here: Site, count: str | None) -> None:
    """The instances themselves are asked for."""

    def handle(event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "SERIES":
            yield 0xFF00, match(SeriesInstanceUID="1.2.3.1", NumberOfSeriesRelatedInstances=count)
            yield 0xFF00, match(SeriesInstanceUID="1.2.3.2", NumberOfSeriesRelatedInstances="1", StudyInstanceUID="9.9")
        else:
            for number in (1, 2, 2):
                yield 0xFF00, match(SeriesInstanceUID="1.2.3.1", SOPInstanceUID=f"1.2.3.1.{number}")

    with scripted((evt.EVT_C_FIND, handle)) as port:
        archive = asked(here, port)
        assert archive.count_series(GOOD) == {"1.2.3.1": 2}

    assert archive.remarks["match-of-another-study"] == 1
    assert archive.remarks["count-not-believed"] == (count is not None)


def test_an_archive_that_moves_half(here: Site) -> None:
    """It says so, and what it says is handed on."""
    unsendable = kept(study(1).files[1])
    unsendable.SOPClassUID = CTImageStorage  # it never proposed that to us

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 2
        yield 0xFF00, kept(study(1).files[0])
        yield 0xFF00, unsendable

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        said = asked(here, port).retrieve(study(1).uid, taking(here))

    assert (said.completed + said.warned, said.failed, said.reason) == (1, 1, "sub-operations-failed")


def test_an_archive_that_says_success_and_sends_nothing(here: Site) -> None:
    """Its word is handed on as it is: whoever asked counts what came."""

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 0

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        assert asked(here, port).retrieve(GOOD, taking(here)).completed == 0
    assert here.rows() == []


def test_an_archive_that_never_finishes_with_a_study(here: Site) -> None:
    """A study has its time as a whole."""
    over = threading.Event()

    def handle(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", here.port
        yield 1
        over.wait(30)
        yield 0xFE00, None

    with scripted((evt.EVT_C_MOVE, handle)) as port:
        with pytest.raises(ArchiveSilent):
            asked(here, port, study_s=0.5).retrieve(GOOD, taking(here))
        over.set()


def test_a_port_that_speaks_something_else(here: Site) -> None:
    """An HTTP server where DICOM was expected."""
    with web({}) as port, pytest.raises(ArchiveAway):
        asked(here, port).find_studies(DAY, ())


def kept(file: bytes) -> Dataset:
    """A file as a data set to send."""
    from io import BytesIO

    from pydicom import dcmread

    return dcmread(BytesIO(file))


# --- DICOMweb -------------------------------------------------------------------------------------------------------

JSON = "application/dicom+json"
STUDY = '{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00080020":{"vr":"DA","Value":["20261120"]}}'
RELATED = 'multipart/related; type="application/dicom"; boundary=edge'


@contextmanager
def web(pages: dict[str, tuple[int, str, bytes]]) -> Iterator[int]:
    """A web server that answers each path with a status, a content type and a body; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = pages.get(self.path.partition("?")[0], (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def browsed(here: Site, port: int, **entry: Any) -> Archive:
    """The client of a scripted web archive."""
    return opened(here, how="dicomweb", url=f"http://127.0.0.1:{port}/web/", **entry)


@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        (200, JSON, b"<html>", StudyFailed),
        (200, JSON, b'{"a": 1}', StudyFailed),
        (200, JSON, b"[" * 100_000, StudyFailed),
        (302, JSON, b"", ArchiveRefused),
        (401, JSON, b"", ArchiveRefused),
        (400, JSON, b"", ArchiveRefused),
        (500, JSON, b"", StudyFailed),
        (503, JSON, b"", ArchiveBusy),
    ],
)
def test_a_web_archive_that_answers_wrongly(
    here: Site, status: int, kind: str, body: bytes, error: type[Exception]
) -> None:
    """Each has its meaning; no redirection is followed."""
    with web({"/web/studies": (status, kind, body)}) as port, pytest.raises(error):
        browsed(here, port).find_studies(DAY, ())


def test_a_web_archive_that_pads_its_list(here: Site) -> None:
    """What is no match is left out, and what names another day is a remark."""
    other = STUDY.replace("20261120", "20250101")
    body = f'[{STUDY}, 3, null, {{}}, {{"0020000D": 4}}, {{"0020000D":{{"Value":[{{}}]}}}}, {other}]'.encode()
    with web({"/web/studies": (200, JSON, body)}) as port:
        archive = browsed(here, port)
        assert [one.study_instance_uid for one in archive.find_studies(DAY, ())] == [GOOD]

    assert archive.remarks == {"match-without-uid": 3, "match-of-another-day": 1}


def test_a_web_archive_that_ignores_pages(here: Site) -> None:
    """The same full page for ever does not end in a loop."""
    body = f"[{','.join([STUDY] * 200)}]".encode()
    with web({"/web/studies": (200, JSON, body)}) as port:
        assert len(browsed(here, port).find_studies(DAY, ())) == 1


def parts(*bodies: bytes, ends: bool = True) -> bytes:
    """A multipart answer."""
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + body + b"\r\n" for body in bodies) + (b"--edge--\r\n" if ends else b"")


@pytest.mark.parametrize(
    ("kind", "body", "came"),
    [
        ("application/dicom", b"DICM", 0),
        ("multipart/related", b"x", 0),
        (RELATED, b"nothing of the sort", 0),
        (RELATED, b"", 0),
        (RELATED, parts(*study(1).files[:2], ends=False), 1),
    ],
)
def test_a_web_archive_whose_parts_do_not_hold_together(here: Site, kind: str, body: bytes, came: int) -> None:
    """What came whole is in custody, the study is tried again, and the spool is empty."""
    with web({"/web/studies/1.2.3": (200, kind, body)}) as port, pytest.raises(StudyFailed):
        browsed(here, port).retrieve(GOOD, taking(here))

    assert len(here.rows()) == came
    assert not list(here.vault.spool.iterdir())


def test_a_part_that_is_no_instance_is_refused(here: Site) -> None:
    """The others are taken."""
    body = parts(b"MZ this is no DICOM", study(1).files[0])
    with web({"/web/studies/1.2.3": (200, RELATED, body)}) as port:
        archive = browsed(here, port)
        said = archive.retrieve(GOOD, taking(here))

    assert (said.completed, said.failed, said.reason) == (1, 1, "instances-refused")
    assert archive.remarks == {"not-dicom": 1}


def test_a_web_archive_that_never_ends_is_larger_than_we_take(here: Site, tmp_path: Path) -> None:
    """The limit is on what comes, not on what was announced."""
    from oculard.retrieve.multipart import BadMultipart, Parts

    taken: list[bytes] = []
    whole = Parts("edge", tmp_path, lambda path: taken.append(path.read_bytes()), bytes_max=100)
    whole.feed(b"--edge\r\n\r\n" + b"x" * 60)
    with pytest.raises(BadMultipart, match="larger"):
        whole.feed(b"x" * 60)
    whole.discard()
    assert not list(tmp_path.glob("*.part"))
