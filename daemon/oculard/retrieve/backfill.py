"""Back-fill: an archive is asked day by day, its studies are fetched, and what came is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oculard import log, settings_night
from oculard.clock import Clock
from oculard.errors import Permanent, Transient
from oculard.job import RetrievalEvent, Wish, backoff_s
from oculard.retrieve.archive import (
    Archive,
    ArchiveAway,
    ArchiveBusy,
    ArchiveRefused,
    StudyFailed,
    Take,
)
from oculard.retrieve.asking import Asking
from oculard.retrieve.restraint import Pace, Rest, Standing
from oculard.store.backfills import Backfills
from oculard.store.queue import LeaseLost
from oculard.store.reannotations import Again
from oculard.store.retrievals import Held, Retrieval, Retrievals

COMMIT_LOOKS, COMMIT_S = 10, 0.5  # an archive may say that it is done before our intake has committed the last
RETRY_TIMES, RETRY_S_MAX = 15, 900.0  # 30 s, 1 min, 2 min, ... until a study is tried again
Annotate = Callable[
    [int, Wish], Again
]  # orders again, for a study that is here, what the serving bundles have not done
logger = log.get("retrieve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the engine needs of the program around it."""

    backfills: Backfills
    retrievals: Retrievals
    annotate: Annotate
    take: Take
    is_night: Callable[[], bool]
    has_room: Callable[[], bool]  # in the vault
    clock: Clock
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """How a retrieval ends."""

    event: RetrievalEvent
    reason: str | None = None
    expected: Mapping[str, int] | None = None
    held: Mapping[str, int] | None = None
    is_free: bool = False  # it was not the study's fault: the attempt is given back


@dataclass(slots=True)
class _Case:
    """One study while it is worked on."""

    retrieval: Retrieval
    answered: bool = False  # the archive has told what it has of it
    asked: bool = False  # it was asked to send


