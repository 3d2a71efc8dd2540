"""What a network of one view costs: parameters, and multiplications of one forward pass, counted and not timed."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from oculard_models.nets.vgg import build_vgg
from oculard_models.train.glaucoma_cell import epochs_of


def cost_of(net: str, size_px: int) -> dict[str, float]:
    """Count parameters (millions) and GFLOP (two a multiplication with its addition) of one view of one eye."""
    built = build_vgg(net, 5).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(torch.zeros(1, 1, size_px, size_px))
    parameters = sum(one.numel() for one in built.parameters())
    return {"parameters_millions": round(parameters / 1e6, 3), "gflop": round(counter.get_total_flops() / 1e9, 4)}


def passes(eyes: int, views: int, *, splits: int, shares: tuple[float, ...], folds: int, epochs: int) -> float:
    """How many views are learnt from once, forward and backward, in a whole study; all four models."""
    weight = sum(share * epochs_of(epochs, share) for share in shares)
    return float(4.0 * views * splits * eyes * folds * weight)
