"""The world's failures, in three kinds; bugs are none of them and crash."""

from __future__ import annotations


class OculardError(Exception):
    """A failure of the world that the program foresaw.

    `reason` is a stable slug: the same word in log, metric, job page and runbook.
    `hint` says what a person may do about it. Neither ever carries patient data.
    """

    reason = "error"
    hint = ""

    def __init__(self, message: str, *, reason: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        if hint is not None:
            self.hint = hint


class Rejected(OculardError):
    """Not for us. Never retried, never an alarm."""

    reason = "rejected"


class Transient(OculardError):
    """The world failed. Trying again may help."""

    reason = "transient"


class Permanent(OculardError):
    """Trying again will not help; a person must look."""

    reason = "permanent"


class Misconfigured(Permanent):
    """The configuration, the command line or the installation is wrong (exit code 2)."""

    reason = "misconfigured"
