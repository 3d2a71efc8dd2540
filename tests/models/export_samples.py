"""Small networks and drafts to export, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person
from oculard_models.export import Draft, write_bundle
from oculard_models.manifest import Crop, InputSpec, Logistic, Mask, Output, OutputKind, Structure
from oculard_models.registry import Bundle

PX = 64
SPEC = InputSpec(kind="fundus", tensor="image", size_px=(PX, PX), mean=(0.5, 0.21, 0.12), std=(0.28, 0.13, 0.07))
AGE = Output(
    name="age", concept="EST-AGE", tensor="age", kind=OutputKind.VALUE, unit="a", scale=15, offset=55, uncertainty=5
)
SEX = Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))
EN_FACE = InputSpec(
    kind="en-face", slabs=("128265", "128269"), tensor="image", size_px=(PX, PX), crop=Crop.WHOLE, mirror_left=False
)
FAZ = Mask(structure=Structure.FAZ, tensor="mask", threshold=0.4)
AREA = Output(name="area", concept="FAZ-AREA", kind=OutputKind.MEASURED, unit="mm2", valid=(0.0, 3.0))
GLAUCOMA = Output(
    name="glaucoma",
    concept="FAZ-GL",
    kind=OutputKind.LOGISTIC,
    choices=("normal", "glaucoma"),
    logistic=Logistic(intercept=-1.5, coefficients={"area": 2.5}),
)
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


def mask_draft(**changes: Any) -> Draft:
    """Describe a bundle that segments, with an area and what a logistic model makes of it, but for the changes."""
    whole: dict[str, Any] = {
        "name": "traced",
        "family": "faz",
        "input": EN_FACE,
        "mask": FAZ,
        "outputs": (AREA, GLAUCOMA),
        "golden": blob(20),
    }
    return draft(**(whole | changes))


def blob(radius: float, px: int = PX) -> npt.NDArray[np.uint8]:
    """Paint a bright disc with a soft edge on dark, grey in three channels."""
    rows, columns = np.mgrid[:px, :px] + 0.5
    light = 255.0 / (1.0 + np.exp((np.hypot(rows - px / 2, columns - px / 2) - radius) / 2.0))
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


def blobs(count: int) -> npt.NDArray[np.float32]:
    """Make a batch of discs, as a network sees them."""
    return np.stack([blob(10 + 2 * k).transpose(2, 0, 1) for k in range(count)]).astype(np.float32) / 255.0


def mask_net(gain: float = 12.0, channels: int = 1) -> Any:
    """Build a network of two convolutions that gives gain * (grey - 0.5) as every pixel's logit."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    first, last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, channels, 1)
    with torch.no_grad():
        first.weight.copy_(torch.rand_like(first.weight) + 0.5)
        first.weight /= first.weight.sum(dim=(1, 2, 3), keepdim=True)
        first.bias.zero_()
        last.weight.fill_(gain / 8)
        last.bias.fill_(-gain / 2)
    return nn.Sequential(first, nn.ReLU(), last).eval()


def mask_exported(folder: Path, net: Any = None, **changes: Any) -> Bundle:
    """Write the sample bundle that segments into a folder."""
    whole = mask_draft(**changes)
    return write_bundle(folder / whole.name, net or mask_net(), whole, check=blobs(3)).bundle
