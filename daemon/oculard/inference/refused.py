"""Which of the models that the configuration names cannot be used: somebody must be told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from oculard.inference.estimators import Estimators
from oculard.inference.grading import QualityGate
from oculard.inference.layer_finder import LayerFinder
from oculard.settings import Settings
from oculard_models.registry import Refusal


def refused_models(
    settings: Settings, refusals: Iterable[Refusal], estimators: Estimators, gate: QualityGate, layers: LayerFinder
) -> set[str]:
    """Bundles, folders of bundles and the network for layers by name, after everything was loaded."""
    worker = settings.worker
    wanted = {*worker.estimators.values(), worker.quality_gate, worker.disc_finder}
    folders = {folder.resolve() for folder in worker.bundles}
    of_folders = {one.folder.name for one in refusals if one.folder.name in wanted or one.folder in folders}
    gates = {worker.quality_gate} if gate.is_refused else set()
    networks = {Path(settings.glaucoma.layer_network).resolve().name} if layers.is_refused else set()
    return of_folders | estimators.refused | gates | networks
