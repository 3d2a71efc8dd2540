"""The card of the bundles `faz` and `faz-lwbna`, filled with their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """\
# {name}

{banner}## What it is for / 用途

Research: it outlines the foveal avascular zone on an en face image of OCT angiography (superficial plexus, or deep
where there is no superficial one), and measures it: area, perimeter, circularity, Feret axes, axial ratio, and how far
its centroid lies from the middle of the image. It is not a medical device; no diagnosis or treatment may rest on it.

研究用です。OCT アンギオグラフィ（en face 画像。表層を優先し、なければ深層）から中心窩無血管域（FAZ）の輪郭を抽出し、
面積・周囲長・円形度などを計測します。医療機器ではありません。診断や治療の判断には使用しないでください。

## What it was trained on / 学習データ

{pictures} en face angiographies of the macula with the zone outlined by people ({deep} of the deep plexus,
{superficial} of the superficial one), Wang et al., Zenodo 5075194, CC BY 4.0; resized by us. No person is identified
in them, so it is not known whether two are of one person. Before that, {painted} painted angiographies
(`oculard_models.data.paint_octa`), which are of nobody.

人が FAZ を囲んだ en face 画像 {pictures} 枚（深層 {deep}、表層 {superficial}、CC BY 4.0）で学習しました。その前に、
描画した画像 {painted} 枚で事前学習しています。個人は特定されておらず、同一人物の画像が含まれるかどうかは不明です。

## How good it is / 性能

{folds}-fold cross-validation of exactly this recipe, seed {seed}: every picture measured by a network that has not seen
it, cleaned as in service, at the picture's own size. / 交差検証の結果です（学習に使っていない画像）。

| pictures | n | Dice mean (SD) | least | Hausdorff 95 (px) | not found | area bias (limits), % | Pearson r |
|---|---|---|---|---|---|---|---|
{own}

Areas in % of the picture; the limits of agreement are Bland and Altman's. The shipped weights learnt from all
{pictures} pictures; how good they are on others can only be guessed from the above.
A second person's outlines of these pictures are not known, so neither is what people would reach.

{compared}
## Limits / 限界

- One source of pictures: 3 x 3 mm, 512 x 512 pixels, device not stated. Other devices, sizes and slabs will look
  different; look at the outline in the picture before a value is used.
- 学習画像は 1 つのデータセットのみです（3 x 3 mm）。他機種では、値を使う前に必ず輪郭画像を確認してください。
- The size in mm of the deep pictures is contradictory in the source: no figure in mm2 is given for them.
- Areas follow the spacing that the image declares and the eye's magnification; both are in the report.
- It always searches one zone near the middle. A zone that is cut by the border, or none at all, is said as such.

## Licence / ライセンス

{licence}. It was trained on the data above, which must be named.

How it was made: `{command}`
"""

PATENT = """\
**LWBNA-Unet: for research and non-commercial use. The architecture is under patent WO2023062764A1 (Sharma, Nakazawa);
commercial use needs a licence from its inventors. The bundle `faz` does not use it.**
**LWBNA-Unet は研究・非商用目的に限ります。この構造は特許 WO2023062764A1 の対象です。商用利用には許諾が必要です。**

"""

COMPARED = """\
All networks side by side, same pictures, folds and lessons, at {size} x {size} pixels in patches of {patch} ({date},
seed {seed}; GFLOP, MB and ms at 320 x 320, onnxruntime on two cores, on the machine and at the load of that moment;
int8: the mean Dice with the convolutions quantised, and its size and time):

{table}
LWBNA-Unet: Sharma et al., Sci Rep 12:8508 (2022), doi 10.1038/s41598-022-12486-w; 0.958 was published for it and for
the U-Net, on 3,670 images of their own. Command: `{command}`

"""


def card(figures: Mapping[str, Any]) -> str:
    """Fill the card with the figures of a training."""
    settings, found = figures["settings"], figures["cross_validation"]
    compared = figures["compared"]
    patented = settings["net"] == "lwbna"
    return CARD.format(
        name=settings["name"],
        banner=PATENT if patented else "",
        pictures=found["all"]["pictures"],
        deep=found.get("deep", {"pictures": 0})["pictures"],
        superficial=found.get("superficial", {"pictures": 0})["pictures"],
        painted=settings["painted"],
        folds=settings["folds"],
        seed=settings["seed"],
        own="\n".join(_row(name, part) for name, part in found.items()),
        compared="" if not compared else _compared(compared),
        licence="Apache-2.0 for code and weights; the patent above" if patented else "Apache-2.0",
        command=figures["command"],
    )


def _row(name: str, part: Mapping[str, Any]) -> str:
    """Write one row of the cross-validation."""
    bias, low, high = (100.0 * part[key] for key in ("area_bias", "area_low", "area_high"))
    cells = [
        name,
        str(part["pictures"]),
        f"{part['dice_mean']:.3f} ({part['dice_sd']:.3f})",
        f"{part['dice_least']:.2f}",
        "-" if part["hausdorff95_px"] is None else f"{part['hausdorff95_px']:.1f}",
        str(part["not_found"]),
        f"{bias:+.2f} ({low:+.2f} to {high:+.2f})",
        "-" if part["pearson_r"] is None else f"{part['pearson_r']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _compared(figures: Mapping[str, Any]) -> str:
    """Write the comparison of the networks."""
    settings = figures["settings"]
    return COMPARED.format(
        size=settings["size_px"],
        patch=settings["patch_px"],
        date=figures["date"],
        seed=figures["seed"],
        table=figures["table"],
        command=figures["command"],
    )
