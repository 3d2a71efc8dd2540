"""The plan: which estimator families run on which images of a settled study, when, and how urgently. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oculard.job import Order
from oculard.settings import Rule, When
from oculard_models.manifest import Combine


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
    kind: str  # "fundus", "oct-volume", "oct-layers", "en-face", "flow-volume"; "" when no family can use it
    slab: str = ""  # of an en face image: its coded image type (CID 4271)
    acquired_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One estimator family and the bundle that serves it."""

    name: str
    estimator: str  # name@version
    input_kind: str
    combine: Combine = Combine.EYE  # whether both eyes of a study are one job
    slabs: tuple[str, ...] = ()  # of en face images: the coded image types that it reads, the wanted one first
    instead: tuple[str, ...] = ()  # kinds that it cannot read and that come where its own is missing: a report says so
    beside: tuple[str, ...] = ()  # kinds that its jobs get beside their own images, without a rule of theirs

    @property
    def eyes(self) -> tuple[str, ...]:
        """What its jobs may be on."""
        return ("R", "L", "U", "B") if self.combine is Combine.PERSON else ("R", "L", "U")

    def takes(self, kind: str) -> bool:
        """Whether its jobs may be on such images."""
        return kind == self.input_kind or kind in self.instead


Pair = tuple[Candidate, Rule]


def plan(candidates: Iterable[Candidate], rules: Sequence[Rule], families: Mapping[str, Family]) -> list[Order]:
    """The jobs of a settled study: one for each family and eye that has an image the family reads.

    A family that combines the eyes of a person has one job for both, "B", as soon as both are there. An image whose
    eye is unknown gives a job for eye "U", never a part of another: nothing is estimated, and its report says why.
    Of en face images a family gets those of the slab that it wants most; where there is none, its report says so.
    What stands beside an eye's images goes with them: of that eye, or of an eye that its own header does not say.
    """
    study = list(candidates)
    matched: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for candidate in study:
        for rule in rules:
            for name in rule.families if _matches(rule, candidate) else ():
                if families[name].takes(candidate.kind):
                    matched[name][candidate.eye].append((candidate, rule))
    orders = []
    for name, eyes in sorted(matched.items()):
        wanted = {eye: _wanted(families[name], pairs) for eye, pairs in eyes.items()}
        orders += [
            _order(families[name], eye, pairs, _beside(families[name], eye, study))
            for eye, pairs in sorted(_combined(families[name], wanted).items())
        ]
    return orders


def explain(
    candidate: Candidate, study: Sequence[Candidate], rules: Sequence[Rule], families: Mapping[str, Family]
) -> str:
    """Why an image of a study has no job, in words for `trace`; "" when it has one. The same code path as the plan."""
    if any(candidate.instance_id in order.instance_ids for order in plan(study, rules, families)):
        return ""
    if plan([candidate], rules, families):
        return "another slab of this eye is wanted more"
    if any(candidate.kind in family.beside and not _is_read(candidate, families) for family in families.values()):
        return "it goes with an OCT volume of its eye that a [[plan]] rule matches, and there is none"
    if not any(_matches(rule, candidate) for rule in rules):
        return "no [[plan]] rule matches this image"
    if not candidate.kind:
        return "no estimator reads this kind of object"
    return "the matching families read another kind of image"


def _is_read(candidate: Candidate, families: Mapping[str, Family]) -> bool:
    """Whether a family has jobs on such images for their own sake."""
    return any(family.takes(candidate.kind) for family in families.values())


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


def _wanted(family: Family, pairs: list[Pair]) -> list[Pair]:
    """Of one eye's images those that the family reads, of the slab that it wants most; else all, to be reported."""
    read = [(image, rule) for image, rule in pairs if image.kind == family.input_kind]
    for slab in family.slabs:
        of_slab = [(image, rule) for image, rule in read if image.slab == slab]
        if of_slab:
            return of_slab
    return read or pairs


def _beside(family: Family, eye: str, study: Sequence[Candidate]) -> list[Candidate]:
    """What a job on an eye gets beside its images; one on an unknown eye estimates nothing and needs nothing."""
    if eye == "U":
        return []
    return [image for image in study if image.kind in family.beside and image.eye in (eye, "U")]


def _combined(family: Family, eyes: Mapping[str, list[Pair]]) -> dict[str, list[Pair]]:
    """Right and left in one where the family combines them and both are there; else as they are."""
    if family.combine is not Combine.PERSON or not {"R", "L"} <= eyes.keys():
        return dict(eyes)
    return {"B": eyes["R"] + eyes["L"]} | {eye: pairs for eye, pairs in eyes.items() if eye not in ("R", "L")}


def _order(family: Family, eye: str, pairs: list[Pair], beside: Sequence[Candidate] = ()) -> Order:
    """One job; where several rules want it, the sooner and the more urgent win."""
    images = {candidate.instance_id: candidate for candidate in (*(image for image, _ in pairs), *beside)}
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
