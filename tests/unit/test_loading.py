"""While something is loaded no garbage is looked for; afterwards it is, and never among what was loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from fakes import UnheardRoles
from oculard.app import App
from oculard.clock import SystemClock
from oculard.loading import begin, loading
from oculard.loop import loop


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_is_looked_for_again_even_where_loading_fails() -> None:
    """A process in which a library is missing still collects, and what was loaded is out of the way."""
    with pytest.raises(ImportError), loading():
        raise ImportError

    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_a_role_collects_as_soon_as_its_work_begins() -> None:
    """A process that lives for months would otherwise keep every cycle that it ever made."""
    clock, seen = SystemClock(), []

    def step() -> bool:
        seen.append((gc.isenabled(), gc.get_freeze_count() > 0))
        clock.stop()
        return True

    begin()
    loop(cast("App", SimpleNamespace(clock=clock, roles=UnheardRoles())), "web", "web@here:1:2", step)

    assert seen == [(True, True)]
