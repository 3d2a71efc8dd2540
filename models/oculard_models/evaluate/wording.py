"""How figures are called and written for readers, in English and Japanese: on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oculard_models.evaluate.baselines import covariates_for
from oculard_models.evaluate.figures import Figure
from oculard_models.evaluate.targets import DESCRIBED

PERCENT = frozenset({"accuracy", "accuracy_of_share", "sensitivity", "specificity", "coverage"})
UNITLESS = frozenset({"auc", "brier", "brier_of_share", "r2", "r2_of_line", "pearson", "calibration_slope"})
LINE = ("... of a straight line through {knowing}", "{knowing_japanese}だけから直線で推定した場合")

# Figure -> English, Japanese; the page shows them in this order.
FIGURES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "auc": ("AUC", "ROC 曲線下面積"),
        "accuracy": ("Accuracy", "正解率"),
        "accuracy_of_share": ("... of always saying the more frequent sex", "多い方の性別を常に答えた場合"),
        "sensitivity": ("Men who are called M, at 0.5 (sensitivity)", "感度（男性、閾値 0.5）"),
        "specificity": ("Women who are called F, at 0.5 (specificity)", "特異度（女性、閾値 0.5）"),
        "brier": ("Brier score (0 is best)", "Brier スコア（0 が理想）"),
        "brier_of_share": ("... of always saying the share of men", "男性の割合を常に答えた場合"),
        "mae": ("Mean absolute error (MAE)", "平均絶対誤差"),
        "mae_of_median": ("... of always saying the median", "中央値を常に答えた場合"),
        "mae_of_line": LINE,
        "mae_where_line": ("MAE where {knowing} is known", "{knowing_japanese}が分かる人だけの平均絶対誤差"),
        "rmse": ("Root mean squared error", "二乗平均平方根誤差"),
        "r2": ("R2", "決定係数"),
        "r2_of_line": LINE,
        "pearson": ("Pearson r", "相関係数"),
        "bias": ("Bias (mean of estimate - truth)", "平均の差（推定 - 真値）"),
        "agreement_low": ("Lower limit of agreement (Bland-Altman)", "一致限界（下限）"),
        "agreement_high": ("Upper limit of agreement (Bland-Altman)", "一致限界（上限）"),
        "calibration_slope": ("Calibration slope (1 is best)", "較正の傾き（1 が理想）"),
        "calibration_intercept": ("Calibration intercept", "較正の切片"),
        "coverage": ("True value within the stated interval", "表示区間に真値が入る割合"),
    }
)
WITHIN = "within_"  # of a figure that is a share of errors: `within_5`


def figure_words(name: str, target: str) -> tuple[str, str]:
    """Call a figure of one target in English and Japanese."""
    if name.startswith(WITHIN):
        limit = f"{name.removeprefix(WITHIN)} {DESCRIBED[target].unit}"
        return f"Estimates at most {limit} away", f"誤差 {limit} 以内の割合"
    known = [DESCRIBED[one] for one in covariates_for(target)]
    knowing = " and ".join(one.english.lower() for one in known)
    japanese = "と".join(one.japanese for one in known)
    english_words, japanese_words = FIGURES[name]
    return english_words.format(knowing=knowing), japanese_words.format(knowing_japanese=japanese)


def figure_cell(figure: Figure, name: str, target: str) -> str:
    """Write a figure as a cell: shares in percent, values with as many decimals as their target has."""
    if name in PERCENT or name.startswith(WITHIN):
        return figure.text(1, 100.0, " %")
    if name in UNITLESS:
        return figure.text(3)
    return figure.text(DESCRIBED[target].decimals)


def ordered(names: Mapping[str, Figure]) -> list[str]:
    """Put figures into the page's order, shares of errors last."""
    return [name for name in FIGURES if name in names] + [name for name in names if name.startswith(WITHIN)]


def plural(count: int, one: str, many: str) -> str:
    """Count things: `1 eye`, `1,200 eyes`."""
    return f"{count:,} {one if count == 1 else many}"
