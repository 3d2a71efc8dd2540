"""Which images belong together: an OCT volume, its photograph and its en face slabs, always of one known eye."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from oculard.imaging.facts import Eye, Facts, acquisition_time
from oculard.imaging.kinds import EN_FACE, FUNDUS, OCT_VOLUME, kind_of

TOGETHER_S = 120.0  # one OCT acquisition writes its volume, photograph and slabs within seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquisition:
    """One OCT volume and what was taken with it."""

    volume: Facts
    photograph: Facts | None
    slabs: tuple[Facts, ...]


def acquisitions(images: Sequence[Facts]) -> list[Acquisition]:
    """Each OCT volume with its photograph and slabs: same known eye, then same frame of reference, then near in time.

    An image of an unknown eye is never paired, and one that two volumes could claim goes to the nearest.
    """
    known = [facts for facts in images if facts.eye is not Eye.UNKNOWN]
    volumes = sorted((facts for facts in known if kind_of(facts) == OCT_VOLUME), key=_order)
    others = [facts for facts in known if kind_of(facts) in (FUNDUS, EN_FACE)]
    claimed: dict[str, list[Facts]] = defaultdict(list)
    for other in sorted(others, key=_order):
        nearest = min(volumes, key=lambda volume: _distance_s(volume, other), default=None)
        if nearest is not None and _distance_s(nearest, other) <= TOGETHER_S:
            claimed[nearest.sop_instance_uid].append(other)
    return [_acquisition(volume, claimed[volume.sop_instance_uid]) for volume in volumes]


def is_complete(images: Sequence[Facts], expects: str) -> bool:
    """Whether a device's study is complete by its profile: "fundus-pair", "oct-2" or "oct-9" (DICOM.md 4.1)."""
    if expects == "fundus-pair":
        return {Eye.RIGHT, Eye.LEFT} <= {facts.eye for facts in images if kind_of(facts) == FUNDUS}
    if expects in ("oct-2", "oct-9"):
        size = int(expects.removeprefix("oct-"))
        has_volume = any(kind_of(facts) == OCT_VOLUME for facts in images)
        return has_volume and len(images) % size == 0 and len(images) > 0
    return False


def _acquisition(volume: Facts, others: Sequence[Facts]) -> Acquisition:
    photographs = [facts for facts in others if kind_of(facts) == FUNDUS]
    photographs.sort(key=lambda facts: _distance_s(volume, facts))
    slabs = tuple(facts for facts in others if kind_of(facts) == EN_FACE)
    return Acquisition(volume=volume, photograph=photographs[0] if photographs else None, slabs=slabs)


def _distance_s(volume: Facts, other: Facts) -> float:
    """How far apart two images are: 0 in the same frame of reference, infinite when of different eyes."""
    if volume.eye is not other.eye:
        return float("inf")
    if volume.frame_of_reference_uid and volume.frame_of_reference_uid == other.frame_of_reference_uid:
        return 0.0
    at, other_at = acquisition_time(volume), acquisition_time(other)
    if at is None or other_at is None:
        return float("inf")
    return abs((at - other_at).total_seconds())


def _order(facts: Facts) -> tuple[str, str]:
    return facts.acquired_at, facts.sop_instance_uid
