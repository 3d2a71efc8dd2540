"""Settling: an open study whose device has finished becomes jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from oculard import log
from oculard.clock import Clock
from oculard.imaging.eyes import is_complete
from oculard.imaging.facts import Facts
from oculard.imaging.kinds import kind_of
from oculard.imaging.slabs import slab_of
from oculard.job import Order, Wish
from oculard.plan import Candidate, Family, plan
from oculard.settings import Expect, Rule, Settings
from oculard.store.studies import Kept, OpenStudy, Studies

logger = log.get("upkeep")


class Settling:
    """Watches the open studies. `step` settles at most one."""

    def __init__(
        self,
        settings: Settings,
        studies: Studies,
        families: Mapping[str, Family],
        clock: Clock,
        *,
        wish: Callable[[int], Wish] = lambda _study_id: Wish(),
    ) -> None:
        self._settings, self._studies, self._families, self._clock = settings, studies, families, clock
        self._wish = wish  # of the back-fill that brought a study
        self._quiet = timedelta(seconds=settings.settling.quiet_s)
        self._expects = {sender.name: sender.expects for sender in settings.senders}
        self._incomplete: dict[int, datetime] = {}  # looked at already, as it was at that moment

    def step(self) -> bool:
        """Settle one study that is due; say whether there was one."""
        for study in self._studies.open():
            why = self._due(study)
            if why:
                return self._settle(study.id, study.active_at, why)
        return False

    def settle_now(self, study_id: int, *, actor: str) -> bool:
        """Settle a study because a person says so."""
        return self._settle(study_id, None, "by-hand", actor=actor)

    def _due(self, study: OpenStudy) -> str:
        """Why the study is due: "quiet", or "complete" by its device's profile; "" when it is not."""
        if study.is_receiving:
            return ""
        if abs(self._clock.now() - study.active_at) >= self._quiet:  # far ahead: the clock was set back
            return "quiet"
        if any(expects is not Expect.NOTHING for expects in self._expects.values()) and self._is_complete(study):
            return "complete"
        return ""

    def _is_complete(self, study: OpenStudy) -> bool:
        if self._incomplete.get(study.id) == study.active_at:
            return False  # nothing has come since it was looked at
        kept = self._studies.instances(study.id)
        expected = {self._expects.get(image.sender, Expect.NOTHING) for image in kept}
        images = [Facts.from_json(image.facts) for image in kept]
        complete = len(expected) == 1 and is_complete(images, expected.pop())
        if not complete:
            self._incomplete[study.id] = study.active_at
        return complete

    def _settle(self, study_id: int, active_at: datetime | None, why: str, *, actor: str = "upkeep") -> bool:
        wish = self._wish(study_id)

        def decide(kept: Sequence[Kept]) -> list[Order]:
            return wish.of(plan_of(kept, self._settings.plan, self._families))

        jobs = self._studies.settle(study_id, active_at=active_at, decide=decide, actor=actor, why=why)
        if jobs is None:
            return False  # an instance arrived meanwhile: not yet
        self._incomplete.pop(study_id, None)
        logger.info("study settled", study_id=study_id, why=why, jobs=jobs)
        return True


def plan_of(kept: Sequence[Kept], rules: Sequence[Rule], families: Mapping[str, Family]) -> list[Order]:
    """The plan of what is kept of a study."""
    return plan([candidate(image) for image in kept], rules, families)


def candidate(image: Kept) -> Candidate:
    """One kept instance as the plan sees it."""
    facts = Facts.from_json(image.facts)
    return Candidate(
        instance_id=image.id,
        sop_instance_uid=image.sop_instance_uid,
        sha256=image.sha256,
        sender=image.sender,
        modality=facts.modality,
        sop_class_uid=image.sop_class_uid,
        eye=facts.eye,
        kind=kind_of(facts),
        slab=slab_of(facts),
        acquired_at=facts.acquired_at,
    )
