"""Networks to measure: bundles of the sixteen architectures with random weights. What they say means nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from oculard_models.data.paint import paint
from oculard_models.data.person import CENTRE, sample_people
from oculard_models.data.table import CONCEPTS, UNITS
from oculard_models.export import Draft, write_bundle
from oculard_models.manifest import Combine, InputSpec, Output, OutputKind
from oculard_models.nets.sixteen import SIXTEEN, build
from oculard_models.registry import Bundle

SEED = 1


@cache
def random_bundle(architecture: str, heads: tuple[str, ...] = ("sex",)) -> Bundle:
    """Export an architecture at its own size with random weights, as a bundle of the family `systemic`.

    It takes long, so that all items share it; the folder goes when the bench ends.
    """
    torch.manual_seed(SEED)
    net = build(architecture, heads).eval()
    size_px = SIXTEEN[architecture].size_px
    golden = paint(sample_people(1, SEED)[0], "R", SEED, 256)
    draft = Draft(
        name=architecture,
        family="systemic",
        version="0.0.1",
        title=f"{architecture}, random weights",
        manufacturer="oculard",
        licence="Apache-2.0",
        citation="",
        demonstration=True,
        combine=Combine.EYE,
        interval=0.9,
        input=InputSpec(kind="fundus", tensor="image", size_px=(size_px, size_px)),
        outputs=tuple(_output(head) for head in heads),
        card="Random weights, for measuring speed.",
        metrics={"command": "make bench", "data": "none", "date": "", "seed": SEED},
        golden=golden,
        golden_tolerance=0.1,
    )
    check = np.random.default_rng(SEED).random((1, 3, size_px, size_px), dtype=np.float32)
    return write_bundle(Path(_folder().name) / f"{architecture}-{len(heads)}", net, draft, check=check).bundle


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="bench-nets-")


def _output(head: str) -> Output:
    if head == "sex":
        return Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))
    mean, deviation = CENTRE[head]
    return Output(
        name=head,
        concept=CONCEPTS[head],
        tensor=head,
        kind=OutputKind.VALUE,
        unit=UNITS[head],
        scale=deviation,
        offset=mean,
    )
