"""The loop: how every role steps, rests when there is nothing to do or the world fails, and says that it lives."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from oculard import loading, log
from oculard.app import App
from oculard.clock import Hands
from oculard.errors import Transient
from oculard.store.roles import BEAT_S

IDLE_S = 0.1  # how soon an idle loop looks again
PAUSE_S = 2.0  # how long a loop rests when the world fails
logger = log.get("app")


def loop(
    app: App, role: str, name: str, step: Callable[[], bool], *, says: Callable[[], dict[str, Any]] = dict
) -> None:
    """The shell of every role: step while there is work, rest when there is none, and tell `status` that we live."""
    loading.end()
    pulse = threading.Thread(target=_pulse, args=(app, role, name, says), name="pulse", daemon=True)
    pulse.start()
    logger.info("role started", name=name, pid=os.getpid())
    hands = Hands(app.clock, seen=app.clock.began)  # what it planned while it started bears the old clock's times, too
    _steps(app, lambda: _start_anew(app) if hands.were_set_back() else step())
    pulse.join()
    logger.info("role ended", name=name)


def beside(app: App, step: Callable[[], bool]) -> None:
    """Steps in a thread of their own; a bug in one ends the whole process, which its supervisor starts again."""
    try:
        _steps(app, step)
    finally:
        app.clock.stop()


def _steps(app: App, step: Callable[[], bool]) -> None:
    while app.clock.running:
        try:
            busy = step()
        except Transient as why:
            logger.warning("step put off", reason=why.reason, hint=why.hint)
            app.clock.sleep(PAUSE_S)
            continue
        if not busy:
            app.clock.sleep(IDLE_S)


def _start_anew(app: App) -> bool:
    """End, so that the supervisor starts us anew: nobody in this process waits for a time of the old clock then."""
    logger.warning("clock set back", reason="clock-set-back", hint="is the time server right?")
    app.clock.stop()
    return True


def _pulse(app: App, role: str, name: str, says: Callable[[], dict[str, Any]]) -> None:
    while app.clock.running:
        try:
            app.roles.beat(name, role, says())
        except Transient as why:
            logger.warning("heartbeat missed", reason=why.reason)
        app.clock.sleep(BEAT_S)
    try:
        app.roles.forget(name)
    except Transient as why:
        logger.warning("heartbeat missed", reason=why.reason)
