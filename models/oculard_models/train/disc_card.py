"""The card of the bundle `disc-demo`, filled with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """\
# disc-demo

**A demonstration, trained on {photographs} photographs of one camera: what it measures means nothing for any person.**
**これはデモです。1 機種の写真 {photographs} 枚だけで学習しており、実在の人に対しては何の意味もありません。**

## What it is for / 用途

It outlines the optic disc on a colour photograph of the retina and measures the outline: area, perimeter, circularity,
Feret axes, axial ratio. It shows that the way from a photograph to a mask, measures and a picture in the report works
for another structure than the foveal avascular zone. It is not a medical device. The cup is not outlined, and there is
no cup to disc ratio.

眼底カラー写真から視神経乳頭の輪郭を抽出し、面積・周囲長・円形度などを計測します。別の構造でもマスク・計測値・画像が
レポートになることを示すためのものです。医療機器ではありません。陥凹（カップ）は抽出せず、C/D 比は算出しません。

## What it was trained on / 学習データ

{photographs} photographs of IDRiD (Porwal et al. 2018; Kowa VX-10, one clinic), every one of them with diabetic
retinopathy, with the masks that people drew; copies of them in other colours, with haze, shadows and blur laid over
them. Before that, {painted} painted photographs (`oculard_models.data.paint`), which are of nobody. No patients are
named: whether two photographs are of one person is not known.

IDRiD の写真 {photographs} 枚（Kowa VX-10、1 施設、すべて糖尿病網膜症あり）と、人が描いたマスクで学習しました。
その前に、描画した写真 {painted} 枚で事前学習しています。

| data | photographs | used for | licence | source |
|---|---|---|---|---|
| IDRiD | {photographs} | learning, cross-validation | CC BY 4.0 | Porwal et al. 2018; Kowa VX-10 |
| HRF | {hrf[photographs]} | measuring | CC BY 4.0 | Budai et al. 2013, FAU Erlangen; Canon CR-1 |
| CSDI | {csdi_all} | measuring | CC BY 4.0 | github.com/rainyNighti/CSDI @ae826ed, Peking University Third Hospital |

## How good it is / 性能

First row: {folds}-fold cross-validation of exactly this recipe, seed {seed}; each photograph measured by a network that
has not seen it. The others: the shipped weights on other cameras; nothing was learnt from those photographs. All are
cleaned as in service, at the photograph's own size. Lengths are in disc diameters.
/ 1 行目は交差検証（学習に使っていない写真）、他は別機種の写真での結果です。長さの単位は乳頭径です。

| photographs with a disc | n | found | in its place | centre off: mean (SD), most | area / true area: mean (SD) |
|---|---|---|---|---|---|
| IDRiD, masks | {own} |
| HRF, two experts' centres and diameters | {hrf_row} |
| CSDI, a box around the disc; cataracts of every degree | {csdi_row} |

IDRiD: Dice {dice}, least {least}; Hausdorff 95 {apart} disc diameters, {apart_px} pixels.

"In its place": the middle of what was found is less than half a disc diameter from the true one. Where there is no
mask, the true area is that of a circle of the experts' mean diameter, or of the box's mean side. The experts of HRF are
{experts} disc diameters apart ({hrf[experts_apart_photographs]} photographs). One centre is left out as a slip of the
pen: {hrf[left_out]}.

{tried}

"No disc found" against CSDI's label: with a visible disc, one was found on {specificity} (specificity), its middle
inside the graders' box on {csdi[centre_in_box]}; without a visible disc, none was found on {sensitivity}
(sensitivity: so few say nothing about a rate).

{gate}## Limits / 限界

- {photographs} photographs of one camera, all with retinopathy: no figure above says how it does on your photographs.
- 学習データは 1 機種の {photographs} 枚のみです。ご施設の写真での性能は、この表からは分かりません。
- It takes the largest bright structure that it believes in: exudates, scars and reflexes can be taken for a disc.
- Areas in mm2 are given only where the image declares a spacing, which colour photographs rarely do; a spacing that
  assumes a standard eye is not corrected here.

## Licence / ライセンス

Apache-2.0. It was trained on the data above, which must be named.

How it was made: `{command}`
"""

TRIED = """\
One other recipe was tried on 2026-11-25: 28 epochs instead of 12 gave a Dice of 0.86 (0.10) in the same
cross-validation, and found 1 of HRF's 4 discs and 18 of CSDI's 22. The first was kept with both results known, so that
HRF and CSDI are no longer quite independent of the choice."""

GATE = """\
### Beside the quality gate's "no disc" / 画質ゲートの「乳頭なし」との比較

