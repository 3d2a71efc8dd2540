"""The HTTP endpoints for people who watch: is it alive, is it ready, how much of what."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from oculard import __version__, log
from oculard.errors import Misconfigured, OculardError
from oculard.settings import Settings
from oculard.store.alarms import Alarms
from oculard.store.database import Database
from oculard.store.roles import Roles
from oculard.store.trace import Trace
from oculard.store.vault import Vault
from oculard.web.metrics import StoreCollector

NEEDED = frozenset({"intake", "worker", "sender", "upkeep"})
logger = log.get("web")


class WebServer:
    """uvicorn in a thread of its own, between `with` and its end."""

    def __init__(
        self, settings: Settings, database: Database, vault: Vault, roles: Roles, trace: Trace, alarms: Alarms
    ) -> None:
        self._settings = settings
        app = make_app(settings, database, vault, roles, trace, alarms)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", limit_concurrency=500, timeout_keep_alive=5
        )
        self._server = uvicorn.Server(config)
        try:
            self._socket = socket.create_server((settings.web.host, settings.web.port))
        except OSError as why:
            where = f"{settings.web.host}:{settings.web.port}"
            raise Misconfigured(
                f"cannot listen on {where}: {why.strerror}", reason="cannot-listen", hint="change [web] host or port"
            ) from why
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is really used."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        logger.info("web listening", host=self._settings.web.host, port=self.port)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()


def make_app(
    settings: Settings, database: Database, vault: Vault, roles: Roles, trace: Trace, alarms: Alarms
) -> FastAPI:
    """The application with its three endpoints; no schema, no documents, nothing that knows a patient."""
    app = FastAPI(title="oculard", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(vault, roles, trace, alarms))

    @app.get("/healthz")
    def healthz() -> PlainTextResponse:
        """This process answers."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """The daemon can do its work: database, disk and every role."""
        checks = _checks(settings, database, vault, roles)
        return JSONResponse(
            {"ready": all(checks.values()), "checks": checks}, status_code=200 if all(checks.values()) else 503
        )

    @app.get("/metrics")
    def metrics() -> Response:
        """Prometheus text format."""
        try:
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
        except OculardError as why:
            return PlainTextResponse(f"{why.reason}\n", status_code=503)

    return app


def _checks(settings: Settings, database: Database, vault: Vault, roles: Roles) -> dict[str, bool]:
    checks = {"disk": vault.free_gib() >= settings.store.disk_free_min_gib}
    try:
        database.check()
        alive = {role.role for role in roles.list() if roles.is_alive(role)}
    except OculardError:
        return checks | {"database": False}
    return checks | {"database": True} | {f"role {role}": role in alive for role in sorted(NEEDED)}
