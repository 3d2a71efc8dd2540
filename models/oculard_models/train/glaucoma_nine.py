"""A second opinion on the type: a small network on nine numbers of the eye, as in Omodaka et al. 2017."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from oculard_models.data.nine_numbers import NUMBERS
from oculard_models.evaluate.kappa import Trial
from oculard_models.evaluate.kappa import figures as measured
from oculard_models.evaluate.measures import Numbers
from oculard_models.export.bundle import WEIGHTS, ExportWrong
from oculard_models.train.glaucoma_cell import Cell, read_told
from oculard_models.train.glaucoma_judge import TYPES, Asked
from oculard_models.volumes.types import DISC_TYPES

HIDDEN, PENALTY = (16,), 0.3
LARGEST_DIFFERENCE = 1e-3  # between the file and what was fitted
INPUT, OUTPUT, ABOUT = "numbers", "probability", "numbers.json"


def nine_model(numbers: Numbers, labels: npt.NDArray[np.int64], *, seed: int) -> Any:
    """Fit the small network on the nine numbers."""
    model = MLPClassifier(HIDDEN, alpha=PENALTY, solver="lbfgs", max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), model).fit(numbers, labels)


def nine_figures(asked: Asked) -> Mapping[str, Any]:
    """Measure it on the test eyes of every split, fitted on all training eyes."""
    eyes, trials = asked.eyes, []
    assert eyes.numbers is not None, "asked for only where they are known"
    for split in range(asked.splits):
        told = read_told(asked.run, Cell(split=split, share=asked.shares[0], view=0))
        model = nine_model(eyes.numbers[told.training], eyes.labels[told.training], seed=asked.seed)
        trials.append(Trial(rows=told.test, truth=eyes.labels[told.test], said=model.predict(eyes.numbers[told.test])))
    found = measured(trials, eyes.persons, TYPES, seed=asked.seed)
    return {name: figure.to_json() for name, figure in found.items()}


def write_nine(folder: Path, asked: Asked, figures: Mapping[str, Any]) -> Path:
    """Write the nine numbers' network as an ONNX file with its words; no service reads it. Raises ExportWrong."""
    eyes = asked.eyes
    assert eyes.numbers is not None, "asked for only where they are known"
    told = read_told(asked.run, Cell(split=0, share=asked.shares[0], view=0))
    model = nine_model(eyes.numbers[told.training], eyes.labels[told.training], seed=asked.seed)
    scaler, layers = model[0], model[1]
    net = nn.Sequential(*_dense(layers), nn.Softmax(dim=1)).eval()
    numbers = torch.from_numpy(eyes.numbers[told.test]).float()
    folder.mkdir(parents=True, exist_ok=True)
    whole = _Scaled(net, scaler.mean_, scaler.scale_).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            (numbers[:2],),
            str(folder / WEIGHTS),
            dynamo=False,
            opset_version=17,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "eyes"}, OUTPUT: {0: "eyes"}},
        )
    with torch.inference_mode():
        apart = float(np.abs(whole(numbers).numpy() - model.predict_proba(eyes.numbers[told.test])).max())
    if not apart <= LARGEST_DIFFERENCE:
        raise ExportWrong(f"the exported network of nine numbers differs by {apart:g} from the fitted one")
    about = {key: figures[key] for key in ("command", "date", "data", "seed", "painted")}
    about |= {"numbers": list(NUMBERS), "classes": list(DISC_TYPES), "figures": figures["second"].get("nine", {})}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


class _Scaled(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Standardise numbers, then a network."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, net: nn.Module, mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("scale", torch.from_numpy(scale).float())

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Probabilities."""
        said: torch.Tensor = self.net((numbers - self.mean) / self.scale)
        return said


def _dense(fitted: Any) -> list[nn.Module]:
    """Take over the layers of scikit-learn's network."""
    layers: list[nn.Module] = []
    for weights, bias in zip(fitted.coefs_, fitted.intercepts_, strict=True):
        layer = nn.Linear(*weights.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights.T))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [nn.ReLU()] if layers else []
        layers.append(layer)
    return layers
