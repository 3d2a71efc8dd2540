"""The classifiers of OCT views as one network each: VGGs for every view, what judges them, and activation maps.

In: images, eyes x views x side x side, 0..1. Out: `probability` (eyes x classes), `by_view` (eyes x views x classes:
what each image said), `activation` (eyes x views x rows x columns): where each view's network saw what speaks for the
class that won, 0..1. Plain operators only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from oculard_models.nets.vgg import Vgg

if TYPE_CHECKING:
    from oculard_models.train.glaucoma_stack import Stack

OUTPUTS = ("probability", "by_view", "activation")
LEAST = 1e-6  # of a probability before scaling, and of a map's largest value


class Machines(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """The stacking: features (eyes x features) to probabilities (eyes x classes)."""

    mean: Tensor
    spread: Tensor
    vectors: Tensor
    weights: Tensor
    offset: Tensor
    slope: Tensor
    intercept: Tensor

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        machines = stack.machines
        self.gamma = float(stack.gamma)
        weights = np.zeros((sum(len(one.weights) for one in machines), len(machines)))
        at = 0
        for number, one in enumerate(machines):
            weights[at : at + len(one.weights), number] = one.weights
            at += len(one.weights)
        for name, value in (
            ("mean", stack.mean),
            ("spread", stack.spread),
            ("vectors", np.concatenate([one.vectors for one in machines])),
            ("weights", weights),
            ("offset", np.asarray([one.offset for one in machines])),
            ("slope", np.asarray([one.slope for one in machines])),
            ("intercept", np.asarray([one.intercept for one in machines])),
        ):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """Kernel, decision, Platt, scaled to sum 1."""
        standard = (features - self.mean) / self.spread
        apart = (standard[:, None] - self.vectors[None]).square().sum(2)
        decision = torch.exp(-self.gamma * apart) @ self.weights + self.offset
        raw = torch.sigmoid(self.slope * decision + self.intercept).clamp(min=LEAST)
        return raw / raw.sum(1, keepdim=True)


class Stacked(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Five classes: Model 2 and Model 4 of every view; `judge` takes P(normal) and P(types) of all views (An 2021)."""

    def __init__(self, pairs: Sequence[tuple[Vgg, Vgg]], judge: nn.Module) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.judge = judge

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability, by_view, activation."""
        features, said, evidence = [], [], []
        for number, (first, second) in enumerate(self._pairs()):
            view = images[:, number : number + 1]
            seen = first.maps(view), second.maps(view)
            glaucoma = torch.softmax(first.told(seen[0]), dim=1)  # normal, glaucoma
            types = torch.softmax(second.told(seen[1]), dim=1)
            features += [glaucoma[:, :1], types]
            said.append(torch.cat([glaucoma[:, :1], glaucoma[:, 1:] * types], dim=1))
            evidence.append(torch.cat([first.evidence(seen[0])[:, :1], second.evidence(seen[1])], dim=1))
        probability = self.judge(torch.cat(features, dim=1))
        return probability, torch.stack(said, dim=1), _activation(torch.stack(evidence, dim=1), probability)

    def _pairs(self) -> list[tuple[Vgg, Vgg]]:
        """Both networks of each view, as what they are."""
        return [(cast("Vgg", pair[0]), cast("Vgg", pair[1])) for pair in cast("list[nn.ModuleList]", self.pairs)]


class Screened(nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing where types are checked
    """Normal or glaucoma: Model 2 of every view; `judge` takes the mean of their detectors, 256 a view (An 2019)."""

    def __init__(self, nets: Sequence[Vgg], judge: nn.Module) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.judge = judge

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probability, by_view, activation."""
        vectors, said, evidence = [], [], []
        for number, net in enumerate(cast("list[Vgg]", self.nets)):
            seen = net.maps(images[:, number : number + 1])
            vectors.append(seen.mean((2, 3)))
            said.append(torch.softmax(net.told(seen), dim=1))
            evidence.append(net.evidence(seen))
        probability = self.judge(torch.cat(vectors, dim=1))
        return probability, torch.stack(said, dim=1), _activation(torch.stack(evidence, dim=1), probability)


def _activation(evidence: Tensor, probability: Tensor) -> Tensor:
    """The maps (eyes x views x classes x rows x columns) of the class that won, each view's largest at 1."""
    won = (torch.arange(probability.shape[1]) == probability.argmax(1, keepdim=True)).float()
    chosen = torch.relu((evidence * won[:, None, :, None, None]).sum(2))
    return chosen / chosen.amax((2, 3), keepdim=True).clamp(min=LEAST)