class Backfilling:
    """Fetches from one archive on one association at a time. `step` asks for (a part of) a day, or fetches a study."""

    def __init__(
        self,
        entry: settings_night.Archive,
        archive: Archive,
        around: Surroundings,
        *,
        pace: Pace,
        rest: Rest,
        finds: bool = True,
    ) -> None:
        self._entry, self._archive, self._around = entry, archive, around
        self._pace = pace  # shared by all associations of this archive, as the rest is
        self._standing = Standing(entry.name, rest, around.backfills, around.clock)
        self._asking = Asking(entry.name, archive, around.backfills, self._standing) if finds else None
        self._turns = deque([self._fetch] if self._asking is None else [self._fetch, self._asking.step])
        self._had_turn = 0  # the order of which a study was fetched last
        self._lease_s = entry.study_s + 4 * entry.find_s + 60 + COMMIT_LOOKS * COMMIT_S

    def step(self) -> bool:
        """Do at most one thing; say whether there was one. Raises Transient where our own house is in trouble."""
        now = self._around.clock.now()
        if self._asking is not None:
            self._asking.end_orders(now)
        if not self._standing.rest.is_over(now):
            return False
        if not self._around.has_room():
            self._around.backfills.note(self._entry.name, "disk-full")
            return False
        anytime_only = not self._around.is_night()
        self._turns.rotate()  # neither waits until the other has nothing left to do
        return any(do(anytime_only) for do in self._turns)

    def close(self) -> None:
        """End what is under way, from another thread too; the study keeps its attempt."""
        self._archive.close()

    def _fetch(self, anytime_only: bool) -> bool:
        """Fetch one study, at the pace that is allowed."""
        right = self._pace.take(self._around.clock.now())
        if right is None:
            return False
        retrieval = self._around.retrievals.claim(
            self._around.owner,
            self._entry.name,
            anytime_only=anytime_only,
            lease_s=self._lease_s,
            after=self._had_turn,
        )
        case = None if retrieval is None else _Case(retrieval)
        try:
            if case is not None:
                self._had_turn = case.retrieval.backfill_id
                self._settle(case, self._outcome(case))
        except LeaseLost as why:
            logger.warning("study fetched for nothing", reason=why.reason)  # somebody else has it, and will count it
        finally:
            if case is None or not case.asked:
                self._pace.give_back(right)
        return case is not None

    def _outcome(self, case: _Case) -> _Outcome:
        """Fetch a study, and say how that ended."""
        attempts = case.retrieval.ticket.attempts
        if attempts > self._entry.attempts_max:
            return _Outcome(event=RetrievalEvent.GIVE_UP, reason="attempts-spent")  # whoever held it died every time
        try:
            outcome = self._bring(case)
        except (ArchiveAway, ArchiveRefused) as why:
            return self._hindered(case, why)
        except StudyFailed as why:
            outcome = _Outcome(event=RetrievalEvent.RETRY, reason=why.reason)
        except Permanent as why:
            outcome = _Outcome(event=RetrievalEvent.GIVE_UP, reason=why.reason)
        except Transient as why:  # our own house: database, vault
            self._settle(case, _Outcome(event=RetrievalEvent.RETRY, reason=why.reason, is_free=True))
            raise
        self._standing.well(sends=case.asked)
        return outcome

    def _bring(self, case: _Case) -> _Outcome:
        """Let a study come unless it is here, and count it against what the archive says it has."""
        uid, around = case.retrieval.study_instance_uid, self._around
        held = around.retrievals.held(uid)
        expected = self._count(uid, held)
        case.answered = True
        if expected is None:
            return _Outcome(event=RetrievalEvent.GONE, reason="study-gone")
        if self._is_here(case.retrieval, expected, held):
            return _Outcome(event=RetrievalEvent.DONE, reason="held", expected=expected, held=held.present)
        around.retrievals.ask(case.retrieval)
        case.asked = True
        told = self._archive.retrieve(uid, around.take)
        expected = self._count(uid, held)  # the study may have grown meanwhile
        if expected is None:
            return _Outcome(event=RetrievalEvent.GONE, reason="study-gone")
        counted = self._await(uid, expected)
        if missing(expected, counted):
            logger.warning("study incomplete", reason="incomplete", why=told.reason or "")
            return _Outcome(event=RetrievalEvent.RETRY, reason="incomplete", expected=expected, held=counted)
        if missing(counted, expected):
            self._archive.remarks["archive-has-fewer"] += 1
        return _Outcome(event=RetrievalEvent.DONE, expected=expected, held=counted)

    def _is_here(self, retrieval: Retrieval, expected: Mapping[str, int], held: Held) -> bool:
        """Whether nothing needs to come; what a newer bundle wants of what is here is ordered again.

        What retention removed comes only where that bundle wants it: then all of it, even if it comes by halves.
        """
        if missing(expected, held.known):
            return False
        if held.study_id is not None:
            self._around.retrievals.join(retrieval)  # before the look: it may settle meanwhile
        again = None if held.study_id is None else self._around.annotate(held.study_id, retrieval.wish)
        is_wanted = retrieval.was_asked or (again is not None and again.removed > 0)
        return not (is_wanted and missing(expected, held.present))

    def _count(self, uid: str, held: Held) -> dict[str, int] | None:
        """What the archive has of a study, without the reports that it has from us; None when it has nothing."""
        counts = self._archive.count_series(uid)
        return {series: count for series, count in counts.items() if series not in held.ours} if counts else None

    def _await(self, uid: str, expected: Mapping[str, int]) -> Mapping[str, int]:
        """What is here by series, looked at again for a while when it is short."""
        for _ in range(COMMIT_LOOKS):
            present = self._around.retrievals.held(uid).present
            if not missing(expected, present):
                return present
            self._around.clock.sleep(COMMIT_S)
        return self._around.retrievals.held(uid).present

    def _hindered(self, case: _Case, why: ArchiveAway | ArchiveRefused) -> _Outcome:
        """The archive does not answer, or refuses us. It rests; the study keeps its attempt unless it is the cause.

        It is, as far as we can know, when the archive was well before, or lost its speech on this study alone.
        """
        stumbled = case.answered and isinstance(why, ArchiveAway) and not isinstance(why, ArchiveBusy)
        is_suspect = stumbled or self._standing.rest.was_well
        self._standing.trouble(why, sends=case.asked)
        return _Outcome(event=RetrievalEvent.RETRY, reason=why.reason, is_free=not is_suspect)

    def _settle(self, case: _Case, outcome: _Outcome) -> None:
        """Write it down. A study that is tried again waits, and others go first. Raises LeaseLost."""
        event, ticket, columns = outcome.event, case.retrieval.ticket, {"attempts": case.retrieval.ticket.attempts}
        if outcome.is_free:
            columns["attempts"] -= 1
        elif event is RetrievalEvent.RETRY and ticket.attempts >= self._entry.attempts_max:
            event = RetrievalEvent.GIVE_UP
        delay_s = min(RETRY_TIMES * backoff_s(ticket.attempts, longest_s=RETRY_S_MAX), RETRY_S_MAX)
        self._around.retrievals.settle(
            case.retrieval,
            event,
            reason=outcome.reason,
            expected=outcome.expected,
            held=outcome.held,
            delay_s=delay_s if event is RetrievalEvent.RETRY else 0.0,
            **columns,
        )
        self._standing.remark(case.retrieval.backfill_id, self._archive.remarks)
        tell = logger.info if event is RetrievalEvent.DONE else logger.warning
        tell(
            "study fetched",
            outcome=str(event),
            reason=outcome.reason,
            study_instance_uid=case.retrieval.study_instance_uid,
        )


def missing(expected: Mapping[str, int], held: Mapping[str, int]) -> bool:
    """Whether a series has fewer instances here than there."""
    return any(held.get(series, 0) < count for series, count in expected.items())
