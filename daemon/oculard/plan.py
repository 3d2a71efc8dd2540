"""The plan: which estimator families run on which images of a settled study, when, and how urgently. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from oculard.job import Order
from oculard.settings import Rule, When
from oculard_models.manifest import Combine

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One image of a settled study as the plan sees it."""

    instance_id: int
    sop_instance_uid: str
    sha256: str
    sender: str
    modality: str
    sop_class_uid: str
    eye: str  # "R", "L", "U"
    kind: str  # what the image is: "fundus", "oct-volume", "en-face"; "" when no family can use it
    acquired_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One estimator family and the bundle that serves it."""

    name: str
    estimator: str  # name@version
    input_kind: str
    combine: Combine = Combine.EYE  # whether both eyes of a study are one job

    @property
    def eyes(self) -> tuple[str, ...]:
        """What its jobs may be on."""
        return ("R", "L", "U", "B") if self.combine is Combine.PERSON else ("R", "L", "U")


def plan(candidates: Iterable[Candidate], rules: Sequence[Rule], families: Mapping[str, Family]) -> list[Order]:
    """The jobs of a settled study: one for each family and eye that has an image the family reads.

    A family that combines the eyes of a person has one job for both, "B", as soon as both are there. An image whose
    eye is unknown gives a job for eye "U", never a part of another: nothing is estimated, and its report says why.
    """
    matched: dict[str, dict[str, list[tuple[Candidate, Rule]]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        for rule in rules:
            for name in rule.families if _matches(rule, candidate) else ():
                if families[name].input_kind == candidate.kind:
                    matched[name][candidate.eye].append((candidate, rule))
    return [
        _order(families[name], eye, pairs)
        for name, eyes in sorted(matched.items())
        for eye, pairs in sorted(_combined(families[name], eyes).items())
    ]


def explain(candidate: Candidate, rules: Sequence[Rule], families: Mapping[str, Family]) -> str:
    """Why an image has no job, in words for `trace`; "" when it has one. The same code path as the plan."""
    if plan([candidate], rules, families):
        return ""
    if not any(_matches(rule, candidate) for rule in rules):
        return "no [[plan]] rule matches this image"
    if not candidate.kind:
        return "no estimator reads this kind of object"
    return "the matching families read another kind of image"


def inputs_digest(candidates: Iterable[Candidate]) -> str:
    """A digest of which images with which bytes; their order does not matter."""
    lines = sorted(f"{candidate.sop_instance_uid} {candidate.sha256}\n" for candidate in candidates)
    return hashlib.sha256("".join(lines).encode("ascii")).hexdigest()


def _matches(rule: Rule, candidate: Candidate) -> bool:
    return (
        rule.sender in (None, candidate.sender)
        and rule.modality in (None, candidate.modality)
        and rule.sop_class_uid in (None, candidate.sop_class_uid)
    )


def _combined(family: Family, eyes: Mapping[str, list[T]]) -> dict[str, list[T]]:
    """Right and left in one where the family combines them and both are there; else as they are."""
    if family.combine is not Combine.PERSON or not {"R", "L"} <= eyes.keys():
        return dict(eyes)
    return {"B": eyes["R"] + eyes["L"]} | {eye: pairs for eye, pairs in eyes.items() if eye not in ("R", "L")}


def _order(family: Family, eye: str, pairs: list[tuple[Candidate, Rule]]) -> Order:
    """One job; where several rules want it, the sooner and the more urgent win."""
    images = {candidate.instance_id: candidate for candidate, _ in pairs}
    inputs = sorted(images.values(), key=lambda image: (image.acquired_at, image.sop_instance_uid))
    rules = [rule for _, rule in pairs]
    return Order(
        family=family.name,
        eye=eye,
        estimator=family.estimator,
        window=When.NOW if any(rule.when is When.NOW for rule in rules) else When.NIGHT,
        priority=min(rule.priority for rule in rules),
        instance_ids=tuple(image.instance_id for image in inputs),
        inputs_digest=inputs_digest(inputs),
    )
