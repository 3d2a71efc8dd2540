"""Many associations, good ones and bad ones, on a real intake: memory, threads and file handles stay what they were.

PYTHONPATH=tests:tests/network python -m soak --associations 10000 --json FILE
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from pdus import ABORT, P_DATA, RJ, Line, associate_rq, echo, p_data, pdu, status_of, store_command

from bench.receivers import TITLE, Receiver, oculard
from devices import encode, photograph

CALLERS = 4  # at once
SILENT = 20  # connections that stay open and say nothing, all the time
WARM_UP = 100  # associations before the first look
SAME_LOOKS = 100  # five seconds: the network thread of an association looks twice a second
HTTP = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What the intake's process holds while nobody is there."""

    associations: int  # so far
    stored: int
    rss_mib: float
    threads: int
    files: int
    cpu_s: float


def holds(pid: int, associations: int, stored: int) -> Holds:
    """Look at the process, from outside."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split()
    clock = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return Holds(
        associations=associations,
        stored=stored,
        rss_mib=int(status[status.index("VmRSS:") + 1]) / 1024,
        threads=int(status[status.index("Threads:") + 1]),
        files=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208  names are all we want
        cpu_s=(int(clock[11]) + int(clock[12])) / os.sysconf("SC_CLK_TCK"),
    )


def opened(line: Line) -> Line:
    """An association of a device that is known."""
    line.send(associate_rq(called=TITLE, calling="FASTSCU"))
    line.hear()
    return line


def stores(line: Line) -> bool:
    """One instance, and goodbye; whether it was stored."""
    ds = photograph()
    opened(line).send(store_command(ds.SOPInstanceUID), p_data(3, 2, encode(ds)))
    kind, answer = line.hear()
    assert (kind, status_of(answer)) == (P_DATA, 0), "an honest device is served"
    line.release()
    return True


def echoes(line: Line) -> None:
    opened(line).send(echo())
    kind, answer = line.hear()
    assert (kind, status_of(answer)) == (P_DATA, 0), "an honest device is served"
    line.release()


def strange(line: Line) -> None:
    line.send(associate_rq(called=TITLE, calling="STRANGER"))
    assert line.hear()[0] == RJ


def aborts(line: Line) -> None:
    opened(line).send(store_command("1.2.3"), p_data(3, 0, bytes(9000)), pdu(ABORT, bytes(4)))


def resets(line: Line) -> None:
    opened(line).send(store_command("1.2.3"), p_data(3, 0, bytes(9000)))
    line.reset()


def half_closes(line: Line) -> None:
    opened(line).send(echo())
    line.half_close()
    line.heard()


def nonsense(line: Line) -> None:
    opened(line).send(p_data(1, 3, b"\xff" * 99))
    line.heard()


def talks_http(line: Line) -> None:
    line.send(HTTP)
    line.heard()


def says_nothing(line: Line) -> None:
    del line


DEEDS: tuple[tuple[Callable[[Line], object], int], ...] = (
    (stores, 40),
    (echoes, 20),
    (strange, 5),
    (aborts, 10),
    (resets, 10),
    (half_closes, 5),
    (nonsense, 4),
    (talks_http, 3),
    (says_nothing, 3),
)


def soak(receiver: Receiver, associations: int, *, looks: int = 1) -> Iterator[Holds]:
    """So many associations in a mixed order; what the process holds before, between and after, always at rest."""
    chance = random.Random(1)
    _crowd(receiver, chance, WARM_UP)
    stored, rest = 0, _at_rest(receiver.pid, 0, 0, None)
    yield rest
    for look in range(looks):
        begun, until = associations * look // looks, associations * (look + 1) // looks
        stored += _crowd(receiver, chance, until - begun)
        yield _at_rest(receiver.pid, until, stored, rest)


def _crowd(receiver: Receiver, chance: random.Random, associations: int) -> int:
    """So many, some at once; how many instances were stored."""

    def one(deed: Callable[[Line], object]) -> bool:
        with Line.to(receiver.port) as line, contextlib.suppress(ConnectionError):
            return deed(line) is True
        return False

    order = chance.choices([deed for deed, _ in DEEDS], [share for _, share in DEEDS], k=associations)
    with ExitStack() as stack, ThreadPoolExecutor(CALLERS) as pool:
        for _ in range(SILENT):
            stack.enter_context(Line.to(receiver.port))
        return sum(pool.map(one, order))


def _at_rest(pid: int, associations: int, stored: int, rest: Holds | None) -> Holds:
    """What it holds once it is as it was, or holds on to the same for a while."""
    same, found = 0, holds(pid, associations, stored)
    while same < SAME_LOOKS and (rest is None or (found.threads, found.files) > (rest.threads, rest.files)):
        threading.Event().wait(0.05)
        last, found = found, holds(pid, associations, stored)
        same = same + 1 if (last.threads, last.files) == (found.threads, found.files) else 0
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--associations", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, oculard(Path(folder)) as receiver:
        began, looks = time.monotonic(), list[Holds]()
        print("associations  stored  memory MiB  threads  files   CPU s")  # noqa: T201  it is for people
        for found in soak(receiver, given.associations, looks=10):
            looks.append(found)
            print(  # noqa: T201
                f"{found.associations:12d} {found.stored:7d} {found.rss_mib:11.1f} {found.threads:8d} {found.files:6d}"
                f" {found.cpu_s:7.1f}"
            )
        print(f"{time.monotonic() - began:.0f} s")  # noqa: T201
    if given.json:
        given.json.write_text(json.dumps([asdict(look) for look in looks], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
