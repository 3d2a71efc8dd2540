"""Finds the optic disc with a network that is still torch's: in a photograph, or in a picture that was prepared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import uniform_filter
from torch import nn

from oculard_models.contract import ImageInput, Measured
from oculard_models.data.dataset import NO_UID, normalised
from oculard_models.manifest import InputSpec, Mask
from oculard_models.preprocess import Pixels, prepare, seen_box
from oculard_models.structures import measure
from oculard_models.train.disc_figures import Find

WINDOW = 1 / 24  # of the picture's side: a third of a disc's diameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How sure the network is of a disc anywhere (0..1: the mean over the surest small square), and if it finds one."""

    surest: float
    found: bool


def finder(net: nn.Module, spec: InputSpec, mask: Mask) -> Find:
    """Return what finds and measures the disc of a photograph (rows x columns x 3) exactly as the daemon does."""

    def find(pixels: Pixels) -> Measured:
        seen = prepare(ImageInput(sop_instance_uid=NO_UID, eye="R", pixels=pixels), spec)
        size = pixels.shape[0], pixels.shape[1]
        return measure(_map(net, seen), mask=mask, box=seen_box(pixels, spec), image_size=size, spacing_mm=None)

    return find


def look(net: nn.Module, plane: npt.NDArray[np.uint8], spec: InputSpec, mask: Mask) -> Sight:
    """Look at a picture that was prepared already, 3 x height x width."""
    probability = _map(net, normalised(plane, spec))
    height, width = probability.shape
    size = max(3, round(WINDOW * height))
    box = (0.0, 0.0, float(width), float(height))
    measured = measure(probability, mask=mask, box=box, image_size=(height, width), spacing_mm=None)
    surest = float(uniform_filter(probability, size, mode="constant").max())
    return Sight(surest=surest, found=measured.shape is not None)


def _map(net: nn.Module, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run the network on one picture."""
    with torch.inference_mode():
        return torch.sigmoid(net(torch.from_numpy(image)[None]))[0, 0].numpy().astype(np.float32)
