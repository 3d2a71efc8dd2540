"""One cell of the study: one split, one share of the training eyes, one view; all four models, held out and tested.

Model 1 tells five classes apart; Model 2 normal from glaucoma; Model 3 the four types, from the same start as the
others; Model 4 the four types, from Model 2's weights. Model 2 serves both hierarchical arms. Each is trained once
for every fold (whose persons it then tells of, for the stacking), and once on all training eyes (for the test).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from oculard_models.data.disc_eyes import Eyes
from oculard_models.evaluate.measures import Numbers
from oculard_models.nets.vgg import Vgg
from oculard_models.train.glaucoma_fit import Course, learn, told
from oculard_models.train.glaucoma_parts import Parts, Rows, folds_of, fraction_of, must_have_all, parts_of

FLAT, GLAUCOMA, FRESH, TAUGHT = "model-1", "model-2", "model-3", "model-4"
MODELS = (FLAT, GLAUCOMA, FRESH, TAUGHT)
CLASSES = {FLAT: 5, GLAUCOMA: 2, FRESH: 4, TAUGHT: 4}
# Of each arm: which models' probabilities stand side by side, five numbers a view.
ARMS: Mapping[str, tuple[str, ...]] = {
    "flat": (FLAT,),
    "hierarchical": (GLAUCOMA, FRESH),
    "transfer": (GLAUCOMA, TAUGHT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all cells have in common."""

    seed: int
    test: int  # eyes
    folds: int
    course: Course

    def parts(self, eyes: Eyes, split: int, share: float) -> Parts:
        """Who trains and who tests in a cell."""
        parts = parts_of(eyes.persons, self.test, seed=self.seed, split=split)
        some = fraction_of(parts.training, eyes.persons, share, seed=self.seed, split=split)
        return replace(parts, training=some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which cell."""

    split: int
    share: float
    view: int

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"split-{self.split}-share-{round(1000 * self.share):04d}-view-{self.view}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """What the models of a cell say: of training eyes by networks that did not see their persons, and of test eyes."""

    training: Rows
    test: Rows
    held: Mapping[str, Numbers]
    tested: Mapping[str, Numbers]


def path_of(run: Path, cell: Cell) -> Path:
    """Where a cell's answers lie once it is done."""
    return run / "cells" / f"{cell.name}.npz"


def weights_path(run: Path, cell: Cell, model: str) -> Path:
    """Where the weights of a model that learnt from all training eyes lie, where they are kept."""
    return run / "weights" / f"{cell.name}-{model}.pt"


def work(eyes: Eyes, cell: Cell, plan: Plan, run: Path, *, keep: tuple[str, ...] = ()) -> None:
    """Do a cell, unless it is done; its file appears whole or not at all."""
    path = path_of(run, cell)
    if path.is_file():
        return
    parts = plan.parts(eyes, cell.split, cell.share)
    folds = folds_of(parts.training, eyes.persons, eyes.labels, plan.folds, seed=plan.seed)
    others = [np.setdiff1d(parts.training, fold) for fold in folds]
    must_have_all(eyes.labels, others, CLASSES[FLAT])
    course = replace(plan.course, seed=plan.seed * 1000 + cell.split, epochs=epochs_of(plan.course.epochs, cell.share))
    views = eyes.views[:, cell.view]
    held = {model: np.zeros((len(parts.training), CLASSES[model])) for model in MODELS}
    for fold, some in zip(folds, others, strict=True):
        at = np.searchsorted(parts.training, fold)
        for model, net in _trained(views, eyes.labels, some, course).items():
            held[model][at] = told(net, views[fold])
    final = _trained(views, eyes.labels, parts.training, course)
    for model in keep:
        _save(final[model], weights_path(run, cell, model))
    arrays = {f"held-{model}": held[model] for model in MODELS}
    arrays |= {f"test-{model}": told(final[model], views[parts.test]) for model in MODELS}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{secrets.token_hex(4)}.npz")
    np.savez(beside, allow_pickle=False, training=parts.training, test=parts.test, **arrays)
    beside.replace(path)


def read_told(run: Path, cell: Cell) -> Told:
    """Read what a finished cell left."""
    with np.load(path_of(run, cell), allow_pickle=False) as file:
        return Told(
            training=file["training"],
            test=file["test"],
            held={model: file[f"held-{model}"] for model in MODELS},
            tested={model: file[f"test-{model}"] for model in MODELS},
        )


def features_of(arm: str, said: Mapping[str, Numbers]) -> Numbers:
    """The five numbers of a view: the flat model's classes, or P(normal) of Model 2 and the four types."""
    models = ARMS[arm]
    if len(models) == 1:
        return said[models[0]]
    return np.concatenate([said[models[0]][:, :1], said[models[1]]], axis=1)


def epochs_of(epochs: int, share: float) -> int:
    """Fewer eyes are seen more often, else there would be few steps; not as often, or they would be learnt by heart."""
    return round(epochs / float(share**0.5))


def _trained(views: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], rows: Rows, course: Course) -> dict[str, Vgg]:
    """Train the four models on some eyes of one view."""
    ill = rows[labels[rows] > 0]
    flat = learn(course, views[rows], labels[rows], CLASSES[FLAT])
    glaucoma = learn(course, views[rows], (labels[rows] > 0).astype(np.int64), CLASSES[GLAUCOMA])
    fresh = learn(course, views[ill], labels[ill] - 1, CLASSES[FRESH])
    taught = learn(course, views[ill], labels[ill] - 1, CLASSES[TAUGHT], glaucoma)
    return {FLAT: flat, GLAUCOMA: glaucoma, FRESH: fresh, TAUGHT: taught}


def _save(net: Vgg, path: Path) -> None:
    """Write weights; a file that is half written never has the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    torch.save(net.state_dict(), beside)
    beside.replace(path)
