"""One case of the quality gate: what it sees, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from oculard_models.nets.gate import Measures

Labels = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the gate sees (3 x rows x columns, uint8), what is known of it (NaN: unknown), whose it is and its kind."""

    picture: npt.NDArray[np.uint8]
    labels: Labels
    group: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCase:
    """A case without its picture: half of its size, and what the network measures on it."""

    half: npt.NDArray[np.uint8]
    found: npt.NDArray[np.float32]
    labels: Labels
    group: str
    kind: str


def measured_case(job: Callable[[], Case]) -> MeasuredCase:
    """Make a case and measure it: one picture at a time is quickest on a processor."""
    torch.set_num_threads(1)
    case = job()
    with torch.inference_mode():
        x = torch.from_numpy(case.picture)[None].float() / 255.0
        half = (nn.functional.avg_pool2d(x, 2)[0] * 255.0).round().to(torch.uint8).numpy()
        found = _measures()(x)[0].numpy()
    return MeasuredCase(half=half, found=found, labels=case.labels, group=case.group, kind=case.kind)


@cache
def _measures() -> Measures:
    return Measures()
