"""`oculard run`: every role as a child process of one supervisor, on one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from oculard import log
from oculard.app import App
from oculard.errors import Misconfigured, Transient
from oculard.job import backoff_s
from oculard.loop import IDLE_S
from oculard.process import configure_log, is_dead, role_name
from oculard.roles import roles_of

EXIT_MISUSE = 2
RESTART_S_MAX = 30.0
STEADY_S = 10.0  # a child that lived so long starts with a short pause again
END_S = 30.0  # how long a child may take to end cleanly
logger = log.get("run")


@dataclass(slots=True)
class Child:
    """One role's process."""

    role: str
    name: str
    process: subprocess.Popen[bytes]
    started_at: datetime
    failures: int = 0
    restart_at: datetime | None = None


class Supervisor:
    """Starts the children, starts the dead again, gives back what they held, and ends them all together."""

    def __init__(self, app: App, config: Path) -> None:
        self._app, self._config = app, config
        self._children: list[Child] = []
        self._settled: set[str] = set()  # roles that have run well: whatever happens later, the others go on

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT. Raises Misconfigured when a child says that it is."""
        app = self._app
        configure_log(app.settings, "run")
        app.prepare()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: app.clock.stop())
        self._bury_predecessors()
        try:
            for role in roles_of(app.settings):
                self._children.append(self._start(role, failures=0))
            while app.clock.running:
                if not self._step():
                    app.clock.sleep(IDLE_S)
        finally:
            self._end()

    def _bury_predecessors(self) -> None:
        """Give back what an earlier daemon of this machine held when it was killed, before its leases end."""
        held = [queue.holders() for queue in self._app.queues]
        for owner in self._app.instances.owners().union(*held):
            if is_dead(owner):
                logger.warning("leases of a dead process given back", name=owner, reason="role-died")
                self._give_back(owner)

    def _give_back(self, owner: str) -> None:
        for queue in self._app.queues:
            queue.reap(dead_owner=owner)
        self._app.instances.bury(owner)

    def _step(self) -> bool:
        """Look after at most one child; say whether one needed it."""
        now = self._app.clock.now()
        for index, child in enumerate(self._children):
            if child.restart_at is None and child.process.poll() is not None:
                self._mourn(child, now)
                return True
            if child.restart_at is not None and _is_due(child.restart_at, now):
                self._children[index] = self._start(child.role, failures=child.failures)
                return True
        return False

    def _start(self, role: str, *, failures: int) -> Child:
        name = role_name(role)
        command = [sys.executable, "-m", "oculard", "--config", str(self._config), role, "--name", name, "--supervised"]
        # The child reads the other end of its stdin: it ends when we end, even if we are killed.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  our own program
        logger.info("role starts", role=role, pid=process.pid)
        return Child(role=role, name=name, process=process, started_at=self._app.clock.now(), failures=failures)

    def _mourn(self, child: Child, now: datetime) -> None:
        """A child died: give back its leases at once and plan its successor."""
        code = child.process.returncode
        steady = now - child.started_at > timedelta(seconds=STEADY_S)
        self._settled |= {child.role} if steady else set()
        if code == EXIT_MISUSE and child.role not in self._settled:
            raise Misconfigured(f"role `{child.role}` refused to start", hint="its own message is above")
        child.failures = 1 if steady else child.failures + 1
        delay_s = backoff_s(child.failures - 1, longest_s=RESTART_S_MAX)
        child.restart_at = now + timedelta(seconds=delay_s)
        logger.error("role died", role=child.role, exit_code=code, delay_s=delay_s, reason="role-died")
        try:
            self._give_back(child.name)
        except Transient as why:
            logger.warning("leases not given back", reason=why.reason)  # they end by themselves

    def _end(self) -> None:
        """End every child; kill the one that does not end."""
        living = [child for child in self._children if child.process.poll() is None]
        for child in living:
            child.process.send_signal(signal.SIGTERM)
        for child in living:
            try:
                child.process.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                logger.error("role killed", role=child.role, reason="role-hung")
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()
            if child.process.stdin is not None:
                child.process.stdin.close()


def _is_due(moment: datetime, now: datetime) -> bool:
    """Whether it has come, or is so far ahead that the clock was set back."""
    return now >= moment or moment - now > timedelta(seconds=RESTART_S_MAX)
