"""Re-annotation: earlier studies, planned again by what serves now. New reports name their predecessors; those stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oculard.job import Order, Wish
from oculard.plan import Family
from oculard.settings import Rule
from oculard.store.reannotations import Again, Reannotations
from oculard.store.studies import Kept
from oculard.upkeep.settling import plan_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of many studies."""

    studies: int = 0  # that were looked at
    jobs: Mapping[str, int]  # by family
    under_way: int = 0  # jobs of those studies that have not ended yet: they go first
    removed: int = 0  # jobs whose images retention has removed: only a back-fill brings them back


class Reannotation:
    """Orders again what another bundle than the serving one has done."""

    def __init__(self, store: Reannotations, rules: Sequence[Rule], families: Mapping[str, Family]) -> None:
        self._store, self._rules, self._families = store, rules, families

    def order(self, study_id: int, wish: Wish, *, actor: str) -> Again:
        """Order one study's jobs again, as far as the bundles in force have not done them."""
        return self._store.order(study_id, lambda kept: self._decide(kept, wish), actor=actor)

    def look(self, study_id: int, wish: Wish) -> Again:
        """What `order` would order."""
        return self._store.look(study_id, lambda kept: self._decide(kept, wish))

    def _decide(self, kept: Sequence[Kept], wish: Wish) -> list[Order]:
        return wish.of(plan_of(kept, self._rules, self._families))


def tell(results: Iterable[Again]) -> Told:
    """The sum of what became of many studies."""
    studies, under_way, removed = 0, 0, 0
    jobs: dict[str, int] = {}
    for again in results:
        studies, under_way, removed = studies + 1, under_way + again.under_way, removed + again.removed
        for order in again.orders:
            jobs[order.family] = jobs.get(order.family, 0) + 1
    return Told(studies=studies, jobs=jobs, under_way=under_way, removed=removed)
