"""Processes of the bench, each a module of it: they say `ready`, are told a line, and answer with a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


class Hand:
    """One process."""

    def __init__(self, *command: str) -> None:
        self._name = command[0]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        )

    def must_be_ready(self) -> None:
        """Wait until it says so."""
        assert self._line() == "ready\n", f"{self._name} did not start"

    def tell(self, line: str = "") -> None:
        """Tell it a line; an empty one lets it begin, or stops it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        """What it found."""
        line = self._line()
        assert line, f"{self._name} ended before it was done"
        return json.loads(line)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> None:
        """It has nothing to keep."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def crew(count: int, *command: str) -> Iterator[list[Hand]]:
    """So many processes of one kind, until the block ends."""
    with ExitStack() as ends:
        hands = []
        for _ in range(count):
            hand = Hand(*command)
            ends.callback(hand.end)
            hands.append(hand)
        yield hands
