"""The bundle `systemic-demo` around its trained weights: what it is called, and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oculard_models.evaluate.report import Part
from oculard_models.export import Draft
from oculard_models.manifest import InputSpec, Output
from oculard_models.train.card_table import figures_json, figures_table
from oculard_models.train.intervals import LEVEL
from oculard_models.train.systemic_card import golden_eye

CARD = """\
# systemic-demo

**A demonstration. It was trained on painted eyes of invented people and means nothing for any person.**
**デモ用モデルです。架空の人物の「描かれた眼底画像」だけで学習しており、実在の人に対しては何の意味もありません。診療・研究には使用できません。**

## What it is for / 用途

It lets an installation run from the device to the PACS before real weights are there: the whole path works, and the
numbers in the report are recognisably not medical. Every report that comes from it says so.

実際のモデルを導入する前に、撮影装置から PACS までの全経路を確認するためのものです。この結果を含むレポートには、必ず
デモである旨が記載されます。

## What it was trained on / 学習データ

{training} painted pictures of {training} invented people (`oculard_models.data.paint`), seed {seed}; {tuning} further
people chose the epoch. Half of the pictures went through JPEG (quality 80 to 97, with and without chroma subsampling).
Which visual feature stands for which attribute was made up by us (`oculard_models/data/traits.py`); no photograph of a
person was used.

架空の {training} 人を描いた {training} 枚の画像（乱数の種 {seed}）。画像の特徴と属性の対応は開発者が任意に決めた
もので、実在の人の写真は一切使用していません。

## What it gives / 出力

Measured on both eyes of {test} painted people that it never saw, half of the pictures through JPEG (95 % bootstrap
interval over persons); the intervals are conformal, {level:.0%}, from {calibration} further people.
/ 学習に使っていない架空の {test} 人での結果です。

{table}

MAE of the median: the error of a constant. MAE of age and sex: the error of a straight line through the true age and
sex. Both come from the people who calibrated. All figures, with the command that makes them, are in `metrics.json`.

## What a file does to it / 画像形式の影響

R2 (sex: AUC) on right eyes of {file_people} of these people, by file and size in pixels; JPEG of quality 92 with 4:2:2:

{files}

## Limits / 限界

- On photographs of real eyes it still gives numbers. They are meaningless.
- 実際の眼底写真に対しても数値は出力されますが、意味はありません。
- Stronger compression than in that table was not measured; training went down to quality 80 with 4:2:0.
- One eye's photographs are averaged; the intervals hold for one photograph, and are a little wide for several.

## Licence / ライセンス

Apache-2.0, as the software. Nobody else's data or weights are in it.
"""


def draft_of(
    spec: InputSpec,
    outputs: tuple[Output, ...],
    parts: Sequence[Part],
    by_file: Mapping[str, Mapping[str, float]],
    noted: Mapping[str, Any],
) -> Draft:
    """Describe the whole bundle. `noted` says where the figures come from, `by_file` what files do to them."""
    people: Mapping[str, int] = noted["people"]
    card = CARD.format(
        table=figures_table(parts, outputs),
        files=_files(by_file),
        seed=noted["seed"],
        level=LEVEL,
        file_people=noted["file_people"],
        **people,
    )
    return Draft(
        name="systemic-demo",
        family="systemic",
        version="1.1.0",
        title="Systemic attributes (demonstration)",
        manufacturer="oculard",
        licence="Apache-2.0",
        demonstration=True,
        interval=LEVEL,
        input=spec,
        outputs=outputs,
        card=card,
        metrics=dict(noted) | figures_json(parts) | {"by_file": {kind: dict(row) for kind, row in by_file.items()}},
        golden=golden_eye(),
    )


def _files(by_file: Mapping[str, Mapping[str, float]]) -> str:
    """Write the figures by kind of file as a table."""
    names = list(next(iter(by_file.values())))
    rows = [
        f"| {kind.replace('-', ', ')} | {' | '.join(f'{row[name]:.2f}' for name in names)} |"
        for kind, row in by_file.items()
    ]
    return "\n".join([f"| file | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1), *rows])
