"""Logging: events with typed fields, and an allow-list, so that no patient's data can reach a log by accident.

A field that is not on the list is replaced by `<withheld>`, and so is a value that is not plain. Messages of libraries
(pynetdicom, alembic, uvicorn, ...) are never printed: only that they spoke, who, and how loud.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog

WITHHELD = "<withheld>"
TEXT_MAX = 200

# Every field that may be printed. None of them holds what a device or a person wrote about a patient.
ALLOWED = frozenset(
    {
        "address",
        "answer",
        "association",
        "attempts",
        "bundle",
        "called_ae",
        "caller",
        "calling_ae",
        "config",
        "count",
        "delay_s",
        "deliveries",
        "delivery",
        "error",
        "error_at",
        "estimator",
        "event",
        "event_id",
        "exit_code",
        "eye",
        "family",
        "folder",
        "free_gib",
        "hint",
        "host",
        "images",
        "instance_id",
        "instances",
        "job",
        "jobs",
        "latency_s",
        "level",
        "library",
        "name",
        "outcome",
        "owner",
        "path",
        "peer",
        "pid",
        "port",
        "providers",
        "reason",
        "report",
        "revision",
        "role",
        "room",
        "sender",
        "series_instance_uid",
        "setting",
        "signal",
        "size_bytes",
        "sop_class_uid",
        "sop_instance_uid",
        "state",
        "status",
        "study_id",
        "study_instance_uid",
        "timestamp",
        "took_s",
        "transaction_uid",
        "transfer_syntax_uid",
        "url",
        "version",
        "weights_sha256",
        "why",
        "window",
    }
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(*, level: str, form: str, role: str, to: TextIO = sys.stderr) -> None:
    """Send every event of this process to stderr through the allow-list; take over the libraries' loggers."""
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=to.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _Role(role),
            _error_place,
            allow_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(to),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    threading.excepthook = lambda args: _last_words(args.exc_type, args.exc_value, args.exc_traceback)


def get(name: str) -> Any:
    """A logger. Use: `log.info("report sent", job=job.id, peer=peer)`."""
    return structlog.get_logger(room=name)


def allow_only(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let allowed fields with plain values pass, cut and free of control characters; withhold everything else."""
    for key, value in event.items():
        event[key] = _plain(value) if key in ALLOWED else WITHHELD
    return event


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        return CONTROL.sub("?", str(value))[:TEXT_MAX]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value[:20]]
    return WITHHELD


class _Role:
    """Puts the process's role on every event."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("role", self._role)
        return event


def _error_place(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn an exception into its class and place. Its message is left out: it may quote a header."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        event["error_at"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return event


class _Libraries(logging.Handler):
    """What libraries log becomes an event without their words, which may quote a data set."""

    def emit(self, record: logging.LogRecord) -> None:
        at = f"{Path(record.pathname).name}:{record.lineno}"
        get("library").log(
            record.levelno, "library message", library=record.name, error_at=[at], exc_info=record.exc_info
        )


def _last_words(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """An uncaught exception ends a thread or the process: say so without its message."""
    del where
    get("crash").error("uncaught exception", error=kind.__name__, exc_info=error)
