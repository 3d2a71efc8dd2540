"""What page, card and terminal say of the study of disc types, in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oculard_models.volumes.types import DISC_TYPES, SHORT

PUBLISHED = (  # An et al. 2021: words, our arm, kappa
    ("An 2021, hierarchical transfer: 0.809", "transfer", 0.809),
    ("An 2021, without it: 0.727", "hierarchical", 0.727),
    ("An 2021, inexperienced doctors: 0.408", "", 0.408),
)
PAINTED = (
    "The data are painted: the eyes belong to nobody, their signs were invented, and a share of the labels was made"
    " wrong on purpose. The figures show that the method runs and how its arms compare; they say nothing about real"
    " eyes, and do not compare with the published ones beside them."
)
PAINTED_JAPANESE = (
    "データは描画されたものです。実在の眼ではなく、所見は作られたもので、ラベルの一部は意図的に誤らせてあります。"
    "数値は手法が動作すること、および条件間の差を示すだけで、実際の眼については何も示さず、論文の値とは比較できません。"
)
ARMS: Mapping[str, str] = {
    "flat": "flat: Model 1 tells five classes apart",
    "hierarchical": "hierarchical, no transfer: Model 2 (normal or glaucoma), Model 3 (four types, same start)",
    "transfer": "hierarchical transfer: Model 2, Model 4 (four types, from Model 2's weights)",
}
MEASURES: Mapping[str, tuple[str, str]] = {
    "kappa": ("Cohen's kappa", "Cohen の κ"),
    "accuracy": ("accuracy (classes weighted by their eyes)", "正解率"),
    "balanced_accuracy": ("weighted accuracy (mean of the five classes' recalls)", "クラス平均正解率"),
    "kappa_against_truth": ("kappa against what was painted, not the labels", "真のクラスに対する κ"),
}


def figure_cell(figure: Mapping[str, Any], *, sign: str = "") -> str:
    """Write a figure with its interval."""
    if "value" not in figure:
        return f"cannot be computed: {figure.get('why', 'not known')}"
    value = f"{figure['value']:{sign}.3f}"
    if "low" in figure:
        return f"{value} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
    return value


def table(figures: Mapping[str, Any]) -> str:
    """Kappa of the arms at every share, and what the transfer gains, as Markdown."""
    shares = list(figures["arms"]["flat"])
    lines = ["| arm | " + " | ".join(f"{share} of the training eyes" for share in shares) + " |"]
    lines.append("|---" * (1 + len(shares)) + "|")
    for arm, of_shares in figures["arms"].items():
        lines.append(f"| {arm} | {' | '.join(figure_cell(of_shares[share]['kappa']) for share in shares)} |")
    for pair, of_shares in figures["differences"].items():
        lines.append(f"| {pair} | {' | '.join(figure_cell(of_shares[share], sign='+') for share in shares)} |")
    return "\n".join(lines)


def verdicts(figures: Mapping[str, Any]) -> list[str]:
    """Say of each comparison, at each share, whether the transfer wins: only where the interval leaves 0 out."""
    said = []
    for pair, of_shares in figures["differences"].items():
        other = pair.removeprefix("transfer - ")
        for share, figure in of_shares.items():
            low, high = figure.get("low"), figure.get("high")
            if low is None or high is None:
                words = "cannot be told"
            elif low > 0.0:
                words = "hierarchical transfer is better"
            elif high < 0.0:
                words = "hierarchical transfer is worse"
            else:
                words = "no difference can be told from chance"
            said.append(f"{share} of the training eyes, against `{other}`: {words}, {figure_cell(figure, sign='+')}")
    return said


def data_words(figures: Mapping[str, Any]) -> str:
    """Say who the eyes are."""
    counts = ", ".join(f"{n} {SHORT[name]}" for name, n in zip(DISC_TYPES, figures["by_type"], strict=True))
    wrong = f"; {figures['mislabelled']} labels are wrong on purpose" if figures["painted"] else ""
    return f"{figures['data']}: {figures['eyes']} eyes of {figures['persons']} persons ({counts}){wrong}"


def design_words(figures: Mapping[str, Any]) -> list[str]:
    """Say how it was done."""
    settings, cost = figures["settings"], figures["cost"]
    views = settings["views"].split(",")
    return [
        f"Views ({len(views)}): {', '.join(views)}. Ours: the paper names four kinds of image, not which.",
        f"Network: {settings['net']}, {settings['size_px']} x {settings['size_px']} pixels,"
        f" {cost['parameters_millions']} million parameters and {cost['gflop']} GFLOP a view; start:"
        f" {settings['initial'] or 'from nothing, all alike'}.",
        f"{settings['splits']} random splits by person with {settings['test']} test eyes; smaller shares of the"
        " training eyes are parts of the larger ones.",
        f"{settings['epochs']} epochs at the whole data, more with fewer eyes (the root of 1 / share); AdamW, one"
        " cycle of the rate, classes weighted, small shifts and turns. Nothing is stopped early.",
        f"Stacking: probabilities of {settings['folds']} folds by person, support vector machines with a radial kernel,"
        " C and gamma by kappa in inner folds, Platt's sigmoid; the test eyes are told by networks that learnt from all"
        " training eyes.",
        f"Cost: {cost['views_learnt_from'] / 1e6:.2f} million views learnt from, {cost['pflop']:.2f} PFLOP.",
        "Intervals: bootstrap over persons of the whole cohort, all splits at once; they hold the chance of who is"
        " tested, not that of another training.",
    ]
