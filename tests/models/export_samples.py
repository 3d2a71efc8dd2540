"""Small networks and drafts to export, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person
from oculard_models.export import Draft, write_bundle
from oculard_models.manifest import InputSpec, Output, OutputKind
from oculard_models.registry import Bundle

PX = 64
SPEC = InputSpec(kind="fundus", tensor="image", size_px=(PX, PX), mean=(0.5, 0.21, 0.12), std=(0.28, 0.13, 0.07))
AGE = Output(
    name="age", concept="EST-AGE", tensor="age", kind=OutputKind.VALUE, unit="a", scale=15, offset=55, uncertainty=5
)
SEX = Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))
PROVENANCE = {"command": "pytest", "date": "2026-11-20", "data": "noise", "seed": 1}


def draft(**changes: Any) -> Draft:
    """Describe a bundle of age and sex, but for the changes."""
    whole: dict[str, Any] = {
        "name": "tried",
        "family": "systemic",
        "version": "1.0.0",
        "title": "Tried (demonstration)",
        "manufacturer": "oculard tests",
        "licence": "Apache-2.0",
        "demonstration": True,
        "input": SPEC,
        "outputs": (AGE, SEX),
        "card": "# tried\n",
        "metrics": PROVENANCE,
        "golden": paint(sample_person(np.random.default_rng(1)), "R", 1, 96),
    }
    return Draft(**(whole | changes))


def noise(images: int, px: int = PX) -> npt.NDArray[np.float32]:
    """Make a batch; the same every time."""
    return np.random.default_rng(images).normal(size=(images, 3, px, px)).astype(np.float32)


def small_net(seed: int = 1) -> Any:
    """Build a network of three convolutions and two outputs of about unit size."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    layers += [nn.Conv2d(8, 16, 3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)]
    return nn.Sequential(*layers).eval()


def exported(folder: Path, net: Any = None, **changes: Any) -> Bundle:
    """Write the sample bundle into a folder."""
    whole = draft(**changes)
    return write_bundle(folder / whole.name, net or small_net(), whole, check=noise(4, whole.input.size_px[0])).bundle
