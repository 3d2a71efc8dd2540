"""A second opinion on normal or glaucoma: the random forest of An et al. 2019, on what the networks of all views see.

The forest tells normal from glaucoma, and sees the 256 detectors of Model 2 of every view instead of probabilities,
as the paper takes the vectors before the last layer. Its training vectors come from eyes that the networks learnt
from, as those of different folds' networks do not match: it may believe them too much, and the test says whether it
does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import RandomForestClassifier

from oculard_models.evaluate import measures
from oculard_models.evaluate.figures import figures_of
from oculard_models.evaluate.measures import Numbers
from oculard_models.nets.vgg import Vgg
from oculard_models.train.glaucoma_cell import GLAUCOMA, Cell, Told, read_told
from oculard_models.train.glaucoma_fit import BATCH_TOLD, Views
from oculard_models.train.glaucoma_judge import Asked, trained

TREES, DEEP, LEAF = 200, 8, 3


def vectors_of(asked: Asked, net: str, split: int) -> npt.NDArray[np.float32]:
    """The means of the detectors of Model 2 of all views, eyes x 256 a view."""
    nets = [trained(asked, net, GLAUCOMA, split, view) for view in asked.views]
    return np.concatenate([seen_by(one, asked.eyes.views[:, view]) for view, one in enumerate(nets)], axis=1)


def seen_by(net: Vgg, views: Views) -> npt.NDArray[np.float32]:
    """The means of a network's detectors, eyes x 256."""
    images = torch.from_numpy(views[:, None].astype(np.float32) / np.float32(255.0))
    with torch.inference_mode():
        parts = [net.maps(some).mean((2, 3)) for some in torch.split(images, BATCH_TOLD)]
    seen: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return seen


def forest_of(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, seed: int) -> RandomForestClassifier:
    """Fit the forest for normal or glaucoma; the same seed gives the same trees."""
    forest = RandomForestClassifier(
        n_estimators=TREES, max_depth=DEEP, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed
    )
    return forest.fit(vectors, labels > 0)


def forest_figures(asked: Asked, net: str) -> dict[str, Any]:
    """Measure normal or glaucoma by the area under the curve: each view's own network, and the forest on all."""
    eyes, rows, scores = asked.eyes, [], []
    for split in range(asked.splits):
        told = [_told(asked, split, view) for view in asked.views]
        vectors = vectors_of(asked, net, split)
        forest = forest_of(vectors[told[0].training], eyes.labels[told[0].training], seed=asked.seed)
        combined = forest.predict_proba(vectors[told[0].test])[:, 1]
        alone = [one.tested[GLAUCOMA][:, 1] for one in told]
        scores.append(np.stack([*alone, combined, np.full(len(combined), float(split))], axis=1))
        rows.append(told[0].test)
    every = np.concatenate(rows)
    areas = figures_of(
        {name: _mean_auc(column, asked.splits) for column, name in enumerate((*eyes.names, "forest"))},
        (eyes.labels[every] > 0).astype(np.float64),
        np.concatenate(scores),
        eyes.persons[every],
        seed=asked.seed,
    )
    return {name: figure.to_json() for name, figure in areas.items()}


def _mean_auc(column: int, splits: int) -> measures.Measure:
    """The mean over the splits of the area under one score's curve; the last column says of which split a row is."""

    def measure(truth: Numbers, scores: Numbers) -> float:
        areas = [measures.auc(truth[of], scores[of, column]) for of in (scores[:, -1] == k for k in range(splits))]
        return float(np.mean(areas))

    return measure


def _told(asked: Asked, split: int, view: int) -> Told:
    """What a cell of the largest share said."""
    return read_told(asked.run, Cell(split=split, share=asked.shares[0], view=view))
