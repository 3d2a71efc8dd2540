"""Notices: what people must read before the values, in English for reports and in Japanese for pages and PDF."""

from __future__ import annotations

from oculard.report.request import ReportRequest
from oculard_models.manifest import OutputKind

ESTIMATE = "These values are estimates by an AI model, not measurements. Not for diagnosis."
DEMONSTRATION = "DEMONSTRATION MODEL: values mean nothing for this person."
OUTLINE = "These values are computed from an outline drawn by an AI model, not by a person. Not for diagnosis."
PROBABILITY = "Class and probability are estimates by an AI model, not measurements. Not for diagnosis."
NO_SEGMENTATION = "The outline is not sent as a segmentation: the image's header does not count its pixels as they are."

JAPANESE = {
    ESTIMATE: "測定値ではなく、AIによる推定値です。診断には使用できません。",
    DEMONSTRATION: "デモ用モデル：数値はこの方について何も意味しません。",
    OUTLINE: "人ではなくAIが描いた輪郭から計算した値です。診断には使用できません。",
    PROBABILITY: "分類と確率は測定値ではなく、AIによる推定値です。診断には使用できません。",
    NO_SEGMENTATION: "画像のヘッダと画素数が一致しないため、輪郭はセグメンテーションとして送信されません。",
}


def notices(request: ReportRequest) -> tuple[str, ...]:
    """The notices of one report, the most important one first."""
    found = [DEMONSTRATION] if request.origin.demonstration else []
    if any(output.kind is OutputKind.CLASS for output in request.outputs):
        return (*found, PROBABILITY)
    if all(output.kind.is_raw for output in request.outputs):
        return (*found, ESTIMATE)
    found.append(OUTLINE)
    if any(output.kind is OutputKind.LOGISTIC for output in request.outputs):
        found.append(PROBABILITY)
    if request.shape is not None and not request.has_segmentation:
        found.append(NO_SEGMENTATION)
    return tuple(found)
