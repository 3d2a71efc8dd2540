"""Which of the models that the configuration names cannot be used: somebody must be told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Iterable

from oculard.inference.estimators import Estimators
from oculard.inference.grading import QualityGate
from oculard.settings import Worker
from oculard_models.registry import Refusal


def refused_models(
    settings: Worker, refusals: Iterable[Refusal], estimators: Estimators, gate: QualityGate
) -> set[str]:
    """Bundles and folders of bundles by name, after everything was loaded."""
    wanted = {*settings.estimators.values(), settings.quality_gate, settings.disc_finder}
    folders = {folder.resolve() for folder in settings.bundles}
    of_folders = {one.folder.name for one in refusals if one.folder.name in wanted or one.folder in folders}
    return of_folders | estimators.refused | ({settings.quality_gate} if gate.is_refused else set())
