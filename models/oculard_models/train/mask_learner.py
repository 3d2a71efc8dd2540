"""What Lightning trains of a segmentation network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from oculard_models.train.learner import Learner
from oculard_models.train.losses import mask_loss


class MaskLearner(Learner):
    """A segmentation network with its loss."""

    def _each(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the loss of every image, images x 1, all of them known."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        each = mask_loss(self.net(images).float(), batch["target"])[:, None]
        return each, torch.ones_like(each, dtype=torch.bool)
