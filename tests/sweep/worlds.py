"""Worlds of the long form: several daemons side by side, each with its own database, vault, device and PACS."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import structlog

import postgres
from sweep.kills import Call, Tally, all_deaths, mortal, run
from sweep.steps import Shot
from sweep.world import World


def found_deaths(*, seed: int, on_server: bool) -> list[Shot | Call]:
    """Every death there is, as a world in which nobody is shot shows them."""
    with empty_world(on_server) as world:
        return all_deaths(world, seed=seed)


def sweep(deaths: Sequence[Shot | Call], *, worlds: int, on_server: bool) -> Tally:
    """So many worlds, a share of the deaths each."""
    shares = [deaths[number::worlds] for number in range(worlds)]
    with ProcessPoolExecutor(worlds, multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(_sweep_share, share, on_server) for share in shares]
        return sum((one.result() for one in running), Tally())


def _sweep_share(deaths: Sequence[Shot | Call], on_server: bool) -> Tally:
    hush()
    with empty_world(on_server) as world:
        world.study()  # the first one makes folders and loads what is loaded once
        return run(world, deaths, say)


@contextmanager
def empty_world(on_server: bool) -> Iterator[World]:
    """A world of its own on SQLite, or on a PostgreSQL server of its own."""
    with tempfile.TemporaryDirectory(prefix="oculard-sweep-") as folder:
        if not on_server:
            with mortal(Path(folder) / "world") as world:
                yield world
            return
        with postgres.cluster() as url, mortal(Path(folder) / "world", url) as world:
            yield world


def hush() -> None:
    """The daemon's code that runs here, as in commands, says nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def say(line: str) -> None:
    """What a command says."""
    print(line, flush=True)  # noqa: T201  a command's output
