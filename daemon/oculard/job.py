"""The lives of jobs, deliveries, answers, retrievals and notices, as data: what is not a row here cannot happen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class JobState(StrEnum):
    """Where one estimator family on one eye of one settled study stands."""

    WAITING = "waiting"  # for the night, for quota
    QUEUED = "queued"
    RUNNING = "running"  # held by a worker's lease
    REPORTED = "reported"
    REJECTED = "rejected"  # ungradable or not for us, and a report says so; or dropped, and another job does it
    FAILED = "failed"  # until a person requeues; a report says so where one could be built


class JobEvent(StrEnum):
    """What may happen to a job."""

    RELEASE = "release"
    WITHDRAW = "withdraw"
    REFRESH = "refresh"
    CLAIM = "claim"
    DONE = "done"
    RETRY = "retry"
    REJECT = "reject"
    GIVE_UP = "give-up"
    DROP = "drop"
    LOST = "lost"
    REQUEUE = "requeue"


class DeliveryState(StrEnum):
    """Where one report on its way to one destination stands."""

    PENDING = "pending"
    SENDING = "sending"  # held by a sender's lease
    SENT = "sent"  # the peer has it and has not committed to it yet
    DELIVERED = "delivered"
    PARKED = "parked"  # until a person resends


class DeliveryEvent(StrEnum):
    """What may happen to a delivery."""

    CLAIM = "claim"
    SENT = "sent"
    DONE = "done"
    RETRY = "retry"
    PARK = "park"
    LOST = "lost"
    COMMIT = "commit"
    UNCOMMIT = "uncommit"
    SILENCE = "silence"
    RESEND = "resend"


class RetrievalState(StrEnum):
    """Where one study of a back-fill stands."""

    WANTED = "wanted"
    RETRIEVING = "retrieving"  # held by a fetcher's lease
    COMPLETE = "complete"  # all that the archive said it has is in custody
    GONE = "gone"  # the archive does not have it any more
    FAILED = "failed"  # until a person tries again


class RetrievalEvent(StrEnum):
    """What may happen to a study of a back-fill."""

    CLAIM = "claim"
    DONE = "done"
    RETRY = "retry"
    GONE = "gone"
    GIVE_UP = "give-up"
    LOST = "lost"
    REQUEUE = "requeue"


J, JE = JobState, JobEvent
D, DE = DeliveryState, DeliveryEvent
R, RE = RetrievalState, RetrievalEvent

JOB_MOVES: Mapping[tuple[JobState, JobEvent], JobState] = {
    (J.WAITING, JE.RELEASE): J.QUEUED,
    (J.WAITING, JE.REFRESH): J.WAITING,  # a late instance changed the inputs before anyone looked at them
    (J.QUEUED, JE.REFRESH): J.QUEUED,
    (J.WAITING, JE.DROP): J.REJECTED,  # the bundle that serves its family now has a job of the same images already
    (J.QUEUED, JE.DROP): J.REJECTED,
    (J.QUEUED, JE.WITHDRAW): J.WAITING,  # the night is over, and nobody has begun
    (J.QUEUED, JE.CLAIM): J.RUNNING,
    (J.QUEUED, JE.GIVE_UP): J.FAILED,  # attempts spent: whoever held it died every time
    (J.RUNNING, JE.DONE): J.REPORTED,
    (J.RUNNING, JE.RETRY): J.QUEUED,
    (J.RUNNING, JE.LOST): J.QUEUED,
    (J.RUNNING, JE.REJECT): J.REJECTED,
    (J.RUNNING, JE.GIVE_UP): J.FAILED,
    (J.FAILED, JE.REQUEUE): J.QUEUED,
}

DELIVERY_MOVES: Mapping[tuple[DeliveryState, DeliveryEvent], DeliveryState] = {
    (D.PENDING, DE.CLAIM): D.SENDING,
    (D.PENDING, DE.PARK): D.PARKED,  # its peer is in no configuration any more
    (D.SENDING, DE.SENT): D.SENT,
    (D.SENDING, DE.DONE): D.DELIVERED,
    (D.SENDING, DE.RETRY): D.PENDING,
    (D.SENDING, DE.LOST): D.PENDING,
    (D.SENDING, DE.PARK): D.PARKED,
    (D.SENT, DE.COMMIT): D.DELIVERED,
    (D.SENT, DE.UNCOMMIT): D.PENDING,
    (D.SENT, DE.SILENCE): D.PENDING,
    (D.SENT, DE.PARK): D.PARKED,  # as above
    (D.PARKED, DE.RESEND): D.PENDING,
}

RETRIEVAL_MOVES: Mapping[tuple[RetrievalState, RetrievalEvent], RetrievalState] = {
    (R.WANTED, RE.CLAIM): R.RETRIEVING,
    (R.RETRIEVING, RE.DONE): R.COMPLETE,
    (R.RETRIEVING, RE.RETRY): R.WANTED,
    (R.RETRIEVING, RE.LOST): R.WANTED,
    (R.RETRIEVING, RE.GONE): R.GONE,
    (R.RETRIEVING, RE.GIVE_UP): R.FAILED,
    (R.FAILED, RE.REQUEUE): R.WANTED,
    (R.GONE, RE.REQUEUE): R.WANTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One life as data: the moves, where it begins, who may hold it and where it ends."""

    name: str
    moves: Mapping[tuple[StrEnum, StrEnum], StrEnum]
    ready: StrEnum  # what a claim takes
    held: StrEnum  # what a lease holds
    claim: StrEnum
    lost: StrEnum
    ends: frozenset[StrEnum]

    def target(self, state: StrEnum, event: StrEnum) -> StrEnum:
        """Where the event leads. Raises KeyError for a move that is not in the table: a bug, not the world."""
        return self.moves[state, event]


