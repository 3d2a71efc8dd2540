"""The card of an imported bundle: whose weights these are, what was decided about them, what they cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oculard_models.importers.rights import Rights

CARD = """\
# {name}

{warning}Imported weights. This project did not train them, does not own them, and may not pass them on.
取り込まれた重みです。本プロジェクトが学習したものではなく、所有権も再配布の権利もありません。

## What it is for / 用途

It estimates {outputs} from colour photographs of the fundus, as a research covariate. It is not a medical device.

眼底写真から {outputs} を推定します。研究用の共変量であり、医療機器ではありません。

## What it was trained on / 学習データ

Whoever made the weights knows: {owner}. The file does not say. {caution}

## How it came here / 取り込み

{facts}

What the import decided, and who said so. "ours" is an assumption of this project: the file does not say it, and a wrong
one makes every result wrong. Compare with photographs whose truth you know before you rely on it.

ファイルに書かれていない項目（"ours"）は本プロジェクトの仮定です。誤っていればすべての結果が誤りになります。使用前に、
正解が分かっている写真で必ず確認してください。

{decisions}

## How good it is / 性能

Not measured here. `oculard-lab evaluate` measures it on photographs of your own. No uncertainty is given, because none
was calibrated.

本プロジェクトでは評価していません。信頼区間も較正されていないため表示されません。

## Limits / 限界

Another camera, another population, disease of the macula or a poor photograph make it worse than its owner's figures.

他の機種・他の集団・黄斑疾患・画質不良では、公表値より性能が下がります。

## Licence and citation / ライセンスと引用

Licence: {licence}.

Cite: {citation}
{acknowledgement}"""

DEMONSTRATION = """\
**A demonstration. It means nothing for any person.**
**デモ用モデルです。実在の人に対しては何の意味もありません。**

"""


def card(
    name: str,
    outputs: Sequence[str],
    rights: Rights,
    facts: Mapping[str, str],
    decisions: Sequence[tuple[str, str, str]],
    *,
    demonstration: bool,
) -> str:
    """Fill the card."""
    rows = ["| what | value | who says so |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in decisions)]
    thanks = f"\nAcknowledge: {rights.acknowledgement}\n" if rights.acknowledgement else ""
    return CARD.format(
        name=name,
        warning=DEMONSTRATION if demonstration else "",
        outputs=", ".join(outputs),
        owner=rights.owner,
        caution=rights.caution,
        facts="\n".join(["| of the file | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items())]),
        decisions="\n".join(rows),
        licence=rights.licence,
        citation=rights.citation,
        acknowledgement=thanks,
    )
