"""Work on many rows in short transactions, with a pause between two: whoever waits to write gets a turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oculard.clock import Clock

PORTION = 200  # rows of one transaction: some hundredths of a second
PAUSE_S = 0.15  # SQLite's waiting writers look again after 100 ms at the latest: a shorter gap they would miss


def portions(ids: Sequence[int], clock: Clock) -> Iterator[Sequence[int]]:
    """The rows, some at a time."""
    for start in range(0, len(ids), PORTION):
        if start:
            clock.sleep(PAUSE_S)
        yield ids[start : start + PORTION]
