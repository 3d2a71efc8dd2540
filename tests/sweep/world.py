"""The world of a sweep: a device, the whole daemon as real processes, a PACS, and a judge who trusts none of them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import generate_uid

from daemons import Daemon, paint_study
from oculard.delivery.practice_pacs import Manners, PracticePacs
from peers import free_port
from sweep.browser import Browser
from sweep.device import Device
from sweep.judge import Judge, Ledger
from sweep.steps import Orders, Shot
from sweep.tracing import Injection, attached

PATIENCE_S, LOOK_S = 180.0, 0.05
CLOCK_S = 12.0  # how long a death by the clock is waited for: heartbeats come every 10 s
DAY_S = 86_400.0
CHORES_EVERY_S = "1"  # where files are removed: what the clock triggers need not be waited for
ROLES = ("intake", "worker", "sender", "fetcher", "upkeep", "web")
LEFT_BY = {"sweep_images": "remove_images.commit", "sweep_reports": "remove_reports.commit"}  # dead after the first
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}  # who dies often starts often: as an installed daemon does
URL_VARIABLE = "OCULARD_STORE__DATABASE_URL"
SETTINGS = """
commitment_port = {device}

[delivery]
connect_s = 4
answer_s = 12
lease_s = 24

[report]
pdf = true

[[peers]]
name = "pacs"
ae_title = "PRACTICE"
host = "127.0.0.1"
port = {pacs}
commitment = true
commitment_silence_h = 0.001

