"""What is raised of a file whose pixels, or whose header, cannot be read."""

from __future__ import annotations


class Undecodable(ValueError):
    """The pixels cannot be read. `reason` is a stable slug; the message has no patient data."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)
