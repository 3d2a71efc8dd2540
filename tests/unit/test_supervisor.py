"""The supervisor: which death of a child ends the daemon, and which does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oculard.app import App
from oculard.clock import SystemClock
from oculard.errors import Misconfigured
from oculard.process import is_dead, role_name
from oculard.settings import Settings, Store
from oculard.supervisor import RESTART_S_MAX, Child, Supervisor


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    """A supervisor of nobody, on a real database."""
    app = App(Settings(store=Store(folder=tmp_path / "data")), SystemClock())
    app.database.upgrade()
    return Supervisor(app, tmp_path / "oculard.toml")


def dead(code: int, *, lived_s: float, failures: int = 0) -> Child:
    """A child that ended with this code."""
    at = SystemClock().now() - timedelta(seconds=lived_s)
    process = cast("Any", SimpleNamespace(returncode=code))
    return Child(role="worker", name="worker@x:1:a", process=process, started_at=at, failures=failures)


def test_a_child_that_refuses_to_start_ends_the_daemon(supervisor: Supervisor) -> None:
    """A wrong configuration is said at once, not tried for ever."""
    with pytest.raises(Misconfigured, match="worker"):
        supervisor._mourn(dead(2, lived_s=1), SystemClock().now())


def test_a_role_that_has_run_well_ends_nobody_else(supervisor: Supervisor) -> None:
    """A bundle that is replaced while the daemon runs may stop the worker; intake goes on."""
    now = SystemClock().now()
    supervisor._mourn(dead(-11, lived_s=60), now)
    again = dead(2, lived_s=1)
    supervisor._mourn(again, now)

    assert again.restart_at is not None


def test_the_pause_grows_with_quick_deaths_and_has_an_end(supervisor: Supervisor) -> None:
    """One second, two, four, ... thirty; a long life starts anew."""
    now, pauses = SystemClock().now(), []
    for failures, lived_s in ((0, 1), (1, 1), (2, 1), (9, 1), (9, 60)):
        child = dead(1, lived_s=lived_s, failures=failures)
        supervisor._mourn(child, now)
        assert child.restart_at is not None
        pauses.append((child.restart_at - now).total_seconds())

    assert pauses == [1, 2, 4, 30, 1]


@pytest.mark.parametrize(
    ("ahead_s", "is_started"), [(RESTART_S_MAX, False), (0.0, True), (-5.0, True), (RESTART_S_MAX + 1, True)]
)
def test_a_clock_that_was_set_back_delays_no_role(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, ahead_s: float, is_started: bool
) -> None:
    """A pause lasts half a minute at most: a role that would start later than that has the old clock's time."""
    now, started = SystemClock().now(), list[str]()
    child = dead(1, lived_s=1, failures=3)
    child.restart_at = now + timedelta(seconds=ahead_s)
    supervisor._children.append(child)
    monkeypatch.setattr(SystemClock, "now", lambda _: now)

    def start(role: str, *, failures: int) -> Child:
        started.append(role)
        return dead(0, lived_s=0, failures=failures)

    monkeypatch.setattr(supervisor, "_start", start)

    assert supervisor._step() is is_started
    assert started == (["worker"] if is_started else [])


def test_only_a_process_of_this_machine_can_be_known_dead() -> None:
    """Of another machine's processes nothing is known; ours is alive."""
    mine = role_name("worker")

    assert not is_dead(mine)
    assert not is_dead("worker@elsewhere:1:abc")
    assert not is_dead("nonsense")
    assert is_dead(mine.replace(mine.split(":")[1], "4194304"))
