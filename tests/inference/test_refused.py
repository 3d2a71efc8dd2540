"""Which models are refused: what the configuration names and nothing else."""

from __future__ import annotations

from pathlib import Path

from oculard.inference.estimators import Estimators, families, find
from oculard.inference.grading import QualityGate
from oculard.inference.layer_finder import layer_finder
from oculard.inference.refused import refused_models
from oculard.settings import Glaucoma, Settings, Worker
from oculard_models.registry import Bundle, Refusal


def refused(
    settings: Worker, bundles: list[Bundle], refusals: list[Refusal], glaucoma: Glaucoma | None = None
) -> set[str]:
    """After everything was loaded that these bundles allow."""
    glaucoma = glaucoma or Glaucoma()
    estimators = Estimators(bundles, providers=["cpu"], threads=1)
    estimators.load(family.estimator for family in families(find([])[0], settings.estimators).values())
    gate = QualityGate(bundles, settings.quality_gate, threads=1)
    gate.load()
    layers = layer_finder(glaucoma, threads=1)
    layers.load()
    return refused_models(Settings(worker=settings, glaucoma=glaucoma), refusals, estimators, gate, layers)


def test_nothing_is_refused_of_what_is_delivered() -> None:
    """Every bundle that comes with oculard serves."""
    bundles, refusals = find([])

    assert refused(Worker(), bundles, refusals) == set()


def test_what_is_missing_is_refused() -> None:
    """An estimator by name and version, the gate by its name."""
    names = refused(Worker(), [], [])

    assert {name.partition("@")[0] for name in names} == {"systemic-demo", "faz", "fundus-quality"}


def test_a_folder_counts_when_the_configuration_names_it(tmp_path: Path) -> None:
    """A broken folder that bears a wanted name, or a folder of bundles that is not there; other broken ones do not."""
    bundles, _ = find([])
    for name in ("faz", "nobody-wants-me"):
        (tmp_path / name).mkdir()
    settings = Worker(bundles=[tmp_path, tmp_path / "away"])
    _, refusals = find(settings.bundles)

    assert {one.folder.name for one in refusals} == {"faz", "nobody-wants-me", "away"}
    assert refused(settings, bundles, refusals) == {"faz", "away"}


def test_a_network_for_layers_that_is_none_is_refused(tmp_path: Path) -> None:
    """By its folder's name; the search needs none."""
    bundles, refusals = find([])
    (tmp_path / "ours").mkdir()

    assert refused(Worker(), bundles, refusals, Glaucoma(layer_network=str(tmp_path / "ours"))) == {"ours"}
    assert refused(Worker(), bundles, refusals, Glaucoma(layer_network="search")) == set()
