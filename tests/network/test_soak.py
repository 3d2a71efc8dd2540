"""The short form of the soak, and an intake that has run out of file handles."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pdus import P_DATA, Line, p_data, status_of, store_command
from soak import echoes, opened, soak, stores

from bench.receivers import Receiver, oculard
from devices import encode, photograph

ASSOCIATIONS = 400
FILES, CROWD = 64, 100
PHOTOGRAPH = photograph()
DATABASE_FILES = 8  # the pool may have grown from one connection to its five, of two files each


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Receiver]:
    """The real intake, alone."""
    with oculard(tmp_path) as receiver:
        yield receiver


def test_hundreds_of_associations_leave_nothing(intake: Receiver) -> None:
    """Good and bad ones: threads and file handles are what they were, and memory is about that."""
    before, after = soak(intake, ASSOCIATIONS)
    assert after.stored > ASSOCIATIONS // 4
    assert after.threads <= before.threads
    assert after.files <= before.files + DATABASE_FILES
    assert after.rss_mib - before.rss_mib < 16, "10,000 of them: `make soak`"


def test_an_intake_without_file_handles_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent connections, which would stay, take no handle that a device needs: it echoes and stores at once."""
    monkeypatch.setenv("OCULARD_INTAKE__FIRST_BYTES_S", "600")
    with oculard(tmp_path) as intake, ExitStack() as stack:
        resource.prlimit(intake.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        silent = [stack.enter_context(Line.to(intake.port)) for _ in range(CROWD)]
        for line in silent[: CROWD - FILES // 2]:
            assert line.heard() == [], "who waits longest goes first"
        served(intake)
        storing = [stack.enter_context(begins_to_store(intake)) for _ in range(2)]
        for _ in range(CROWD):  # whoever is sent away comes again
            stack.enter_context(Line.to(intake.port))
        served(intake)
        for line in storing:
            goes_on_to_store(line)
    assert '"files-exhausted"' in (tmp_path / "log").read_text(encoding="utf-8")


def served(intake: Receiver) -> None:
    """A device echoes and stores, at its first try."""
    for _ in range(5):
        with Line.to(intake.port) as line:
            echoes(line)
        with Line.to(intake.port) as line:
            stores(line)


def begins_to_store(intake: Receiver) -> Line:
    """A device in the middle of an image."""
    line = opened(Line.to(intake.port))
    line.send(store_command(PHOTOGRAPH.SOPInstanceUID), p_data(3, 0, encode(PHOTOGRAPH)[:100]))
    return line


def goes_on_to_store(line: Line) -> None:
    """The rest of it, and its answer."""
    line.send(p_data(3, 2, encode(PHOTOGRAPH)[100:]))
    kind, answer = line.hear()
    assert (kind, status_of(answer)) == (P_DATA, 0), "who is served keeps what it has"
    line.release()
