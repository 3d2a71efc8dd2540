"""The log: only what is on the list, and never a patient."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from oculard import log

Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def events() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Configure the log as a role does; gives a function that reads what was printed."""
    before, printed = structlog.get_config(), io.StringIO()
    log.configure(level="info", form="json", role="worker", to=printed)
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: [json.loads(line) for line in printed.getvalue().splitlines()]
    structlog.configure(**before)
    logging.getLogger().handlers[:] = []


def test_a_field_that_is_not_allowed_is_withheld(events: Events) -> None:
    """Its name stays, so that the mistake can be found; its value does not."""
    log.get("x").info("image", job=3, patient_name="Yamada^Tarou", study_instance_uid="1.2")

    (event,) = events()
    assert event["job"] == 3
    assert event["patient_name"] == "<withheld>"
    assert "Yamada" not in json.dumps(event)


def test_values_that_are_not_plain_are_withheld(events: Events) -> None:
    """A data set that slips into an allowed field is not printed."""
    log.get("x").info("image", reason={"PatientName": "Yamada"}, why=["fine", {"a": 1}])

    (event,) = events()
    assert event["reason"] == "<withheld>"
    assert event["why"] == ["fine", "<withheld>"]


def test_an_exception_is_its_class_and_place(events: Events) -> None:
    """Its message may quote a header, so it is left out."""
    try:
        raise ValueError("cannot decode 'Yamada^Tarou'")
    except ValueError as why:
        log.get("x").error("boom", exc_info=why)

    (event,) = events()
    assert event["error"] == "ValueError"
    assert "Yamada" not in json.dumps(event)


def test_libraries_speak_without_their_words(events: Events) -> None:
    """Who spoke and where, not what."""
    logging.getLogger("alembic.runtime").error("Patient Yamada^Tarou")

    (event,) = events()
    assert event["library"] == "alembic.runtime"
    assert "Yamada" not in json.dumps(event)


def test_of_chatty_libraries_only_exceptions_are_news(events: Events) -> None:
    """What pynetdicom says of a failed connection our own event says with a reason; its bugs must be seen."""
    logger = logging.getLogger("pynetdicom.association")
    logger.error("TCP initialisation error")
    assert events() == []
    try:
        raise RuntimeError("Yamada")
    except RuntimeError:
        logger.exception("in a handler")

    (event,) = events()
    assert event["error"] == "RuntimeError"
    assert "Yamada" not in json.dumps(event)


def test_a_line_is_one_event_whatever_a_peer_sends(events: Events) -> None:
    """Line breaks and terminal escapes in an AE title cannot forge a line; long values are cut."""
    log.get("x").info("called", calling_ae='A\n{"event": "forged"}\x1b[2J', reason="r" * 5000)

    (event,) = events()
    assert event["event"] == "called"
    assert "\x1b" not in event["calling_ae"]
    assert len(event["reason"]) == 200


def test_a_line_is_one_write() -> None:
    """The roles share one stderr: what is written in two parts, another role's line may come between."""
    parts: list[str] = []

    class Parts(io.StringIO):
        def write(self, text: str) -> int:
            parts.append(text)
            return len(text)

    before = structlog.get_config()
    log.configure(level="info", form="json", role="worker", to=Parts())
    structlog.configure(cache_logger_on_first_use=False)
    log.get("x").info("one")
    log.get("x").info("two")
    structlog.configure(**before)
    logging.getLogger().handlers[:] = []

    assert [part.count("\n") for part in parts] == [1, 1]
    assert all(part.endswith("\n") for part in parts)
