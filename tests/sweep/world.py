"""The world of a sweep: a device, the whole daemon as real processes, a PACS, and a judge who trusts none of them."""

from __future__ import annotations

import contextlib
import os
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
from sweep.device import Device
from sweep.judge import Judge, Ledger
from sweep.steps import Orders, Shot
from sweep.tracing import Injection, attached

PATIENCE_S, LOOK_S = 180.0, 0.05
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
    database: str
    studies: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def judge(self) -> Judge:
        """Who looks."""
        return Judge(store=self.folder / "data", database=self.database)

    def shoot(self, shot: Shot) -> bool:
        """One study while somebody is to die; whether the shot was fired. What is wrong then stands in `wrong`."""
        self.orders.give(shot)
        self.study(watched=shot.role == "fetcher")
        return not self.orders.withdraw()

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
        ended: int = 0,
        tried: Callable[[], None] = lambda: None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """One study from the device to the end of all that follows, as often as it takes.

        `ended`: how many jobs end without a report. What happens to the world: `tried` when the device has tried
        once, `meanwhile` when all was acknowledged.
        """
        files = self.paint()
        if not watched:
            self._sent(files)
            tried()
        if watched:
            self._drop(files)
        else:
            self.wait_for(lambda: self._sent(files), "sent")
            meanwhile()
            transaction = generate_uid()
            self.wait_for(lambda: self.device.ask(self.port, transaction, files), "asked to commit")
        self.wait_for(lambda: self.judge.is_quiet(2 * len(self.studies) - ended), "done")

    def paint(self) -> list[Path]:
        """A new study, in the device's hands."""
        number = len(self.studies)
        files = list(paint_study(self.folder / f"study{number}", seed=5000 + number, size_px=256))
        self.studies.append(str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID))
        return files

    def verdict(self) -> list[str]:
        """What is wrong, at any death and at the end."""
        pacs = {uid: self.pacs.path(uid) for uid in self.pacs.uids()}
        return [*self.wrong, *self.judge.verdict(self.ledger, pacs, self.studies)]

    def pid(self, role: str) -> int:
        """The process of a role: read from the kernel, not from the daemon's records."""
        found = self.wait_for(lambda: self._find(role), f"{role} runs")
        return int(found)

    def pids(self) -> list[int]:
        """Every process of the daemon."""
        assert self.daemon.process is not None
        supervisor = self.daemon.process.pid
        tasks = Path(f"/proc/{supervisor}/task").glob("*/children")
        return [supervisor, *(int(pid) for file in tasks for pid in file.read_text().split())]

    def _find(self, role: str) -> int:
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError):
                if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                    return pid
        return 0

    def _sent(self, files: Sequence[Path]) -> bool:
        was_open = self.orders.are_open
        done = self.device.send(self.port, files)
        if was_open and not self.orders.are_open:  # somebody has just died: what was acknowledged must be there now
            self.wrong += self.judge.kept(self.ledger.acknowledged)
        return done

    def _drop(self, files: Sequence[Path]) -> None:
        """Files that somebody puts into the watched folder."""
        for path in files:
            path.rename(self.folder / "inbox" / path.name)

    def _revive(self) -> None:
        """The machine's own supervisor: starts the daemon when all of it was killed."""
        process = self.daemon.process
        if process is not None and process.poll() is not None:
            self.daemon.start()

    def wait_for(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until there is something to see, and give it; start the daemon when all of it was killed."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not (found := look()):
            self._revive()
            if time.monotonic() > until:
                log = (self.daemon.folder / "log").read_text()[-6000:]
                raise AssertionError(f"not {what} after {PATIENCE_S} s; ended: {self.judge.ended()}; the log:\n{log}")
            pause.wait(LOOK_S)
        return found


@contextmanager
def make_world(
    folder: Path, *, database: str = "", extra: str = "", environment: Mapping[str, str] = {}
) -> Iterator[World]:
    """A world that runs, until the block ends. `database`: the URL of an empty one; SQLite where none is named."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inbox").mkdir()
    ledger, orders, port = Ledger(), Orders(folder=folder), free_port()
    with ExitStack() as stack:
        device = stack.enter_context(Device(ledger))
        manners = Manners(answers_to=("127.0.0.1", port))
        pacs = stack.enter_context(PracticePacs(folder / "pacs", manners=manners))
        settings = SETTINGS.format(device=device.port, pacs=pacs.port, folder=folder) + extra
        told = {**orders.environment, "OCULARD_INTAKE__PORT": str(port), **environment}
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
            database=database or str(folder / "data" / "oculard.db"),
        )
        stack.callback(daemon.app.database.close)
        daemon.start()
        try:
            yield world
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()
