"""The short form of the soak, and an intake that has run out of file handles."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pdus import Line
from soak import echoes, soak, stores

from bench.receivers import Receiver, oculard

ASSOCIATIONS = 400
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


def test_an_intake_without_file_handles_goes_on(intake: Receiver, tmp_path: Path) -> None:
    """Silent connections take every file handle of the process: they have to go, and an honest device is served."""
    resource.prlimit(intake.pid, resource.RLIMIT_NOFILE, (64, 64))
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Line.to(intake.port))
        until = time.monotonic() + 60
        while not served(intake):
            assert time.monotonic() < until, "it is tried again, as a device does"
    assert served(intake)
    assert '"files-exhausted"' in (tmp_path / "log").read_text(encoding="utf-8")


def served(intake: Receiver) -> bool:
    """Whether a device can echo and store."""
    try:
        with Line.to(intake.port) as line:
            echoes(line)
        with Line.to(intake.port) as line:
            stores(line)
    except (AssertionError, OSError):
        return False
    return True
