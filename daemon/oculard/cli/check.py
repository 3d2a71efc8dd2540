"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import dataclass

from oculard.errors import OculardError

FINE, WARNING, WRONG = "fine", "look", "WRONG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, and what was found."""

    what: str
    state: str  # "fine", "look" (it works, but ...), "WRONG"
    found: str
    hint: str = ""


def wrong(what: str, why: OculardError) -> Check:
    """What an error says."""
    return Check(what=what, state=WRONG, found=str(why), hint=why.hint)
