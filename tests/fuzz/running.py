"""Running a target on many inputs, and what came of them."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter

from fuzz.mutation import mutated
from oculard_models.dicom_geometry import Unfit
from oculard_models.dicom_pixels import Undecodable

DEATHS = frozenset({"decoder-died"})  # outcomes in which a process died that may: counted, and kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A target that may be given inputs. `feed` says in a word what came of one; what it raises is a crash."""

    seeds: tuple[bytes, ...]
    feed: Callable[[bytes], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that reads bytes which others wrote."""

    name: str
    reads: str
    prepared: Callable[[Path], AbstractContextManager[Ready]]
    short: int  # inputs in the tests
    slow_s: float = 45.0  # an input that takes longer is a finding


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a target's inputs."""

    target: str
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    deaths: list[str] = field(default_factory=list)


def outcome_of(why: Undecodable | Unfit) -> str:
    """The reason, where a process gave one. It may die of a codec's crash, and of no exception that nobody caught."""
    if why.reason in DEATHS and "exit code" in str(why):
        raise AssertionError(f"an exception ended the process: {why}")
    return why.reason


def run(target: Target, folder: Path, *, seed: int, numbers: Iterator[int], until: float = float("inf")) -> Result:
    """Feed a target until its numbers are used up or the time is; what it died of stays in the folder."""
    result = Result(target=target.name)
    work = folder / target.name
    work.mkdir(parents=True, exist_ok=True)
    with target.prepared(work) as ready:
        for number in numbers:
            if monotonic() > until:
                break
            one(target, ready, result, mutated(ready.seeds, f"{seed}:{target.name}:{number}"), f"{seed}-{number}", work)
    return result


def one(target: Target, ready: Ready, result: Result, data: bytes, name: str, work: Path) -> None:
    """Feed one input."""
    began = perf_counter()
    try:
        outcome = ready.feed(data)
    except BaseException as why:
        if isinstance(why, KeyboardInterrupt):
            raise
        (work / f"crash-{name}").write_bytes(data)
        where = traceback.extract_tb(why.__traceback__)[-1]
        result.crashes.append(f"{name}: {type(why).__name__}: {why} ({Path(where.filename).name}:{where.lineno})")
        outcome = f"crash {type(why).__name__}"
    took = perf_counter() - began
    result.inputs += 1
    result.outcomes[outcome] += 1
    result.slowest_s = max(result.slowest_s, took)
    if outcome in DEATHS:
        result.deaths.append(name)
        (work / f"death-{name}").write_bytes(data)
    if took > target.slow_s:
        (work / f"slow-{name}").write_bytes(data)
        result.crashes.append(f"{name}: took {took:.1f} s")
