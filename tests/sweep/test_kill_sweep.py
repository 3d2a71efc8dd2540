"""SIGKILL at every kind of step of every role: nothing acknowledged is lost, nothing is reported twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from oculard.roles import ROLES
from peers import forbidden
from sweep.kills import Call, mortal, run, some_deaths
from sweep.steps import AGAIN
from sweep.tracing import why_not

SUPERVISOR = "run"


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled_whoever_dies_where(tmp_path: Path) -> None:
    """One death at each kind of step that a study takes; a role alone, or all processes at once; then the judge."""
    with mortal(tmp_path / "world") as world:
        tally = run(world, some_deaths(world))

    assert tally.wrong == []
    assert tally.died.total() >= 0.8 * tally.tried.total(), tally.text()
    died = {kind for kind, count in tally.died.items() if count}
    assert {role for role, _ in died} == {*ROLES, SUPERVISOR}
    assert {("upkeep", "remove_images.unlink"), ("upkeep", "remove_reports.unlink")} <= died
    assert {("upkeep", "sweep_images.unlink"), ("upkeep", "sweep_reports.unlink")} <= died
    assert {role for role, kind in died if kind.endswith(AGAIN)} == {*ROLES, SUPERVISOR}, "on the way back"
    assert world.compared >= len(world.studies), "each report's bytes, while they were there"


@pytest.mark.timeout(600)
def test_nothing_is_lost_when_the_database_is_cut_off(tmp_path: Path) -> None:
    """The same at calls inside of SQLite, which only the system sees: in the middle of a write, at a sync."""
    if why_not():
        forbidden(why_not())
    deaths = [Call(role="intake", step="write", number=3), Call(role="worker", step="sync", number=1)]
    with mortal(tmp_path / "world") as world:
        world.study()
        tally = run(world, [*deaths, Call(role="sender", step="write", number=8)])

    assert tally.wrong == []
    assert tally.died.total() >= 1, tally.text()
