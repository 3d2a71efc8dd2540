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
import warnings
from collections.abc import Callable, MutableMapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

WITHHELD = "<withheld>"
CHATTY = frozenset({"pynetdicom", "pydicom"})  # only their exceptions are news: the rest our events say, with a reason
TEXT_MAX = 200

# Every field that may be printed. None of them holds what a device or a person wrote about a patient.
ALLOWED = frozenset(
    {
        "address",
        "answer",
        "association",
        "attempts",
        "backfill",
        "bundle",
        "called_ae",
        "calling_ae",
        "certificate",
        "count",
        "delay_s",
        "deliveries",
        "delivery",
        "error",
        "error_at",
        "estimator",
        "event",
        "exit_code",
        "eye",
        "family",
        "free_gib",
        "hint",
        "host",
        "instances",
        "job",
        "jobs",
        "level",
        "library",
        "name",
        "outcome",
        "peer",
        "pid",
        "port",
        "providers",
        "runs",
        "reason",
        "role",
        "room",
        "sender",
        "size_bytes",
        "sop_class_uid",
        "sop_instance_uid",
        "status",
        "study_id",
        "study_instance_uid",
        "timestamp",
        "took_s",
        "transaction_uid",
        "transfer_syntax_uid",
        "why",
    }
)
ahead: list[Callable[[], None]] = []  # how structlog is to be configured as soon as it is loaded
loading = threading.Lock()
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(*, level: str, form: str, role: str, to: TextIO = sys.stderr) -> None:
    """Send every event of this process to stderr through the allow-list; take over the libraries' loggers."""
    ahead.clear()
    if "structlog" in sys.modules:
        _structure(level, form, role, to)
    else:
        ahead.append(lambda: _structure(level, form, role, to))
    root = logging.getLogger()
    root.handlers[:] = [_Libraries()]
    root.setLevel(logging.WARNING)
    warnings.simplefilter("ignore")
    sys.excepthook = _last_words
    threading.excepthook = lambda args: _last_words(args.exc_type, args.exc_value, args.exc_traceback)


def _structure(level: str, form: str, role: str, to: TextIO) -> None:
    import structlog

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
        # One write a line: the roles share one stderr; where it is unbuffered, `print` writes the line's end apart.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Tolerant(to))),
        cache_logger_on_first_use=True,
    )


class Room:
    """Says the events of one room. structlog is loaded by the first: a command that says nothing starts without it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, method: str) -> Any:
        return getattr(self._logger, method)

    @cached_property
    def _logger(self) -> Any:
        import structlog

        with loading:  # nobody speaks before the allow-list is there
            for configure_it in ahead:
                configure_it()
            ahead.clear()
        return structlog.get_logger(room=self._name)


def get(name: str) -> Any:
    """A logger. Use: `log.info("report sent", job=job.id, peer=peer)`."""
    return Room(name)


def load() -> None:
    """Load now what the first event would: a role does so before a crowd at its port can take the file handles."""
    Room("log").bind()


def allow_only(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Let allowed fields with plain values pass, cut and free of control characters; withhold everything else."""
    for key, value in event.items():
        event[key] = _plain(value) if key in ALLOWED else WITHHELD
    return event


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str) and value.isprintable():
        return value[:TEXT_MAX]
    if isinstance(value, str | Path):
        return CONTROL.sub("?", str(value))[:TEXT_MAX]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value[:20]]
    return WITHHELD


class _Tolerant:
    """A stream whose trouble is not ours: a full disk under the log must not end the daemon."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def write(self, text: str) -> None:
        try:
            self._to.write(text)
        except OSError:
            pass  # there is nowhere left to say so

    def flush(self) -> None:
        try:
            self._to.flush()
        except OSError:
            pass  # as above


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
        if record.name.partition(".")[0] in CHATTY and not record.exc_info:
            return
        at = f"{Path(record.pathname).name}:{record.lineno}"
        get("library").log(
            record.levelno, "library message", library=record.name, error_at=[at], exc_info=record.exc_info
        )


def _last_words(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """An uncaught exception ends a thread or the process: say so without its message."""
    del where
    get("crash").error("uncaught exception", error=kind.__name__, exc_info=error)
