"""The cards of the classifiers of disc types, filled with the figures of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oculard_models.train.glaucoma_words import (
    PAINTED,
    PAINTED_JAPANESE,
    data_words,
    design_words,
    figure_cell,
    table,
    verdicts,
)

BANNER = """\
**A demonstration: what it says means nothing for any person. {words}**

**デモ用モデルです。実在の人に対しては何の意味もありません。{japanese}**

"""
TYPES = """\
# {name}

{banner}## What it is for / 用途

Research: from a structural OCT volume of the optic disc it tells a normal eye from four types of glaucomatous disc
after Nicolela (focal ischemia, generalized enlargement, myopic, senile sclerosis), with a probability for each, and
says what each of its views says alone. It is not a medical device; no diagnosis or treatment may rest on it.

研究用です。視神経乳頭の OCT ボリュームから、正常と Nicolela の 4 型（局所虚血型、全体的陥凹拡大型、近視型、
加齢硬化型）を確率つきで分類します。医療機器ではありません。診断や治療の判断には使用しないでください。

## How it works / 方法

Hierarchical transfer after An et al., Sci Rep 11:4250 (2021): for every view a VGG16 for normal or glaucoma, and one
for the four types that began with its weights; what all of them say is stacked by support vector machines.

{design}

## What it was trained on / 学習データ

{data}. The weights learnt from the training eyes of the first split.

## How good it is / 性能

On the {test} test eyes of the first split, exactly these weights: kappa {first:.3f}. The whole study ({splits}
splits, mean, 95 % intervals by person), kappa:

{table}

{verdicts}

Weighted accuracy (mean of the five recalls) of `transfer` with all training eyes: {balanced}; accuracy: {accuracy}.
An et al. 2021, on 954 real eyes: kappa 0.809 with hierarchical transfer, 0.727 without, 0.408 inexperienced
doctors.{caution}

## Limits / 限界

- It knows disc scans of 6 x 6 mm, as right eyes, on the scales of its views. It has no notion of other diseases.
- 乳頭を中心とする 6 x 6 mm のスキャン用です。他の疾患は想定していません。
- The five probabilities are those of the training data's shares of classes; elsewhere the shares differ.
- What is stated as certainty falls where the views disagree; that rule is ours, and is not calibrated.

## Licence / ライセンス

Apache-2.0 for code and weights. Begun {start}.

How it was made: `{command}`
"""
FOREST = """\
# {name}

{banner}## What it is for / 用途

Research: a second opinion on normal or glaucoma from a structural OCT volume of the optic disc, after An et al., J
Healthcare Eng (2019): a VGG16 for every view, and a random forest on what their detectors see. It does not tell types
apart. It is not a medical device.

研究用です。OCT ボリュームから正常か緑内障かを判定する別の手法（ランダムフォレスト）です。医療機器ではありません。

## What it was trained on / 学習データ

{data}. The weights learnt from the training eyes of the first split; so did the forest, on the same eyes as the
networks.

## How good it is / 性能

Area under the ROC curve on test eyes ({splits} splits, mean, 95 % intervals by person):

{table}

An et al. 2019, on 357 real eyes: 0.940 to 0.952 for single images, 0.963 combined.{caution}

## Licence / ライセンス

Apache-2.0 for code and weights.

How it was made: `{command}`
"""


def card_of(figures: Mapping[str, Any], name: str) -> str:
    """Write the card of the five classes."""
    settings = figures["settings"]
    best = next(iter(figures["arms"]["transfer"].values()))
    return TYPES.format(
        name=name,
        design="\n".join(f"- {words}" for words in design_words(figures)),
        test=settings["test"],
        first=best["kappa_by_split"][0],
        table=table(figures),
        verdicts="\n".join(f"- {words}" for words in verdicts(figures)),
        balanced=figure_cell(best["balanced_accuracy"]),
        accuracy=figure_cell(best["accuracy"]),
        start=f"with {settings['initial']}" if settings["initial"] else "from nothing",
        **_shared(figures),
    )


def forest_card(figures: Mapping[str, Any], name: str) -> str:
    """Write the card of the forest."""
    rows = ["| score | AUC |", "|---|---|"]
    rows += [f"| {view} | {figure_cell(one)} |" for view, one in figures["second"]["forest"].items()]
    return FOREST.format(name=name, table="\n".join(rows), **_shared(figures))


def _shared(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Say what both cards say."""
    painted = figures["painted"]
    return {
        "banner": BANNER.format(words=PAINTED, japanese=PAINTED_JAPANESE) if painted else "",
        "caution": " Ours are painted eyes: the two do not compare." if painted else "",
        "data": data_words(figures),
        "splits": figures["settings"]["splits"],
        "command": figures["command"],
    }
