"""Something done by another process in the middle of a transaction: it waits for it, or goes ahead of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from shelf import Shelf

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


class Beside:
    """Begins when the transaction is where it should be, and lets that go on once this has ended or waits for it."""

    def __init__(self, shelf: Shelf, do: Callable[[], Any]) -> None:
        self._shelf, self._result = shelf, list[Any]()
        self._thread = threading.Thread(target=lambda: self._result.append(do()), name="beside")

    def then(self, go_on: Callable[..., Any]) -> Callable[..., Any]:
        """A function that lets the other begin, and then does what it did before."""

        def begin_and_go_on(*arguments: Any, **named: Any) -> Any:
            self._thread.start()
            self._wait()
            return go_on(*arguments, **named)

        return begin_and_go_on

    def end(self) -> Any:
        """What came of it."""
        self._thread.join(60)
        (result,) = self._result
        return result

    def _wait(self) -> None:
        """SQLite lets one writer in at a time, so there is nothing to wait for."""
        while self._thread.is_alive() and not self._shelf.database.is_sqlite:
            with self._shelf.database.read() as connection:
                if connection.exec_driver_sql(WAITING).scalar_one():
                    return
