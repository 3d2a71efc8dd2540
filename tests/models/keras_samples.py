"""Genuine Keras files for tests: those of Keras 2 lie in keras_fixtures, those of Keras 3 are written on the fly."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

FIXTURES = Path(__file__).parent / "keras_fixtures"
SIXTEEN = {  # in keras.applications -> the smallest size that is still honest
    "DenseNet121": 64,
    "DenseNet169": 64,
    "DenseNet201": 64,
    "InceptionV3": 160,
    "InceptionResNetV2": 128,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "Xception": 96,
    **{f"EfficientNetB{number}": 96 for number in range(8)},
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A file, the pictures that Keras was asked about (rows x columns x 3), and what it said."""

    path: Path
    pictures: npt.NDArray[np.float32]
    said: npt.NDArray[np.float32]
    parameters: int = 0


def keras() -> Any:
    """Import Keras 3 on torch, or skip the test with the reason."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras", reason="writing Keras files needs keras (requirements-dev.lock)")


def fixture(name: str) -> Sample:
    """Give one of the Keras 2 files; make_keras2.py says how they were made."""
    pictures = np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3)).astype(np.float32)
    divisor = np.float32(1 if name in ("mobilenet", "efficientnet") else 255)
    return Sample(FIXTURES / f"{name}.h5", pictures / divisor, np.load(FIXTURES / f"{name}.npy"))


def application(folder: Path, name: str, *, size_px: int, units: int = 1, activation: str = "linear") -> Sample:
    """Write one of keras.applications with random weights, and ask it about two pictures."""
    k = keras()
    k.backend.clear_session()
    k.utils.set_random_seed(1)
    make = getattr(k.applications, name)
    model = make(
        input_shape=(size_px, size_px, 3), weights=None, classes=units, classifier_activation=activation, name="net"
    )
    return settled(folder, model, size_px, 255.0 if name.startswith("EfficientNet") else 1.0)


def settled(folder: Path, model: Any, size_px: int, brightest: float = 1.0) -> Sample:
    """Calibrate a model's batch normalisations, save it, and ask it about two of the same pictures.

    Without that a deep network with random weights explodes, and differences mean nothing.
    """
    k = keras()
    for layer in _layers(model):
        if isinstance(layer, k.layers.BatchNormalization):
            layer.momentum = 0.0  # one pass in training mode sets mean and variance
    pictures = _pictures(8, size_px, brightest)
    model(pictures, training=True)
    path = folder / f"{model.name}.h5"
    model.save(path)
    return Sample(path, pictures[:2], np.asarray(model.predict(pictures[:2], verbose=0)), model.count_params())


def _pictures(count: int, size_px: int, brightest: float) -> npt.NDArray[np.float32]:
    """Make pictures that differ from each other in colour and in large patches, under a little noise."""
    rng = np.random.default_rng(1)
    patches = rng.uniform(0, 1, (count, 4, 4, 3)) * rng.uniform(0.3, 1, (count, 1, 1, 3))
    large = np.kron(patches, np.ones((1, size_px // 4, size_px // 4, 1)))
    return ((0.9 * large + 0.1 * rng.uniform(0, 1, large.shape)) * brightest).astype(np.float32)


def _layers(model: Any) -> list[Any]:
    """List the layers of a model and of the models in it."""
    found: list[Any] = []
    for layer in model.layers:
        found += _layers(layer) if hasattr(layer, "layers") else [layer]
    return found
