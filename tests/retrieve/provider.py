"""Archives that do what a test says: a query and retrieve provider of handlers, and a web server of pages."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from archived import opened
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt

from devices import OPHTHALMIC_8_BIT, Site
from oculard.retrieve.archive import Archive
from oculard.retrieve.find import FIND
from oculard.retrieve.get import GET
from oculard.retrieve.move import MOVE

GOOD = "1.2.3"


@contextmanager
def scripted(*handlers: Any, syntax: str = ImplicitVRLittleEndian) -> Iterator[int]:
    """A query and retrieve provider that does what its handlers say; gives its port."""
    ae = AE("SCRIPTED")
    for uid in (FIND, MOVE, GET):
        ae.add_supported_context(uid, syntax)
    ae.add_supported_context(OPHTHALMIC_8_BIT, scp_role=True, scu_role=False)  # it stores to us by C-GET
    ae.add_requested_context(OPHTHALMIC_8_BIT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def finding(*answers: Any) -> tuple[Any, Callable[[Any], Iterator[Any]]]:
    """Answers every C-FIND with these."""

    def handle(event: Any) -> Iterator[Any]:
        yield from answers

    return evt.EVT_C_FIND, handle


def asked(here: Site, port: int, **entry: Any) -> Archive:
    """The client of a scripted archive."""
    return opened(here, ae_title="SCRIPTED", port=port, **entry)


def match(**values: Any) -> Dataset:
    """One match of a query for studies."""
    ds = Dataset()
    for keyword, value in (
        {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": GOOD, "StudyDate": "20261120"} | values
    ).items():
        if value is not None:
            setattr(ds, keyword, value)
    return ds


def kept(file: bytes) -> Dataset:
    """A file as a data set to send."""
    return dcmread(BytesIO(file))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a web client asked for."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a web server answers."""

    status: int = 200
    kind: str = "application/dicom+json"
    body: bytes | Iterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()


@contextmanager
def web(answer: Callable[[Asked], Page], *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A web server; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            page = answer(Asked(path=url.path, query=query, headers=dict(self.headers.items())))
            self.send_response(page.status)
            self.send_header("Content-Type", page.kind)
            for name, value in page.headers:
                self.send_header(name, value)
            if isinstance(page.body, bytes):
                self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            try:
                for part in [page.body] if isinstance(page.body, bytes) else page.body:
                    self.wfile.write(part)
            except OSError:
                """It had enough."""

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that does not trust us says so to itself."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def raw_web(answer: Callable[[Callable[[bytes], None]], None], *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A web server that reads a question and then sends whatever bytes `answer` sends; gives its port."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline() not in (b"\r\n", b""):
                """The question is read up to its end."""
            with contextlib.suppress(OSError):  # it had enough
                answer(self.request.sendall)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def pages(answers: dict[str, Page]) -> Callable[[Asked], Page]:
    """Each path has its page; of a list, what lies beyond the first page is empty."""

    def answer(asked: Asked) -> Page:
        if asked.query.get("offset", "0") != "0":
            return Page(body=b"[]")
        return answers.get(asked.path, Page(status=404))

    return answer


def browsed(here: Site, port: int, **entry: Any) -> Archive:
    """The client of a scripted web archive."""
    return opened(here, **{"how": "dicomweb", "url": f"http://127.0.0.1:{port}/web/"} | entry)
