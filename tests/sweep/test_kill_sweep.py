"""SIGKILL at every kind of step of every role: nothing acknowledged is lost, nothing is reported twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from peers import forbidden
from sweep.kills import Call, run, some_deaths
from sweep.tracing import why_not
from sweep.world import make_world


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_whoever_dies_where(tmp_path: Path) -> None:
    """One death at each kind of step that a study takes; a role alone, or all processes at once; then the judge."""
    with make_world(tmp_path / "world") as world:
        tally = run(world, some_deaths(world))

    assert tally.wrong == []
    assert tally.died.total() >= 0.8 * tally.tried.total(), tally.text()
    assert {"intake", "worker", "sender", "upkeep", "fetcher"} <= {role for role, _ in tally.died}


@pytest.mark.timeout(600)
def test_nothing_is_lost_when_the_database_is_cut_off(tmp_path: Path) -> None:
    """The same at calls inside of SQLite, which only the system sees: in the middle of a write, at a sync."""
    if why_not():
        forbidden(why_not())
    deaths = [Call(role="intake", step="write", number=3), Call(role="worker", step="sync", number=1)]
    with make_world(tmp_path / "world") as world:
        world.study()
        tally = run(world, [*deaths, Call(role="sender", step="write", number=8)])

    assert tally.wrong == []
    assert tally.died.total() >= 1, tally.text()
