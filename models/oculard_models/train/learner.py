"""What Lightning trains: our net, masked losses, AdamW on a cosine; and the order in which pictures come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from math import cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from oculard_models.train.checkpoint import ABOUT
from oculard_models.train.lightning_parts import LightningModule
from oculard_models.train.losses import each_loss
from oculard_models.train.settings import Fit, TrainingWrong

START_SHARE = 0.04  # of the highest rate, at the first step of the warm-up


class Learner(LightningModule):  # type: ignore[misc, unused-ignore]  # lightning may be missing where types are checked
    """A network with its losses; `about` is what its checkpoints say besides, plain values only."""

    def __init__(self, net: nn.Module, heads: tuple[str, ...], fit: Fit, about: Mapping[str, object]) -> None:
        super().__init__()
        # Quicker on processors and graphics cards alike.
        self.net: nn.Module = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stubs
        self.heads, self.fit, self.about = heads, fit, dict(about)
        self.continued = False
        self.tuned = 0  # known targets of the tuning people in this epoch

    def training_step(self, batch: Mapping[str, Tensor], _: int) -> Tensor:
        """Return the mean loss over what is known in a batch."""
        each, known = self._each(batch)
        loss = each.sum() / known.sum().clamp(min=1)
        self.log("training_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=int(known.sum()) or 1)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], _: int) -> None:
        """Log the loss over what is known, of all heads and of each."""
        each, known = self._each(batch)
        self._tuned("tuning_loss", each.sum(), int(known.sum()))
        for k, name in enumerate(self.heads):
            self._tuned(f"tuning_{name}", each[:, k].sum(), int(known[:, k].sum()))

    def on_validation_epoch_start(self) -> None:
        """Nothing is tuned on yet."""
        self.tuned = 0

    def on_validation_epoch_end(self) -> None:
        """Stop where nothing could be tuned on: neither the best epoch nor the end would ever be found."""
        if not self.tuned:
            raise TrainingWrong("nothing is known of the tuning people; hint: do their rows have these targets?")

    def on_train_start(self) -> None:
        """Remember whether this training is continued."""
        self.continued = self.current_epoch > 0

    def on_train_epoch_start(self) -> None:
        """Seed what an epoch draws by chance (dropout), so that a continued training draws the same."""
        torch.manual_seed(self.fit.seed * 100_003 + self.current_epoch * 1_009 + self.global_rank)
        if self.continued:
            # A loader draws one number when it begins: after this hook, but before it in the first epoch that is run.
            torch.empty((), dtype=torch.int64).random_()
            self.continued = False

    def configure_optimizers(self) -> Any:
        """AdamW; the rate rises for `warm_up` epochs, then falls along a cosine to nothing."""
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=self.fit.rate, weight_decay=self.fit.decay)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        rising = min(total - 1, round(self.fit.warm_up * total / self.fit.epochs))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_share(step, rising, total))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint say what it is."""
        checkpoint[ABOUT] = self.about

    def _each(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the loss of every image and head, and which are known."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        return each_loss(self.net(images).float(), batch["target"], self.heads)

    def _tuned(self, name: str, total: Tensor, count: int) -> None:
        """Log one mean, weighted by how many it is of; nothing where there are none."""
        if count:
            self.tuned += count
            self.log(name, total / count, prog_bar=name == "tuning_loss", batch_size=count, sync_dist=True)


def rate_share(step: int, rising: int, total: int) -> float:
    """Return the share of the highest learning rate at a step: up along a cosine, then down along another."""
    if step < rising:
        return START_SHARE + (1.0 - START_SHARE) * 0.5 * (1.0 - cos(pi * step / rising))
    return 0.5 * (1.0 + cos(pi * min(1.0, (step - rising) / max(1, total - rising))))


class Shuffled(Sampler[int]):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """All rows, in an order that follows from the seed and the epoch alone."""

    def __init__(self, data: Sized, seed: int) -> None:
        self.data, self.seed, self.epoch = data, seed, 0

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        yield from np.random.default_rng([self.seed, self.epoch]).permutation(len(self.data)).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, and the data with it where they draw by chance; Lightning calls this before each."""
        self.epoch = epoch
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
