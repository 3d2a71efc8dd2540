"""The short form of the soak, and an intake that has run out of file handles."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pdus import Line
from soak import echoes, soak, stores

from bench.receivers import Receiver, oculard

ASSOCIATIONS = 400
FILES, CROWD = 64, 100
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
        for _ in range(5):
            with Line.to(intake.port) as line:
                echoes(line)
            with Line.to(intake.port) as line:
                stores(line)
    assert '"files-exhausted"' in (tmp_path / "log").read_text(encoding="utf-8")
