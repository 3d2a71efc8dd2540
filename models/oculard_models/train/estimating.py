"""What a network in training's hands estimates, in the units of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader

from oculard_models.contract import ImageInput
from oculard_models.data.dataset import NO_UID, PhotographSet
from oculard_models.data.photographs import read_pixels
from oculard_models.data.scaling import Scaling
from oculard_models.data.table import Photograph
from oculard_models.evaluate.measures import Numbers
from oculard_models.evaluate.predictions import COVARIATES, Predictions
from oculard_models.manifest import InputSpec
from oculard_models.preprocess import prepare


def estimate(
    net: nn.Module,
    photographs: Sequence[Photograph],
    spec: InputSpec,
    scaling: Scaling,
    *,
    batch: int,
    workers: int = 0,
) -> Predictions:
    """Run a network over photographs, prepared as the daemon does it."""
    data = PhotographSet(photographs, scaling.names, spec, scaling, varied=None, seed=0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = net.to(device).eval()
    with torch.inference_mode():
        loader = DataLoader(data, batch_size=batch, num_workers=workers)
        raw = np.concatenate([net(item["image"].to(device)).double().cpu().numpy() for item in loader])
    net.to("cpu")
    known = {
        name: np.array([p.values.get(name, np.nan) for p in photographs]) for name in (*scaling.names, *COVARIATES)
    }
    return predictions_of(raw, known, [p.person for p in photographs], [p.eye for p in photographs], scaling)


def prepared(photographs: Sequence[Photograph], spec: InputSpec) -> npt.NDArray[np.float32]:
    """Read and prepare some photographs as one batch, as the daemon does it."""
    eyes = (ImageInput(sop_instance_uid=NO_UID, eye=p.eye, pixels=read_pixels(p.path)) for p in photographs)
    return np.stack([prepare(eye, spec) for eye in eyes])


def predictions_of(
    raw: Numbers, known: Mapping[str, Numbers], persons: Sequence[str], eyes: Sequence[str], scaling: Scaling
) -> Predictions:
    """Turn raw outputs (images x heads) into units, sex into the probability of male; `known` is the truth."""
    estimates = scaling.in_units(raw)
    for k, name in enumerate(scaling.names):
        if name == "sex":
            estimates[:, k] = 1.0 / (1.0 + np.exp(-np.clip(raw[:, k], -60.0, 60.0)))
    return Predictions(
        persons=np.array(persons, dtype=np.str_),
        eyes=np.array(eyes, dtype=np.str_),
        names=scaling.names,
        truth=np.stack([known[name] for name in scaling.names], axis=1).astype(np.float64),
        estimate=estimates,
        beside={name: known[name] for name in COVARIATES if name in known and name not in scaling.names},
    )
