"""Loading: what a program loads stays, so none of it is garbage; to look for some costs up to a fifth of the time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def begin() -> None:
    """From now on much is loaded: no garbage is looked for until `end`."""
    gc.disable()


def end() -> None:
    """All is loaded: from now on garbage is looked for, and never among what is here."""
    gc.freeze()
    gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """The block loads."""
    begin()
    try:
        yield
    finally:
        end()


def over() -> None:
    """The process ends, and its memory with it: the interpreter need not look three times through all that was loaded.

    Whatever has to be closed or written was closed by then: nothing may wait for a collection.
    """
    gc.freeze()