JOB = Machine(
    name="job",
    moves=JOB_MOVES,  # type: ignore[arg-type]  # a Mapping's key is invariant; both enums are StrEnum
    ready=J.QUEUED,
    held=J.RUNNING,
    claim=JE.CLAIM,
    lost=JE.LOST,
    ends=frozenset({J.REPORTED, J.REJECTED, J.FAILED}),
)
DELIVERY = Machine(
    name="delivery",
    moves=DELIVERY_MOVES,  # type: ignore[arg-type]  # as above
    ready=D.PENDING,
    held=D.SENDING,
    claim=DE.CLAIM,
    lost=DE.LOST,
    ends=frozenset({D.DELIVERED, D.PARKED}),
)
# An answer owed to a device that asked for storage commitment lives as a delivery does, without the wait for a commit.
ANSWER = Machine(
    name="answer",
    moves={move: to for move, to in DELIVERY.moves.items() if D.SENT not in (move[0], to)},
    ready=D.PENDING,
    held=D.SENDING,
    claim=DE.CLAIM,
    lost=DE.LOST,
    ends=frozenset({D.DELIVERED, D.PARKED}),
)
RETRIEVAL = Machine(
    name="retrieval",
    moves=RETRIEVAL_MOVES,  # type: ignore[arg-type]  # as above
    ready=R.WANTED,
    held=R.RETRIEVING,
    claim=RE.CLAIM,
    lost=RE.LOST,
    ends=frozenset({R.COMPLETE, R.GONE, R.FAILED}),
)
# A notice to people (a morning report, an alarm) lives as an answer does.
NOTICE = replace(ANSWER, name="notice")


# Whose reports a report amends: one on both eyes and one on either of them speak of the same eye.
AMENDS: Mapping[str, tuple[str, ...]] = {"R": ("R", "B"), "L": ("L", "B"), "B": ("B", "R", "L"), "U": ("U",)}


def backoff_s(attempts: int, *, longest_s: float) -> float:
    """How long to wait after the given number of attempts: 2, 4, 8 ... seconds, at most the longest."""
    return float(min(longest_s, 2 ** min(attempts, 30)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One job as the plan wants it: an estimator family on one eye, or on both, of one settled study."""

    family: str
    eye: str  # "R", "L", "B" for both in one, or "U": the eye is unknown, and the job's report will say so
    estimator: str  # name@version of the bundle
    window: str  # "now" or "night"
    priority: int  # 0 is first
    instance_ids: tuple[int, ...]
    inputs_digest: str  # of the inputs' UIDs and bytes: the same inputs are never estimated twice

    def __post_init__(self) -> None:
        if not self.instance_ids:
            raise ValueError(f"an order for `{self.family}` has no images")
        if self.eye not in AMENDS:
            raise ValueError(f"expected eye {', '.join(AMENDS)}, got `{self.eye}`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants done with some studies, of all that the plan would do."""

    families: tuple[str, ...] = ()  # () means all that the plan wants
    window: str | None = None  # "now" or "night", whatever the plan says

    def of(self, orders: Iterable[Order]) -> list[Order]:
        """The plan's orders as they are wanted."""
        wanted = [order for order in orders if not self.families or order.family in self.families]
        return wanted if self.window is None else [replace(order, window=self.window) for order in wanted]
