"""A process that loads bundles instead of pictures, and may die of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oculard_models import decoder
from oculard_models.dicom_pixels import Undecodable
from oculard_models.manifest import BundleRefused
from oculard_models.registry import read_bundle
from oculard_models.runners.load import choose, load


def served(path: str, pixels_max: int) -> decoder.Answer:
    """Load a bundle as a worker does, and test it."""
    try:
        loaded = load(read_bundle(Path(path)), runner="onnx", choice=choose("onnx", ["cpu"]), threads=1)
        loaded.self_test()
    except BundleRefused as why:
        raise Undecodable("refused", "") from why
    return np.zeros((1, 1, 3), np.uint8), {}


if __name__ == "__main__":
    questions: dict[str, object] = decoder.QUESTIONS  # type: ignore[assignment]
    questions["rgb"] = served
    decoder.main()
