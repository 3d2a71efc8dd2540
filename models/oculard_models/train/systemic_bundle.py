"""The bundle `systemic-demo` around its trained weights: manifest, card, golden picture, measures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.person import CENTRE, LIMITS, VALUES, sample_person
from oculard_models.export import manifest_toml, run_onnx
from oculard_models.manifest import Golden, InputSpec, Manifest, Output, OutputKind, Weights
from oculard_models.preprocess import prepare

GOLDEN_SEED = 20_000_001  # below every training's seeds
GOLDEN_PX = 256

CONCEPTS: Mapping[str, tuple[str, str]] = {  # code of the concept, UCUM unit
    "age": ("EST-AGE", "a"),
    "sbp": ("EST-SBP", "mm[Hg]"),
    "dbp": ("EST-DBP", "mm[Hg]"),
    "glucose": ("EST-GLU", "mg/dL"),
    "waist": ("EST-WC", "cm"),
    "bmi": ("EST-BMI", "kg/m2"),
}

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

{training} painted pictures of {training} invented people (`oculard_models.data.paint`), seed {seed}. Which visual
feature stands for which attribute was made up by us (`oculard_models/data/traits.py`); no photograph of a person was
used.

架空の {training} 人を描いた {training} 枚の画像（乱数の種 {seed}）。画像の特徴と属性の対応は開発者が任意に決めた
もので、実在の人の写真は一切使用していません。

## What it gives / 出力

Measured on {test} painted people that it never saw (one picture each, 95 % bootstrap interval over persons); the
intervals are conformal, 90 %, from {calibration} further people. / 学習に使っていない架空の {test} 人での結果です。

{table}

MAE of the median: the error of a constant. MAE of age and sex: the error of a straight line through the true age and
sex. All figures, with the command that makes them, are in `metrics.json`.

## Limits / 限界

- On photographs of real eyes it still gives numbers. They are meaningless.
- 実際の眼底写真に対しても数値は出力されますが、意味はありません。
- It was trained without JPEG. On painted eyes of 512 pixels and more JPEG (quality 92) costs next to nothing; at 256
  pixels, where 4:2:2 smears arteries and veins into each other, the R2 of the blood pressures falls to about 0.5.
- One eye's photographs are averaged; the intervals hold for one photograph, and are a little wide for several.

## Licence / ライセンス

Apache-2.0, as the software. Nobody else's data or weights are in it.
"""


def write_bundle(
    folder: Path, spec: InputSpec, widths: Mapping[str, float], report: Mapping[str, object], *, seed: int
) -> Manifest:
    """Write everything beside `model.onnx`, which must lie in `folder` already; return the manifest."""
    golden = _golden(folder / "golden.png")
    raw = run_onnx(folder / "model.onnx", prepare(golden, spec)[None])
    manifest = Manifest(
        name="systemic-demo",
        family="systemic",
        version="1.0.0",
        title="Systemic attributes (demonstration)",
        manufacturer="oculard",
        licence="Apache-2.0",
        demonstration=True,
        interval=0.9,
        weights=Weights(file="model.onnx", sha256=hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()),
        input=spec,
        output=(_value("age", widths), _sex(), *(_value(name, widths) for name in VALUES if name != "age")),
        golden=Golden(image="golden.png", expected={name: round(float(column[0]), 5) for name, column in raw.items()}),
    )
    (folder / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "card.md").write_text(_card(report, seed), encoding="utf-8")
    return manifest


def _value(name: str, widths: Mapping[str, float]) -> Output:
    """Describe one value: the network gives standard deviations from the mean."""
    concept, unit = CONCEPTS[name]
    mean, deviation = CENTRE[name]
    return Output(
        name=name,
        concept=concept,
        tensor=name,
        kind=OutputKind.VALUE,
        unit=unit,
        scale=deviation,
        offset=mean,
        uncertainty=round(widths[name], 2),
        valid=LIMITS[name],
    )


def _sex() -> Output:
    """Describe the one classification."""
    return Output(name="sex", concept="EST-SEX", tensor="sex", kind=OutputKind.BINARY, choices=("F", "M"))


def _golden(path: Path) -> ImageInput:
    """Paint the picture of the self-test, a right eye, and write it."""
    pixels = paint(sample_person(np.random.default_rng(GOLDEN_SEED)), "R", GOLDEN_SEED, GOLDEN_PX)
    Image.fromarray(pixels).save(path, "PNG", optimize=True)
    return ImageInput(sop_instance_uid="2.25.0", eye="R", pixels=pixels)


def _card(report: Mapping[str, object], seed: int) -> str:
    """Fill the card with the measures."""
    people: dict[str, int] = report["people"]  # type: ignore[assignment]  # shaped by the training script
    heads = "| output | R2 (95 %) | MAE | MAE of the median | MAE of age and sex | 90 % interval | covers |"
    rows = [heads, "|" + "---|" * 7]
    for name in VALUES:
        own: dict[str, dict[str, float]] = report[name]  # type: ignore[assignment]  # likewise
        r2 = own["r2"]
        rows.append(
            f"| {name} ({CONCEPTS[name][1]}) | {r2['value']:.2f} ({r2['low']:.2f} to {r2['high']:.2f}) |"
            f" {own['mae']['value']:.1f} | {own['mae_of_median']:.1f} | {own['mae_of_covariates']:.1f} |"
            f" +- {own['half_width']:.1f} | {100 * own['coverage']['value']:.0f} % |"
        )
    sex: dict[str, dict[str, float]] = report["sex"]  # type: ignore[assignment]  # likewise
    auc, right = sex["auc"], sex["accuracy"]
    rows += ["", f"Sex: AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}), accuracy {right['value']:.3f}."]
    return CARD.format(table="\n".join(rows), seed=seed, **people)
