"""The server: listens, lets a connection in only when it asks for an association, and ends within bounds."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, log
from oculard.errors import Misconfigured
from oculard.intake.association import IntakeAssociation, Services
from oculard.intake.connection import Connection
from oculard.intake.door import Door, Doorkeeper, PlainDoor, TlsDoor
from oculard.intake.waiting_room import WaitingRoom
from oculard.settings import Intake
from oculard.tls import Credentials, called, intake_files

GRACE_S = 5.0  # how long running associations may go on when we are asked to stop
BACKLOG = 128
POLL_S = 0.1
COLLECT_S = 30.0
# File handles: of a connection that waits, of an open association with all that it may hold, and of the rest.
FILES_WAITING, FILES_OPEN, FILES_ELSE = 4, 8, 256
FILES_SPARE = 2 * FILES_OPEN  # nobody who only waits takes these
FILES_GIVEN_BACK = 2  # by a connection that is sent away
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
MORE_ROOM = "too many come at once, or say nothing: [intake] connections_max"
MORE_FILES = "give the service more file handles (LimitNOFILE), or lower [intake] connections_max"
logger = log.get("intake")


class IntakeServer:
    """The Storage SCP's listening socket and everything behind it."""

    def __init__(self, settings: Intake, services: Services) -> None:
        self._settings, self._services = settings, services
        self._listener: _Listener | None = None  # the plain one
        self._tls_listener: _Listener | None = None

    @property
    def port(self) -> int:
        """The plain port that we listen on; 0 before the start, and where there is none."""
        return 0 if self._listener is None else self._listener.port

    @property
    def tls_port(self) -> int:
        """The port for TLS; 0 before the start, and where there is none."""
        return 0 if self._tls_listener is None else self._tls_listener.port

    def start(self) -> None:
        """Bind and listen. Raises Misconfigured when an address cannot be had."""
        _allow_files(self._settings)
        settings, keeper, files = self._settings, Doorkeeper(self._services.clock), intake_files(self._settings.tls)
        waiting, within_s = WaitingRoom(settings.connections_max), settings.first_bytes_s
        if files is not None:
            credentials = Credentials(files, called)
            door = TlsDoor(keeper, credentials, within_s=within_s)
            self._tls_listener = self._listen(settings.tls.port, door, keeper, waiting)
        if settings.tls.plain:
            self._listener = self._listen(settings.port, PlainDoor(keeper, within_s=within_s), keeper, waiting)

    def _listen(self, port: int, door: Door, keeper: Doorkeeper, waiting: WaitingRoom) -> _Listener:
        settings, ae = self._settings, self._application_entity()
        try:
            listener = _Listener(ae, settings, self._services, port=port, door=door, keeper=keeper, waiting=waiting)
        except OSError as why:
            self.stop(grace_s=0.0)
            raise Misconfigured(
                f"cannot listen on {settings.host}:{port}: {why.strerror}",
                reason="cannot-listen",
                hint="is another program on this port?",
            ) from why
        threading.Thread(target=listener.serve_forever, args=(POLL_S,), name="intake-listener", daemon=True).start()
        logger.info("listening", host=settings.host, port=listener.port, called_ae=settings.ae_title)
        return listener

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Accept nothing more, let the running associations finish for a while, then abort them."""
        listeners = [listener for listener in (self._listener, self._tls_listener) if listener is not None]
        for listener in listeners:
            listener.shutdown()
        clock, floor = self._services.clock, self._services.floor
        until = clock.now() + timedelta(seconds=grace_s)
        for association in floor.here():
            association.join(timeout=max(0.0, (until - clock.now()).total_seconds()))
        for association in floor.here():
            association.abort(block=False)
        for association in floor.here():
            association.join(timeout=1.0)
            association.hang_up()
            association.join(timeout=1.0)
        self._listener = self._tls_listener = None

    def beat(self) -> None:
        """Say of every open association that it is open. Raises DatabaseDown."""
        for association in self._services.floor.here():
            if association.stored:
                self._services.instances.beat(association.id)

    def _application_entity(self) -> AE:
        """An AE of its own: our own requests never eat the slots of those who call (DICOM.md 7.2)."""
        settings = self._settings
        ae = AE(settings.ae_title)
        ae.maximum_pdu_size = settings.pdu_bytes_max
        ae.maximum_associations = settings.associations_max + settings.connections_max  # the floor counts, not this
        ae.acse_timeout = settings.acse_s
        ae.dimse_timeout = settings.dimse_s
        ae.network_timeout = settings.network_s
        ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        return ae


class _Handler(RequestHandler):
    """Makes our association where pynetdicom would make its own."""

    def _create_association(self) -> IntakeAssociation:
        server, ae = cast("_Listener", self.server), self.ae
        association = IntakeAssociation(
            ae,
            server.services,
            pdu_s=server.settings.network_s,
            negotiated=partial(server.waiting.leave, self.request),
        )
        association._server = server
        association.set_socket(Connection(association, self.request, send_s=server.settings.network_s))
        association.acceptor.maximum_length = ae.maximum_pdu_size
        association.acceptor.ae_title = server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = ae.implementation_class_uid
        association.acceptor.implementation_version_name = ae.implementation_version_name
        association.requestor.address_info = self.remote
        return association


class _Listener(ThreadedAssociationServer):
    """Accepts connections. Each waits in a thread of its own, and only so many wait, until it says who it is."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(
        self,
        ae: AE,
        settings: Intake,
        services: Services,
        *,
        port: int,
        door: Door,
        keeper: Doorkeeper,
        waiting: WaitingRoom,
    ) -> None:
        self.settings, self.services, self._door, self._keeper = settings, services, door, keeper
        self.waiting = waiting  # of both ports: the file handles are the process's
        super().__init__(ae, (settings.host, port), settings.ae_title, [], request_handler=_Handler)
        ae._servers.append(self)  # its shutdown() takes it from there
        self._gc = [0, int(COLLECT_S / POLL_S)]  # pynetdicom collects garbage by hand, every so many polls

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind; several processes share the port where the settings say so."""
        if self.settings.processes > 1:
            assert self.socket is not None, "it is made before it is bound"
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Where file handles run short, those that have waited longest give theirs back."""
        try:
            connection, address = super().get_request()
        except OSError as why:
            if why.errno in EXHAUSTED:
                self._give_back()
            raise
        for _ in range(ceil(_files_missing() / FILES_GIVEN_BACK)):
            if not (gone := self.waiting.make_room()):
                break  # who is served keeps what it has
            self._keeper.say("files-exhausted", gone, hint=MORE_FILES)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Let a connection wait; where there is no room, another one has waited for long enough."""
        try:
            gone = self.waiting.enter(request, client_address[0])
        except OSError:
            self.shutdown_request(request)
            self._give_back()
            return
        if gone:
            self._keeper.say("connections-full", gone, hint=MORE_ROOM)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Look who it is before anything is spent on the connection (DICOM.md 7.3)."""
        inside = self._door.let_in(request, client_address[0])
        if inside is None:
            self.shutdown_request(request)
            return
        self.waiting.exchange(request, inside)
        super().process_request_thread(inside, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, which then waits no more."""
        self.waiting.leave(request)
        super().shutdown_request(request)

    def _give_back(self) -> None:
        """There is no file handle left: one connection that waits gives its own back, as soon as its thread can."""
        self._keeper.say("files-exhausted", self.waiting.make_room(), hint=MORE_FILES)
        threading.Event().wait(POLL_S)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  its signature
        """Say that a connection failed, in our own log."""
        logger.error("connection failed", reason="connection-failed", address=client_address[0], exc_info=True)


def _files_missing() -> int:
    """How many of the spare file handles are taken, or will be when the newest connection waits."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return 0
    try:
        used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names are all we want; one of them is this look's own
    except OSError:  # there is none to look with
        used = most
    return max(0, used + FILES_SPARE - most)


def _allow_files(settings: Intake) -> None:
    """Let this process have as many file handles as the settings may need, as far as it may."""
    need = FILES_WAITING * settings.connections_max + FILES_OPEN * settings.associations_max + FILES_ELSE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = need if hard == resource.RLIM_INFINITY else min(need, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
