"""The server: listens, lets a connection in only when it asks for an association, and ends within bounds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from oculard import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, log
from oculard.errors import Misconfigured
from oculard.intake.association import IntakeAssociation, Services
from oculard.intake.connection import Connection, begins_association
from oculard.settings import Intake

GRACE_S = 5.0  # how long running associations may go on when we are asked to stop
BACKLOG = 128
POLL_S = 0.1
COLLECT_S = 30.0
logger = log.get("intake")


class IntakeServer:
    """The Storage SCP's listening socket and everything behind it."""

    def __init__(self, settings: Intake, services: Services) -> None:
        self._settings, self._services = settings, services
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that we listen on; 0 before the start."""
        return 0 if self._listener is None else int(self._listener.server_address[1])

    def start(self) -> None:
        """Bind and listen. Raises Misconfigured when the address cannot be had."""
        settings = self._settings
        try:
            self._listener = _Listener(self._application_entity(), settings, self._services)
        except OSError as why:
            raise Misconfigured(
                f"cannot listen on {settings.host}:{settings.port}: {why.strerror}",
                reason="cannot-listen",
                hint="is another program on this port?",
            ) from why
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(POLL_S,), name="intake-listener", daemon=True
        )
        self._thread.start()
        logger.info("listening", host=settings.host, port=self.port, called_ae=settings.ae_title)

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Accept nothing more, let the running associations finish for a while, then abort them."""
        if self._listener is None:
            return
        self._listener.shutdown()
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
        self._listener = None

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
            ae, server.services, pdu_s=server.settings.network_s, negotiated=server.waiting_of(self.request)
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

    def __init__(self, ae: AE, settings: Intake, services: Services) -> None:
        self.settings, self.services = settings, services
        self._waiting: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(ae, (settings.host, settings.port), settings.ae_title, [], request_handler=_Handler)
        ae._servers.append(self)  # its shutdown() takes it from there
        self._gc = [0, int(COLLECT_S / POLL_S)]  # pynetdicom collects garbage by hand, every so many polls

    def process_request(self, request: Any, client_address: Any) -> None:
        """Let a connection wait, if there is room to."""
        with self._lock:
            has_room = len(self._waiting) < self.settings.connections_max
            if has_room:
                self._waiting.add(request)
        if has_room:
            super().process_request(request, client_address)
        else:
            logger.warning("connection refused", reason="connections-full", address=client_address[0])
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Look at the first bytes before anything is spent on the connection (DICOM.md 7.3 A)."""
        if begins_association(request, within_s=self.settings.first_bytes_s):
            super().process_request_thread(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, which then waits no more."""
        self.waiting_of(request)()
        super().shutdown_request(request)

    def waiting_of(self, request: socket.socket) -> Callable[[], None]:
        """What to call when this connection waits no more."""

        def leave() -> None:
            with self._lock:
                self._waiting.discard(request)

        return leave

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  its signature
        """Say that a connection failed, in our own log."""
        logger.error("connection failed", reason="connection-failed", address=client_address[0], exc_info=True)
