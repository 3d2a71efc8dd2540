"""The loop of every role."""

from __future__ import annotations

import gc
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from fakes import UnheardRoles
from oculard.app import App
from oculard.clock import SystemClock
from oculard.loop import loop


@pytest.mark.parametrize(("set_back_s", "steps"), [(3600, 0), (0, 1)])
def test_a_clock_set_back_while_a_role_starts_is_noticed(set_back_s: float, steps: int) -> None:
    """Its scheduler has planned by the old clock already: the role starts anew before its first step."""
    clock = SystemClock()
    clock.began += timedelta(seconds=set_back_s)
    taken: list[datetime] = []

    def step() -> bool:
        taken.append(clock.now())
        clock.stop()
        return True

    loop(cast("App", SimpleNamespace(clock=clock, roles=UnheardRoles())), "upkeep", "upkeep@here:1:2", step)
    gc.unfreeze()

    assert len(taken) == steps