[[folders]]
name = "inbox"
path = "{folder}/inbox"
quiet_s = 1
every_s = 1
"""
RETENTION = """
[retention]
instances_days = {days}
reports_days = {days}
"""


@dataclass(slots=True, kw_only=True)
class World:
    """Everything of one sweep. `make_world` builds it."""

    folder: Path
    daemon: Daemon
    device: Device
    pacs: PracticePacs
    orders: Orders
    ledger: Ledger
    port: int
    browser: Browser
    database: str
    kept_s: float | None = None  # how long files stay after the last delivery
    answered: bool = False  # whether a browser was, in the last study
    compared: int = 0  # objects of reports, byte by byte with the PACS's
    studies: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _awaited: int = 0  # deaths

    @property
    def judge(self) -> Judge:
        """Who looks."""
        return Judge(store=self.folder / "data", database=self.database, kept_s=self.kept_s)

    def shoot(self, shot: Shot) -> bool:
        """One study while somebody is to die; whether the shot was fired. What is wrong then stands in `wrong`."""
        before = self.roles()
        again: list[bool] = []
        if shot.again:
            self.study(watched=shot.role == "fetcher", meanwhile=lambda: again.append(self._die_again(shot)))
        else:
            self._give(shot)
            self.study(watched=shot.role == "fetcher", victim="sender" if shot.role == "run" else "")
        if shot.chore:
            self._await_death()
        has_died, self._awaited = not self.orders.withdraw() and again != [False], 0
        if not shot.whole and shot.role != "run":
            now = self.roles()
            others = {role for role in before if role != shot.role}
            self.wrong += [f"{shot}: {role} died too" for role in others if now.get(role) != before[role]]
            if not self.answered and shot.role != "web":
                self.wrong.append(f"{shot}: the web role did not answer")
        return has_died

    def _give(self, shot: Shot) -> None:
        if shot.chore in LEFT_BY:
            # Something must lie there that is to be swept, and upkeep sweeps as soon as it is back.
            self.orders.give(Shot(role=shot.role, step=LEFT_BY[shot.chore], number=1, side="after"), then=shot)
        else:
            self.orders.give(shot)
        self._awaited = self.orders.left

    def _die_again(self, shot: Shot) -> bool:
        """A first death, anywhere, and whether there was a second one before the dead were back."""
        self.kill(shot.role, whole=shot.whole)
        self._give(shot)
        self.wait_for(lambda: not self.orders.are_open or self.is_back(shot.role), f"{shot.role} is back or dead")
        return not self.orders.withdraw()

    def kill(self, role: str, *, whole: bool = False) -> None:
        """SIGKILL from outside: to a role or the supervisor, with all others where it is so wanted."""
        dying = self.pids() if whole else [self.pid(role)]
        for pid in dying:
            with contextlib.suppress(ProcessLookupError):  # roles end by themselves when their supervisor is gone
                os.kill(pid, signal.SIGKILL)
        if whole or role == "run":
            self.daemon.await_end()
        self.daemon.wait_for(lambda: not any(map(_runs, dying)))

    def is_back(self, role: str) -> bool:
        """Whether the process that runs in this role now, or the supervisor with all roles, has spoken."""
        if role == "run":
            return not self._has_ended() and self.daemon.is_up()
        return self._find(role) in {one.pid for one in self.daemon.app.roles.list()}

    def _await_death(self) -> None:
        """Wait for what comes by the clock, if nobody has died of it meanwhile."""
        pause = threading.Event()
        for left in range(self.orders.left, 0, -1):
            until = time.monotonic() + CLOCK_S + (self.kept_s or 0)
            while self.orders.left >= left and time.monotonic() < until:
                pause.wait(LOOK_S)
            self._witness()

    def shoot_call(self, role: str, injection: Injection) -> bool:
        """The same, with a death at a system call."""
        pid = self.pid(role)
        with attached([pid], ["-o", "/dev/null", *injection.arguments()]) as tracer:
            self.study(watched=role == "fetcher")
            return tracer.poll() is not None

    def study(
        self,
        *,
        watched: bool = False,
        victim: str = "",
        ended: int = 0,
        tried: Callable[[], None] = lambda: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """One study from the device to the end of all that follows, as often as it takes.

        `victim`: a role that is killed on the way. `ended`: how many jobs end without a report. What happens to the
        world: `tried` when the device has tried once, `meanwhile` when all was acknowledged or lies in the folder.
        """
        files = self.paint()
        if not watched:
            self._sent(files)
            tried()
        if watched:
            self._drop(files)
            meanwhile()
        else:
            self.wait_for(lambda: self._sent(files), "sent")
            meanwhile()
            if victim:
                self.kill(victim)
            transaction = generate_uid()
            self.wait_for(lambda: self.device.ask(self.port, transaction, files), "asked to commit")
        self.answered = self.browser.look()
        self.wait_for(lambda: self.judge.is_quiet(2 * len(self.studies) - ended), "done")
        if not ended:
            self._look_closely()

    def _look_closely(self) -> None:
        """The verdict on the last study, while its files are there."""
        compared, wrong = self.judge.same_bytes(self._at_pacs(), self.studies[-1])
        self.compared += compared
        self.wrong += wrong

    def look(self) -> None:
        """When all has ended he is told so, and the truth."""
        self.wait_for(self.browser.is_served, "served")
        said, counted = self.browser.delivered(), self.judge.delivered()
        if said != counted:
            self.wrong.append(f"the metrics say {said} deliveries, and there are {counted}")

    def paint(self) -> list[Path]:
        """A new study, in the device's hands."""
        number = len(self.studies)
        files = list(paint_study(self.folder / f"study{number}", seed=5000 + number, size_px=256))
        self.studies.append(str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID))
        return files

    def verdict(self) -> list[str]:
        """What is wrong, at any death and at the end."""
        return [*self.wrong, *self.judge.verdict(self.ledger, self._at_pacs(), self.studies)]

    def finish(self) -> None:
        """Let upkeep remove all that may go by now, and sweep what the dead have left of it."""
        self.wait_for(lambda: not self.judge.removals.unfinished(), "removed")

    def _at_pacs(self) -> dict[str, Path]:
        return {uid: self.pacs.path(uid) for uid in self.pacs.uids()}

    def pid(self, role: str) -> int:
        """The process of a role: read from the kernel, not from the daemon's records."""
        found = self.wait_for(lambda: self._find(role), f"{role} runs")
        return int(found)

    def pids(self) -> list[int]:
        """Every process of the daemon."""
        assert self.daemon.process is not None
        supervisor = self.daemon.process.pid
        found = [supervisor]
        for file in Path(f"/proc/{supervisor}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found += map(int, file.read_text().split())
        return found

    def roles(self) -> dict[str, int]:
        """The process of each role that runs now."""
        found = {role: self._find(role) for role in ROLES}
        return {role: pid for role, pid in found.items() if pid}

    def _find(self, role: str) -> int:
        if role == "run":
            return self.pids()[0]
        with contextlib.suppress(FileNotFoundError):
            for pid in self.pids():
                with contextlib.suppress(FileNotFoundError):
                    if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                        return pid
        return 0

    def _sent(self, files: Sequence[Path]) -> bool:
        done = self.device.send(self.port, files)
        self._witness()
        return done

    def _witness(self) -> None:
        """The moment when somebody has died: before he is there again, what was acknowledged and named must be."""
        left = self.orders.left
        if left < self._awaited:
            self.wrong += self.judge.at_death(self.ledger)
        self._awaited = left

    def _drop(self, files: Sequence[Path]) -> None:
        """Files that somebody puts into the watched folder."""
        for path in files:
            path.rename(self.folder / "inbox" / path.name)

    def _revive(self) -> None:
        """The machine's own supervisor: when the daemon was killed, starts it anew, once nothing is left of it."""
        if self._has_ended() and not self._left():
            self.daemon.launch()
            self.daemon.wait_for(lambda: self.daemon.is_up() or self._has_ended())

    def _has_ended(self) -> bool:
        process = self.daemon.process
        return process is not None and process.poll() is not None

    def _left(self) -> list[int]:
        """Roles of a daemon whose supervisor is dead: they end by themselves."""
        mark, found = f"\0{self.daemon.file}\0".encode(), []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if mark in file.read_bytes():
                    found.append(int(file.parent.name))
        return found

    def wait_for(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until there is something to see, and give it; start the daemon when all of it was killed."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not (found := look()):
            self._witness()
            self._revive()
            if time.monotonic() > until:
                log = (self.daemon.folder / "log").read_text()[-6000:]
                raise AssertionError(f"not {what} after {PATIENCE_S} s; ended: {self.judge.ended()}; the log:\n{log}")
            pause.wait(LOOK_S)
        self._witness()
        return found


def _runs(pid: int) -> bool:
    """Whether it has not ended: the dead have no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


@contextmanager
def make_world(
    folder: Path,
    *,
    database: str = "",
    kept_s: float | None = None,
    extra: str = "",
    environment: Mapping[str, str] = {},
) -> Iterator[World]:
    """A world that runs, until the block ends. `database`: the URL of an empty one; SQLite where none is named.

    `kept_s`: how long files stay after the last delivery; for ever by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inbox").mkdir()
    ledger, orders, port, browser = Ledger(), Orders(folder=folder), free_port(), Browser(port=free_port())
    with ExitStack() as stack:
        device = stack.enter_context(Device(ledger))
        manners = Manners(answers_to=("127.0.0.1", port))
        pacs = stack.enter_context(PracticePacs(folder / "pacs", manners=manners))
        settings = SETTINGS.format(device=device.port, pacs=pacs.port, folder=folder) + extra
        ports = {"OCULARD_INTAKE__PORT": str(port), "OCULARD_WEB__PORT": str(browser.port)}
        told = {**orders.environment, **ports, **COMPILED, **environment}
        if kept_s is not None:
            settings += RETENTION.format(days=kept_s / DAY_S)
            told["CHORES_EVERY_S"] = CHORES_EVERY_S
        if database:
            os.environ[URL_VARIABLE] = database  # for the daemon's commands and for its schema
            stack.callback(os.environ.pop, URL_VARIABLE)
        daemon = Daemon(folder, settings, told)
        world = World(
            folder=folder,
            daemon=daemon,
            device=device,
            pacs=pacs,
            orders=orders,
            ledger=ledger,
            port=port,
            browser=browser,
            kept_s=kept_s,
            database=database or str(folder / "data" / "oculard.db"),
        )
        stack.callback(daemon.app.database.close)
        daemon.start()
        try:
            yield world
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()
