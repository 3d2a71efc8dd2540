"""The card of a bundle that `train systemic` wrote, and the picture of its self-test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from oculard_models.data.paint import paint
from oculard_models.data.person import sample_person

if TYPE_CHECKING:
    from oculard_models.train.material import Material
    from oculard_models.train.systemic import Settings

GOLDEN_SEED = 20_000_001  # below every training's seeds
GOLDEN_PX = 256

CARD = """\
# {name}

{banner}

## What it is for / 用途

Research on what fundus photographs tell about: {targets}. It is not a medical device: no diagnosis, treatment or
check-up may rest on it. What it says of a person is a guess from a picture, with the error that stands below.

研究用です。医療機器ではなく、診断・治療・健診の判断に使用してはいけません。

## What it was trained on / 学習データ

{data}

| | people |
|---|---|
{people}

Table `{table}` (SHA-256 `{digest}`); split by person, seed {seed}. Nobody is in two of these groups.

## How it was made / 学習方法

Network {net} ({trunk}), input {size} x {size} pixels, crop `{crop}`, left eyes {left}; {start}.

    {command}

## How good it is / 性能

On the test people, whom it never saw (95 % bootstrap intervals over persons). The intervals of its estimates are
conformal, {level:.0%}, from the calibration people. / 学習に使っていない人での結果です。

{figures}

MAE of the median: the error of always saying the median of the people who trained. MAE of age and sex: the error of a
straight line through true age and sex, from the same people. An estimate is worth something only where it is better
than both. All figures are in `metrics.json`, with the command that made them.

## Limits / 限界

- The figures hold for people and cameras like those it was trained on. Elsewhere they are worse: for sex, published
  networks fall from 87 to 79 % on other cameras, and to 69 % where the fovea is diseased (Korot et al. 2021).
- A value beyond the range of those who trained is reported as out of range.
- Estimates of one person must not be compared over time as if they were measurements.
- The picture of the self-test is painted; no photograph of a person is in this folder.

## Licence and citation / ライセンス

{licence}

{citation}
"""
BANNER = "**Research. Estimates, no measurements. / 研究用。推定値であり、測定値ではありません。**"
DEMONSTRATION = """\
**A demonstration: its values mean nothing for any person.**
**デモ用モデルです。実在の人に対しては何の意味もありません。**"""


def golden_eye() -> npt.NDArray[np.uint8]:
    """Paint the picture of the self-test: a right eye of nobody."""
    return paint(sample_person(np.random.default_rng(GOLDEN_SEED)), "R", GOLDEN_SEED, GOLDEN_PX)


def systemic_card(settings: Settings, material: Material, figures: str, *, command: str, level: float) -> str:
    """Write the whole card."""
    shared = "one trunk for all targets" if settings.trunk == "shared" else "one network a target"
    return CARD.format(
        name=settings.name,
        banner=DEMONSTRATION if settings.demonstration == "yes" else BANNER,
        targets=", ".join(settings.heads),
        data=settings.data_words or "**Nobody described the people and the photographs** (`--data-words`).",
        people="\n".join(f"| {name} | {count} |" for name, count in material.people().items()),
        table=material.table.name,
        digest=material.table.sha256,
        seed=settings.seed,
        net=settings.net,
        trunk=shared,
        size=settings.pixels,
        crop=settings.crop,
        left="mirrored" if settings.left == "mirrored" else "as they are",
        start="begun with given weights" if settings.initial else "begun from nothing",
        command=command,
        level=level,
        figures=figures,
        licence=settings.licence,
        citation=settings.citation or "No citation was given.",
    )
