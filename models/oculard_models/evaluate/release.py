"""The published figures that ours stand beside, and plain words on why the two may differ."""

from __future__ import annotations

from dataclasses import dataclass

INTERNAL = "the authors' own validation data; not guaranteed on other data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One figure of a publication. `figure` is the name of the same figure in our report, in the same scale."""

    target: str
    figure: str
    value: float
    network: str
    data: str
    source: str


_SEX = "131,031 fundus photographs of people aged 17 to 94; " + INTERNAL
_VALUES = "about 130,000 fundus photographs of people aged 17 to 94; " + INTERNAL
_AGE = "8,149 photographs of healthy people aged 18 to 84, one health-check facility; " + INTERNAL
_2023 = "JOIR / NII, 2023-12-07"
_2025 = "JOIR / NII, 2025-05-12"
_KAKENHI = "KAKENHI 22K19671 (kaken.nii.ac.jp)"
_UNKNOWN = "not known to us"

PUBLISHED: tuple[Published, ...] = (
    Published(target="sex", figure="accuracy", value=0.920, network="EfficientNet-B7", data=_SEX, source=_2023),
    Published(target="sex", figure="auc", value=0.971, network="EfficientNet-B7", data=_SEX, source=_2023),
    Published(target="sex", figure="accuracy", value=0.912, network="MobileNet", data=_SEX, source=_2023),
    Published(target="age", figure="mae", value=2.39, network=_UNKNOWN, data=_AGE, source="JOIR / NII, 2023-01-10"),
    Published(target="sbp", figure="mae", value=10.34, network="EfficientNet-B7", data=_VALUES, source=_2025),
    Published(target="dbp", figure="mae", value=7.09, network="EfficientNet-B7", data=_VALUES, source=_2025),
    Published(target="glucose", figure="mae", value=8.71, network="EfficientNet-B7", data=_VALUES, source=_2025),
    Published(target="waist", figure="mae", value=7.18, network="EfficientNet-B7", data=_VALUES, source=_2025),
    Published(target="bmi", figure="mae", value=2.53, network="EfficientNet-B7", data=_VALUES, source=_2025),
    *(
        Published(target=target, figure=figure, value=value, network=_UNKNOWN, data=_UNKNOWN, source=_KAKENHI)
        for target, figure, value in (
            ("sbp", "within_5", 0.244),
            ("sbp", "within_10", 0.471),
            ("sbp", "within_15", 0.652),
            ("dbp", "within_3", 0.255),
            ("dbp", "within_5", 0.415),
            ("dbp", "within_10", 0.717),
        )
    ),
)

PAINTED = (
    "Ours comes from a demonstration: painted eyes of invented people, in which the answer was planted. It says nothing"
    " about people, and a better figure than the published one is no achievement.",
    "デモ用モデルの数値は架空の人物の描画画像によるもので、公表値との優劣の比較には意味がありません。",
)
OTHERS = (
    "Other people: an error grows with the spread of the value among those who are measured. Compare each error with"
    " that of the median of the same people first.",
    "Other cameras, fields and image quality. A sex network of another study was right for 86.5 % of its own test"
    " set and for 78.6 % of photographs from elsewhere (Korot et al. 2021).",
    "The published figures are internal validation, without intervals; whether their people were split by person is"
    " not known to us. Ours are apart by person, where a split was given.",
    "対象者・撮影機器・画質・分割方法が異なるため、公表値（内部検証）との単純な比較はできません。",
)


def published_for(target: str) -> tuple[Published, ...]:
    """Return what was published on one target, in the order of the list."""
    return tuple(figure for figure in PUBLISHED if figure.target == target)
