"""Where the figures of an evaluation come from: without it they are not a result."""

from __future__ import annotations

from dataclasses import asdict, dataclass

DISCLAIMER = "Estimates for research. Not a medical device."
DISCLAIMER_JAPANESE = "研究用の推定値です。医療機器ではありません。"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Data, bundle and circumstances of one evaluation, as page and metrics.json state them."""

    table: str  # name of the file
    table_sha256: str
    persons: int
    photographs: int
    part: str  # which persons of the table: all, or a part of a split
    bundle: str  # identity, as in `systemic-demo 1.0.0`; empty where only predictions were read
    weights_sha256: str
    runner: str
    demonstration: bool | None  # None where nobody knows: only predictions were read
    combine: str  # what the daemon reports: eye or person
    interval: float | None  # what the bundle's uncertainties promise to cover
    baselines: str  # whom median and line were taken from
    command: str
    version: str
    seed: int
    date: str
    warnings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()  # photographs that could not be read, and why

    def to_json(self) -> dict[str, object]:
        """Write everything as data."""
        return asdict(self) | {"note": DISCLAIMER}
