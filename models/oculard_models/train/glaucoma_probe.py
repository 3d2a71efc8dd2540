"""Why the transfer wins, or does not: what Model 2 has to pass on to the types.

A linear model tells the four types from what the 256 detectors of a network see: of an untrained network, of Model 2,
which knows only normal and glaucoma, and of Model 4, which has learnt the types. Where Model 2 is no better than the
untrained one, nothing of use is passed on, and Model 4 can gain nothing but longer training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oculard_models.evaluate.kappa import Trial, figures
from oculard_models.nets.vgg import Vgg, build_vgg
from oculard_models.train.glaucoma_cell import GLAUCOMA, TAUGHT, Cell, read_told
from oculard_models.train.glaucoma_forest import seen_by
from oculard_models.train.glaucoma_judge import TYPES, Asked, trained

UNTRAINED = "untrained"
PENALTY = 0.01  # scikit-learn's C: 256 detectors and few eyes


def probes(asked: Asked, net: str) -> dict[str, Any]:
    """Kappa of the linear model on test eyes with glaucoma, by view and by network."""
    found: dict[str, Any] = {}
    for view, name in enumerate(asked.eyes.names):
        found[name] = {}
        for model in (UNTRAINED, GLAUCOMA, TAUGHT):
            trials = [
                _probe(asked, _network(asked, net, model, split, view), split, view) for split in range(asked.splits)
            ]
            measured = figures(trials, asked.eyes.persons, TYPES, seed=asked.seed)
            found[name][model] = measured["kappa"].to_json()
    return found


def _network(asked: Asked, net: str, model: str, split: int, view: int) -> Vgg:
    """A network of a split; an untrained one has seen the eyes' brightness, and nothing else."""
    if model != UNTRAINED:
        return trained(asked, net, model, split, view)
    torch.manual_seed(asked.seed)
    built = build_vgg(net, 2).train()
    rows = read_told(asked.run, Cell(split=split, share=asked.shares[0], view=view)).training
    images = torch.from_numpy(asked.eyes.views[rows, view, None].astype(np.float32) / np.float32(255.0))
    with torch.no_grad():
        for some in torch.split(images, 64):
            built.features((some - built.mean) / built.std)
    return built.eval()


def _probe(asked: Asked, net: Vgg, split: int, view: int) -> Trial:
    """Fit on training eyes with glaucoma, answer for test eyes with glaucoma."""
    eyes = asked.eyes
    told = read_told(asked.run, Cell(split=split, share=asked.shares[0], view=view))
    ill, test = (rows[eyes.labels[rows] > 0] for rows in (told.training, told.test))
    line = LogisticRegression(C=PENALTY, max_iter=500, class_weight="balanced")
    model = make_pipeline(StandardScaler(), line).fit(seen_by(net, eyes.views[ill, view]), eyes.labels[ill])
    said: npt.NDArray[np.int64] = model.predict(seen_by(net, eyes.views[test, view])).astype(np.int64)
    return Trial(rows=test, truth=eyes.labels[test], said=said)
