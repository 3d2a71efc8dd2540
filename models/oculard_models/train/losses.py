"""The loss of one batch in which every person may lack some values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

LOGITS = ("sex",)  # targets that are 0 or 1; every other is a value in standard deviations
VALUE_WEIGHT = 2.0  # of a value's loss beside a logit's: both then begin near 0.7


def each_loss(out: Tensor, target: Tensor, heads: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the loss of every image and head, and which of them are known; 0 where the target is missing (NaN)."""
    known = ~torch.isnan(target)
    target = torch.where(known, target, torch.zeros_like(target))
    logit = torch.tensor([name in LOGITS for name in heads], device=out.device)
    as_logit = functional.binary_cross_entropy_with_logits(out, target, reduction="none")
    as_value = VALUE_WEIGHT * functional.smooth_l1_loss(out, target, reduction="none", beta=1.0)
    return torch.where(logit, as_logit, as_value) * known, known


def masked_loss(out: Tensor, target: Tensor, heads: Sequence[str]) -> Tensor:
    """Return the mean over what is known: cross entropy for sex, smooth L1 for values; 0 where nothing is."""
    each, known = each_loss(out, target, heads)
    return each.sum() / known.sum().clamp(min=1)


def mask_loss(out: Tensor, target: Tensor) -> Tensor:
    """Return every image's loss: 1 - soft Dice over its pixels (smoothed by 1, as Sharma et al.) + half the entropy.

    `out` are logits, `target` shares from 0 to 1, both images x 1 x height x width.
    """
    over = (1, 2, 3)
    probability = torch.sigmoid(out)
    both = (probability * target).sum(over)
    dice = (2.0 * both + 1.0) / (probability.sum(over) + target.sum(over) + 1.0)
    entropy = functional.binary_cross_entropy_with_logits(out, target, reduction="none").mean(over)
    return 1.0 - dice + 0.5 * entropy
