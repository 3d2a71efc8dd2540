"""The card of the bundle `fundus-quality`, filled with its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """\
# fundus-quality

## What it is for / 用途

A gate before every estimate: is this a colour photograph of the retina, can it be read, and what does it show? It
grades good, limited or ungradable, names the reasons, scores the haze, and suggests which eye it is and whether the
macula or the disc was aimed at. Suggestions are never facts. It says nothing about disease: a sick retina that is
clearly to be seen is good.

推定の前に画像を確認するゲートです。眼底カラー写真かどうか、判読できる画質かどうかを判定し
（good / limited / ungradable）、その理由、混濁スコア、左右眼と撮影中心の「候補」を示します。
候補は事実として扱いません。病気の有無は判定しません。

## What it was trained on / 学習データ

{photographs} real photographs of {patients} people, each spoiled again and again by known amounts (out of focus,
motion, scattered light, dark, overexposed, unevenly lit, cut off, cropped anew); painted eyes; drawn pictures of other
things; en face images of OCT angiography as things that are no photograph of a retina: {cases} pictures in all.

実写真 {photographs} 枚（{patients} 人）に、既知の程度の劣化（ぼけ、ぶれ、散乱光、露出不足・過多、照明むら、
欠け、切り出し）を繰り返し加えて学習しました。加えて、描画した眼底、眼底以外の画像、OCT アンギオグラフィの
en face 画像を用いています。

| data | photographs | licence | source |
|---|---|---|---|
| HRF (High-Resolution Fundus) | 6 | CC BY 4.0 | Budai et al. 2013, FAU Erlangen; Canon CR-1 |
| IDRiD | 8 | CC BY 4.0 | Porwal et al. 2018; Kowa VX-10 |
| CSDI | 23 | CC BY 4.0 | github.com/rainyNighti/CSDI @ae826ed, Peking University Third Hospital; EXIF removed |
| scikit-image `retina` | 1 | CC0 | Haggstrom 2014 |
| OCTA en face, FAZ | 54 | CC BY 4.0 | Wang et al., Zenodo 5075194 and 5075563 |

All were changed by us as said above. / いずれも上記のとおり加工して使用しています。

## What it gives / 出力

Every figure is from a network that never saw the patient: haze and the severities leave one patient out at a time,
the rest one fold of patients. / すべて、その患者を学習に使っていないネットワークでの結果です。

Haze score (0 clear to 10, CSDI's scale) on the {haze_photographs} photographs of {haze_patients} patients: Spearman
{spearman:.3f} (95 % {low:.3f} to {high:.3f}, bootstrap over patients) with the graders' score; plain sharpness
without any learning: {plain:.3f}. Mean absolute error {mae:.2f}. Graders' scores by grade: good {good}; limited
{limited}; ungradable {ungradable}.

{table}

Clear photographs (HRF, IDRiD, scikit-image, CSDI up to 2.5; as taken and mirrored): {clear}.
Uneven light, of every strength: {uneven}.

Right or left eye, where the disc tells, as taken and mirrored: {eyes[photographs]} pictures, suggested for
{eyes[suggested]}, wrong {eyes[wrong]}. Aimed at the macula: told for {macula[told]} of {macula[pictures]}, wrong
{macula[wrong]}; cut out anew around the disc: told for {disc[told]} of {disc[pictures]}, wrong {disc[wrong]}. No disc
against clear photographs: AUC {no_disc:.3f}.

Other pictures: {other[pictures]}, turned away {turned:.1f} % (AUC {other[auc]:.3f}); photographs of the retina wrongly
turned away: {lost:.1f} % of {other[photographs]}.

The command that makes all of this, with its settings and the date, is in `metrics.json`.

## Limits / 限界

- Few people, four cameras: other cameras may be graded too severely or too mildly. Look at the grades of your own
  photographs first: `oculard-lab quality FOLDER`.
- 学習した人数もカメラの種類も少数です。まずご施設の写真で判定結果を確認してください。
- The degradations are imitations; only the haze of CSDI is real and was graded by people.
- What is no photograph was mostly drawn: an unusual picture may pass. A picture without a circle of light never does.
- Which eye it is comes from where the disc lies: aimed at the disc, or with the disc above or below the middle,
  nothing is suggested.

## Licence / ライセンス

Apache-2.0. It was trained on the data above, which must be named.
"""


def card(figures: Mapping[str, Any]) -> str:
    """Fill the card with the figures of a training."""
    haze, fundus, centred = figures["haze"], figures["fundus"], figures["centred"]
    by_grade = haze["graders_scores_by_grade"]
    return CARD.format(
        photographs=38,
        patients=figures["people"]["training"],
        cases=figures["cases"]["training"],
        haze_photographs=haze["photographs"],
        haze_patients=haze["patients"],
        spearman=haze["spearman"]["value"],
        low=haze["spearman"]["low"],
        high=haze["spearman"]["high"],
        plain=haze["spearman_of_plain_sharpness"],
        mae=haze["mae"],
        **{grade: _range(scores) for grade, scores in by_grade.items()},
        table=_table(figures["spoiled"]),
        clear=_grades(figures["clear_photographs"]),
        uneven=_grades(figures["uneven_light"]),
        eyes=figures["eye"],
        macula=centred["macula"],
        disc=centred["disc"],
        no_disc=figures["disc"]["auc_no_disc"],
        other=fundus,
        turned=100.0 * fundus["turned_away"],
        lost=100.0 * fundus["photographs_turned_away"],
    )


def _range(scores: list[float]) -> str:
    """Say from where to where scores go."""
    return f"{scores[0]:g} to {scores[-1]:g} ({len(scores)})" if scores else "none"


def _grades(counts: Mapping[str, Any]) -> str:
    """Say how often every grade was given."""
    return f"{counts['good']} good, {counts['limited']} limited, {counts['ungradable']} ungradable"


def _table(spoiled: Mapping[str, Mapping[str, Any]]) -> str:
    """Write one row for each way of spoiling."""
    rows = ["| spoiled strongly | pictures | ungradable | limited | good | reason named | AUC |", "|" + "---|" * 7]
    for kind, row in spoiled.items():
        rows.append(
            f"| {kind.rstrip('!')} | {row['pictures']} | {row['ungradable']} | {row['limited']} | {row['good']} |"
            f" `{row['reason']}` {100.0 * row['named']:.0f} % | {row['auc']:.3f} |"
        )
    return "\n".join(rows)
