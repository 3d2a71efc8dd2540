"""What can be evaluated: names, units and limits, as readers of a report want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One attribute of a person. `within` are the errors whose shares are printed."""

    name: str
    english: str
    japanese: str
    unit: str
    decimals: int = 2
    within: tuple[float, ...] = ()


DESCRIBED: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(name="sex", english="Sex", japanese="性別", unit="", decimals=3),
            Target(name="age", english="Age", japanese="年齢", unit="years"),
            Target(
                name="sbp", english="Systolic blood pressure", japanese="収縮期血圧", unit="mmHg", within=(5, 10, 15)
            ),
            Target(
                name="dbp", english="Diastolic blood pressure", japanese="拡張期血圧", unit="mmHg", within=(3, 5, 10)
            ),
            Target(name="glucose", english="Glucose", japanese="血糖値", unit="mg/dL"),
            Target(name="waist", english="Waist circumference", japanese="腹囲", unit="cm"),
            Target(name="bmi", english="Body mass index", japanese="BMI", unit="kg/m2"),
        )
    }
)
