"""The one list of alarms: what each means to a person, and how it clears. Each has its row in deploy/RUNBOOK.md.

An alarm is raised once and stands until it is cleared. Its subject is a peer, a family, a file or a UID, no patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

RUNBOOK = "deploy/RUNBOOK.md#alarms"


class Clears(StrEnum):
    """How an alarm ends."""

    ITSELF = "by itself, when its cause is gone"
    RESTART = "at the next start, when its cause is gone"
    PERSON = "by a person: `oculard acknowledge`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that a person should look at."""

    name: str
    clears: Clears
    means: str  # one sentence
    means_ja: str


def sentence(name: str, language: Literal["en", "ja"] = "en") -> str:
    """What an alarm means; "" for one that an older or newer program has raised."""
    condition = CONDITIONS.get(name)
    if condition is None:
        return ""
    return condition.means_ja if language == "ja" else condition.means


def _listed(*conditions: Condition) -> Mapping[str, Condition]:
    names = {condition.name: condition for condition in conditions}
    assert len(names) == len(conditions), "an alarm is listed twice"
    return names


CONDITIONS = _listed(
    Condition(
        name="archive-silent",
        clears=Clears.ITSELF,
        means="An archive of the back-fill does not answer.",
        means_ja="過去画像の取得元が応答しません。",
    ),
    Condition(
        name="certificate-ending",
        clears=Clears.ITSELF,
        means="A certificate ends soon, or has ended.",
        means_ja="証明書の有効期限が近いか、切れています。",
    ),
    Condition(
        name="certificate-unreadable",
        clears=Clears.ITSELF,
        means="A certificate's file cannot be read, holds no certificate, or does not fit its key.",
        means_ja="証明書のファイルを読めないか、証明書が入っていないか、秘密鍵と一致しません。",
    ),
    Condition(
        name="chore-failed",
        clears=Clears.ITSELF,
        means="A chore of upkeep ended with a bug, and may not be done until it succeeds.",
        means_ja="定期処理が不具合で終了しました。成功するまで実行されていない可能性があります。",
    ),
    Condition(
        name="clock-skew",
        clears=Clears.ITSELF,
        means="The clock jumped, or differs from the database's, or events lie in its future.",
        means_ja="時計が飛んだか、データベースの時計とずれているか、未来の記録があります。",
    ),
    Condition(
        name="commitment-failed",
        clears=Clears.ITSELF,
        means="A peer took reports and denied thrice that it has them.",
        means_ja="送信先がレポートを受け取った後、保管を3回否認しました。",
    ),
    Condition(
        name="commitment-refused",
        clears=Clears.ITSELF,
        means="A peer refuses to be asked for storage commitment.",
        means_ja="送信先が保管確認(Storage Commitment)を拒否しています。",
    ),
    Condition(
        name="commitment-silent",
        clears=Clears.ITSELF,
        means="A peer took reports and was silent thrice when asked to commit to them.",
        means_ja="送信先が保管確認に3回応答しませんでした。",
    ),
    Condition(
        name="commitment-unanswered",
        clears=Clears.ITSELF,
        means="A device asked for storage commitment and cannot be given its answer.",
        means_ja="装置からの保管確認の要求に、回答を届けられません。",
    ),
    Condition(
        name="delivery-delayed",
        clears=Clears.ITSELF,
        means="A report was tried many times, or its peer has failed for a quarter of an hour.",
        means_ja="レポートの送信が何度も失敗しているか、送信先が15分以上使えません。",
    ),
    Condition(
        name="delivery-parked",
        clears=Clears.ITSELF,
        means="A report cannot be delivered until a person corrects the cause.",
        means_ja="原因を直すまで送信できないレポートがあります。",
    ),
    Condition(
        name="differing-duplicate",
        clears=Clears.PERSON,
        means="A device sent the same image UID with other bytes; both are kept.",
        means_ja="同じUIDで内容の違う画像が届きました。両方保存しています。",
    ),
    Condition(
        name="disk-full",
        clears=Clears.ITSELF,
        means="Free space is below its mark: no images are taken.",
        means_ja="ディスクの空きが下限を下回り、画像を受け取れません。",
    ),
    Condition(
        name="disk-soon-full",
        clears=Clears.ITSELF,
        means="At the present pace the disk will soon reach its mark.",
        means_ja="このままでは、ディスクの空きがまもなく下限に達します。",
    ),
    Condition(
        name="failures-high",
        clears=Clears.ITSELF,
        means="Many of the last day's jobs failed.",
        means_ja="この24時間に失敗したジョブが多すぎます。",
    ),
    Condition(
        name="folder-away",
        clears=Clears.ITSELF,
        means="A watched folder cannot be read, or does not answer.",
        means_ja="監視フォルダを読めないか、応答がありません。",
    ),
    Condition(
        name="job-without-report",
        clears=Clears.PERSON,
        means="A job failed, and not even a report of its failure could be made.",
        means_ja="ジョブが失敗し、失敗のレポートも作れませんでした。",
    ),
    Condition(
        name="model-refused",
        clears=Clears.RESTART,
        means="A model that the configuration names is missing or was refused.",
        means_ja="設定にあるモデルがないか、使用を拒否されました。",
    ),
    Condition(
        name="notice-not-sent",
        clears=Clears.ITSELF,
        means="An address of [notify] takes no notices, or is not understood.",
        means_ja="通知先に届かないか、通知先のURLが解釈できません。",
    ),
    Condition(
        name="originals-not-moved",
        clears=Clears.ITSELF,
        means="Files of a watched folder are taken, and cannot be moved to where they should go.",
        means_ja="監視フォルダの取り込み済みファイルを移動できません。",
    ),
    Condition(
        name="orphan-files",
        clears=Clears.ITSELF,
        means="Files of the vault that no database row knows were put aside.",
        means_ja="データベースにないファイルを、保管庫の別の場所に移しました。",
    ),
    Condition(
        name="pacs-silent",
        clears=Clears.ITSELF,
        means="A peer has taken nothing for hours while reports wait for it.",
        means_ja="送信待ちのレポートがあるのに、送信先が何時間も受け取っていません。",
    ),
    Condition(
        name="peer-unknown",
        clears=Clears.ITSELF,
        means="Reports wait for a peer that is in no configuration any more.",
        means_ja="設定から消えた送信先への、送信待ちのレポートがあります。",
    ),
    Condition(
        name="queue-old",
        clears=Clears.ITSELF,
        means="A job that may run has waited for many hours.",
        means_ja="実行できるジョブが長時間待っています。",
    ),
    Condition(
        name="report-damaged",
        clears=Clears.PERSON,
        means="A report's file is not what was written.",
        means_ja="レポートのファイルが書き込んだ内容と違います。",
    ),
    Condition(
        name="vault-away",
        clears=Clears.ITSELF,
        means="The folder of the vault is not there: nothing can be kept or read.",
        means_ja="保管庫のフォルダがありません。画像の保存も読み出しもできません。",
    ),
    Condition(
        name="vault-damaged",
        clears=Clears.PERSON,
        means="A file of the vault is missing, or is not what was written.",
        means_ja="保管庫のファイルがないか、書き込んだ内容と違います。",
    ),
)
