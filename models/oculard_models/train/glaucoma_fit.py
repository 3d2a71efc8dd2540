"""How one network of one view learns: a fixed number of epochs, one cycle of the rate, small variations of the view.

Nothing is set aside to stop early on: with few eyes that would cost data, and what is held out must have had no say.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oculard_models.nets.vgg import Vgg, begin_with, build_vgg
from oculard_models.train.settings import TrainingWrong

Views = npt.NDArray[np.uint8]  # eyes x side x side: one view of each
TURN_DEG, SHIFT, STRETCH = 12.0, 0.08, 0.12  # of the variations: degrees, shares of the side
LIGHT, NOISE = 0.2, 0.04
SMOOTHING = 0.05  # of the labels: people, and the painted ones, are wrong at times
BATCH_TOLD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a network learns: from nothing, from Model 2, or with ImageNet's weights as the start of all."""

    net: str
    epochs: int
    seed: int
    batch: int = 32
    decay: float = 0.02
    rate: float = 3e-3  # from nothing
    rate_taught: float = 3e-3  # from Model 2
    rate_imagenet: float = 1e-4  # of blocks 4 and 5, where ImageNet's weights are the start; the first three stay
    rate_head: float = 1e-3  # of what comes after them then
    initial: Path | None = None  # ImageNet's weights, torchvision's numbering
    device: str = "cpu"


def learn(course: Course, views: Views, labels: npt.NDArray[np.int64], classes: int, taught: Vgg | None = None) -> Vgg:
    """Train a network; `taught` gives it all but its head. The same course and eyes give the same network."""
    if len(views) < 2:
        raise TrainingWrong(f"{len(views)} eyes are too few to learn from")
    torch.manual_seed(course.seed)
    net = build_vgg(course.net, classes, initial=None if taught else course.initial)
    if taught is not None:
        begin_with(net, taught)
    net.to(course.device, memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]  # torch's own stub lacks it
    torch.manual_seed(course.seed)  # what follows is alike, however much chance the start took
    torch.set_flush_denormal(True)
    try:
        _train(net, course, _tensor(views), torch.from_numpy(labels), _groups(net, course, taught is not None))
    finally:
        torch.set_flush_denormal(False)
    return net.to("cpu").eval()


def told(net: Vgg, views: Views) -> npt.NDArray[np.float64]:
    """Probabilities, eyes x classes."""
    device = next(net.parameters()).device
    with torch.inference_mode():
        parts = [
            torch.softmax(net(_tensor(views[at : at + BATCH_TOLD]).to(device)), dim=1).cpu()
            for at in range(0, len(views), BATCH_TOLD)
        ]
    return torch.cat(parts).double().numpy() if parts else np.zeros((0, net.head.out_features))


def _train(net: Vgg, course: Course, views: Tensor, labels: Tensor, groups: list[dict[str, Any]]) -> None:
    """Train what the groups hold, each at its own rate."""
    optimiser = torch.optim.AdamW(groups, weight_decay=course.decay)
    size = min(course.batch, len(views))
    steps = course.epochs * (len(views) // size)
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.2)
    weights = _weights(labels, net.head.out_features).to(course.device)
    loss_of = nn.CrossEntropyLoss(weight=weights, label_smoothing=SMOOTHING)
    net.train()
    order, at = torch.randperm(len(views)), 0
    for _ in range(steps):
        if at + size > len(order):
            order, at = torch.randperm(len(views)), 0
        rows = order[at : at + size]
        at += size
        loss = loss_of(net(_varied(views[rows]).to(course.device)), labels[rows].to(course.device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    if not bool(torch.isfinite(loss)):
        raise TrainingWrong("the loss is no number any more; hint: a lower --rate")


def _groups(net: Vgg, course: Course, is_taught: bool) -> list[dict[str, Any]]:
    """Say what learns at which rate."""
    if course.initial is None:
        return [{"params": list(net.parameters()), "lr": course.rate_taught if is_taught else course.rate}]
    pools = [at for at, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    late = [one for layer in list(net.features)[pools[2] :] for one in layer.parameters()]
    after = [*net.narrow.parameters(), *net.head.parameters()]
    return [{"params": late, "lr": course.rate_imagenet}, {"params": after, "lr": course.rate_head}]


def _weights(labels: Tensor, classes: int) -> Tensor:
    """Rare classes weigh more, so that all together weigh alike."""
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp(min=1)
    return len(labels) / (classes * counts.float())


def _varied(views: Tensor) -> Tensor:
    """Turn, shift, stretch, lighten and disturb each view a little; no mirror: all are right eyes."""
    count = len(views)

    def by(limit: float) -> Tensor:
        return (torch.rand(count) * 2.0 - 1.0) * limit

    angle, wide, high = torch.deg2rad(by(TURN_DEG)), 1.0 + by(STRETCH), 1.0 + by(STRETCH)
    cos, sin = torch.cos(angle), torch.sin(angle)
    across = torch.stack([cos * wide, -sin * high, 2.0 * by(SHIFT)], dim=1)
    down = torch.stack([sin * wide, cos * high, 2.0 * by(SHIFT)], dim=1)
    grid = nn.functional.affine_grid(torch.stack([across, down], dim=1), list(views.shape), align_corners=False)
    moved = nn.functional.grid_sample(views, grid, padding_mode="border", align_corners=False)
    lit = moved * (1.0 + by(LIGHT))[:, None, None, None] + NOISE * torch.randn_like(moved)
    return lit.clamp(0.0, 1.0)


def _tensor(views: Views) -> Tensor:
    """Eyes x 1 x side x side, 0..1."""
    return torch.from_numpy(views[:, None].astype(np.float32) / 255.0)