Pictures of {people} people, from whom neither of the two networks had learnt: clear photographs with their disc against
the same photographs without it, at the size that the gate sees. AUC with DeLong's 95 % interval (which takes
photographs for independent). "Both" is the sum of their logits. To be held out, the gate was trained anew with the
options below: fewer cases than the shipped one has learnt from. At the gate's size a photograph at the edge may be
decided otherwise than above.

| without the disc | n without, with | gate alone | this network alone | both | gain of both over the gate |
|---|---|---|---|---|---|
{rows}

| decision "no disc" | pictures | gate | network | both say so | either says so |
|---|---|---|---|---|---|
{decisions}

{verdict}
({date}, seed {seed}, `{command}`)

"""


def card(figures: Mapping[str, Any]) -> str:
    """Fill the card with the figures of a training."""
    own, hrf, csdi, settings = (figures[key] for key in ("cross_validation", "hrf", "csdi", "settings"))
    return CARD.format(
        photographs=figures["people"]["training"],
        painted=settings["painted"],
        folds=settings["folds"],
        seed=figures["seed"],
        own=_row(own),
        hrf_row=_row(hrf),
        csdi_row=_row(csdi),
        dice=_mean(own["dice"]),
        least=_one(own["dice"], "least"),
        apart=_mean(own["hausdorff95_dd"]),
        apart_px=_one(own["hausdorff95_px"], "mean", 0),
        hrf=hrf,
        csdi=csdi,
        csdi_all=csdi["visible"] + csdi["not_visible"],
        experts=_number(hrf["experts_apart_dd"]),
        tried=TRIED,
        specificity=f"{csdi['visible_and_found']} of {csdi['visible']}",
        sensitivity=f"{csdi['not_visible_and_none_found']} of {csdi['not_visible']}",
        gate=_gate(figures["gate"]) if figures["gate"] else "",
        command=figures["command"],
    )


def _row(told: Mapping[str, Any]) -> str:
    """Write the cells of one set of photographs."""
    centre = "-" if told["centre_dd"] is None else f"{_mean(told['centre_dd'])}, {told['centre_dd']['most']:.2f}"
    cells = [told["photographs"], told["found"], told["in_place"], centre, _mean(told["area_ratio"])]
    return " | ".join(map(str, cells))


def _gate(told: Mapping[str, Any]) -> str:
    """Write what the comparison with the quality gate gave."""
    rows = []
    for kind, row in told["kinds"].items():
        areas = [_interval(row["auc"][name]) for name in ("gate", "network", "both")]
        cells = [kind, f"{row['without']}, {row['with']}", *areas, _interval(row["gain_of_both"], "+")]
        rows.append(f"| {' | '.join(cells)} |")
    sets = {f"disc {kind}": row["said_no_disc_without"] for kind, row in told["kinds"].items()}
    sets["clear, with the disc"] = next(iter(told["kinds"].values()))["said_no_disc_with"]
    sets |= {
        "CSDI, disc visible": told["csdi"]["said_no_disc_visible"],
        "CSDI, disc not visible": told["csdi"]["said_no_disc_not_visible"],
    }
    decisions = [
        f"| {name} | {row['pictures']} | {row['gate']} | {row['network']} | {row['both']} | {row['either']} |"
        for name, row in sets.items()
    ]
    return GATE.format(
        people=told["people"],
        rows="\n".join(rows),
        decisions="\n".join(decisions),
        verdict=_verdict(told),
        date=told["date"],
        seed=told["seed"],
        command=told["command"],
    )


def _verdict(told: Mapping[str, Any]) -> str:
    """Say whether the network helps: only where the interval of the gain lies above 0 on every kind."""
    lows = [row["gain_of_both"]["low"] for row in told["kinds"].values()]
    if all(low is not None and low > 0.0 for low in lows):
        return "Both together are better than the gate alone on each kind of picture."
    return "No clear gain over the gate alone: `[worker] disc_finder` stays off unless somebody asks for it."


def _interval(figure: Mapping[str, float | None], sign: str = "") -> str:
    """Write a figure with its interval."""
    ends = "" if figure["low"] is None else f" ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
    return f"{figure['value']:{sign}.3f}{ends}"


def _mean(spread: Mapping[str, float] | None) -> str:
    """Write mean and deviation."""
    return "-" if spread is None else f"{spread['mean']:.2f} ({spread['sd']:.2f})"


def _one(spread: Mapping[str, float] | None, which: str, digits: int = 2) -> str:
    """Write one of the figures."""
    return "-" if spread is None else f"{spread[which]:.{digits}f}"


def _number(value: float | None) -> str:
    """Write a number, if it is known."""
    return "-" if value is None else f"{value:.2f}"
