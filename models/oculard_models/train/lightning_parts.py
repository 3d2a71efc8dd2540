"""The one way to Lightning: see `nets/operators.py` for what it needs on machines without CUDA."""

from __future__ import annotations

from oculard_models.nets.operators import declare_operators

declare_operators()

# Lightning imports torchvision, which needs the operators.
from lightning.fabric.utilities.exceptions import MisconfigurationException  # noqa: E402
from lightning.pytorch import Callback, LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import (  # noqa: E402
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger  # noqa: E402

__all__ = [
    "Callback",
    "EMAWeightAveraging",
    "EarlyStopping",
    "LightningModule",
    "MisconfigurationException",
    "ModelCheckpoint",
    "RichProgressBar",
    "TensorBoardLogger",
    "Trainer",
]
