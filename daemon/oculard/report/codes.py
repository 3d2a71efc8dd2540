"""Codes: the one table of concepts, units and families, read from `codes.toml` and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

VALUE_CHARS_MAX = 16  # Code Value is SH; longer ones silently become Long Code Value
MEANING_CHARS_MAX = 64  # Code Meaning is LO
SERIES_NUMBER_FIRST = 9000  # results sort after the device's own series


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A coded term (PS3.16). `source` says where the code was confirmed."""

    value: str
    scheme: str
    meaning: str
    source: str = field(compare=False)
    version: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.value) <= VALUE_CHARS_MAX or not 0 < len(self.scheme) <= VALUE_CHARS_MAX:
            raise ValueError(f"code `{self.value}` or scheme `{self.scheme}` is not 1 to {VALUE_CHARS_MAX} characters")
        if not 0 < len(self.meaning) <= MEANING_CHARS_MAX:
            raise ValueError(f"meaning of code `{self.value}` is not 1 to {MEANING_CHARS_MAX} characters")
        text = self.value + self.scheme + self.meaning
        if not text.isascii() or not text.isprintable() or "\\" in text:  # escape sequences are ASCII, too
            raise ValueError("a code must be plain ASCII: it is written into reports of every character set")
        if not self.source:
            raise ValueError(f"code `{self.value}` does not say where it was confirmed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One class of a classification, and the code value of the concept that holds its probability."""

    code: Code
    japanese: str
    probability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """Something that an estimator can say: a number in `unit`, or one of `choices`."""

    code: Code
    japanese: str
    unit: Code
    decimals: int
    derivation: Code
    estimates: Code | None  # the standard code of the property that the number is an estimate of
    choices: Mapping[str, Choice]
    is_finding: bool  # whether the class is the group's Finding as well

    def __post_init__(self) -> None:
        if not self.japanese or not 0 <= self.decimals <= 6:
            raise ValueError(f"concept `{self.code.value}` needs a Japanese name and 0 to 6 decimals")


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a report of one family of estimators has in common."""

    name: str
    words: str  # for Series Description: what was imaged
    series: int
    method: Code
    finding: Code
    procedure: Code
    topography: Code | None

    def __post_init__(self) -> None:
        if not 0 <= self.series <= 9:
            raise ValueError(f"family `{self.name}`: `series` must be 0 to 9, for the companions' numbers follow")

    def series_number(self, eye: str, companion: int = 0) -> int:
        """The Series Number for "R", "L", "U" or "B" (both eyes), one more for each and ten for each family.

        `companion`: 0 for the report; a hundred more for each kind of object that travels with it.
        """
        return SERIES_NUMBER_FIRST + 100 * companion + 10 * self.series + 1 + "RLUB".index(eye)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A coding scheme as it is declared in a report (PS3.3 C.12.1)."""

    designator: str
    uid: str
    name: str
    version: str = ""
    organisation: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.designator) <= VALUE_CHARS_MAX:
            raise ValueError(f"scheme designator `{self.designator}` is not 1 to {VALUE_CHARS_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All codes. Whatever it names, it contains."""

    own: Scheme
    declared: tuple[Scheme, ...]
    terms: Mapping[str, Code]
    units: Mapping[str, Code]
    concepts: Mapping[str, Concept]
    families: Mapping[str, Family]

    def __post_init__(self) -> None:
        for one in self.concepts.values():
            for choice in one.choices.values():
                if choice.probability not in self.concepts:
                    raise ValueError(f"concept `{one.code.value}`: no concept `{choice.probability}`")
        if len({family.series for family in self.families.values()}) != len(self.families):
            raise ValueError("two families have the same `series`")

    def __iter__(self) -> Iterator[Code]:
        """Every code of the table."""
        yield from self.terms.values()
        yield from self.units.values()
        for one in self.concepts.values():
            yield from (one.code, *(choice.code for choice in one.choices.values()))
            yield from () if one.estimates is None else (one.estimates,)
        for family in self.families.values():
            yield from (family.method, family.finding, family.procedure)


def concept(code_value: str) -> Concept:
    """The concept of an output. Raises KeyError for one that the table does not know."""
    return table().concepts[code_value]


def term(role: str) -> Code:
    """A term by the role it plays, e.g. `finding-site`."""
    return table().terms[role]


def unit(ucum: str) -> Code:
    """A unit by its UCUM code."""
    return table().units[ucum]


def family(name: str) -> Family:
    """What reports of a family have in common."""
    return table().families[name]


@cache
def table() -> Table:
    """The table, read once from the packaged data file, which never changes while the program runs."""
    return read_table(resources.files(__package__).joinpath("codes.toml").read_text(encoding="utf-8"))


def read_table(toml: str) -> Table:
    """Read a table of codes. Raises ValueError, KeyError or TypeError when it is not whole."""
    raw = tomllib.loads(toml)
    own = Scheme(**raw["scheme"])
    terms = {role: _code(own, **values) for role, values in raw["terms"].items()}
    units = {ucum: _code(own, value=ucum, scheme="UCUM", **values) for ucum, values in raw["units"].items()}
    return Table(
        own=own,
        declared=tuple(Scheme(**values) for values in raw["declared"]),
        terms=terms,
        units=units,
        concepts={value: _concept(own, value, values, terms, units) for value, values in raw["concepts"].items()},
        families={name: _family(own, name, values, terms) for name, values in raw["families"].items()},
    )


def _code(own: Scheme, *, value: str, scheme: str, meaning: str, source: str) -> Code:
    version = own.version if scheme == own.designator else ""
    return Code(value=value, scheme=scheme, meaning=meaning, version=version, source=source)


def _concept(
    own: Scheme, value: str, raw: Mapping[str, Any], terms: Mapping[str, Code], units: Mapping[str, Code]
) -> Concept:
    return Concept(
        code=_code(
            own,
            value=value,
            scheme=own.designator,
            meaning=raw["meaning"],
            source="ours: an estimate, not a measurement",
        ),
        japanese=raw["japanese"],
        unit=units[raw["unit"]],
        decimals=raw.get("decimals", 1),
        derivation=terms[raw.get("derivation", "estimated")],
        estimates=_code(own, **raw["estimates"]) if "estimates" in raw else None,
        choices={name: _choice(own, values) for name, values in raw.get("choices", {}).items()},
        is_finding=raw.get("is_finding", False),
    )


def _choice(own: Scheme, raw: Mapping[str, Any]) -> Choice:
    return Choice(code=_code(own, **raw["code"]), japanese=raw["japanese"], probability=raw["probability"])


def _family(own: Scheme, name: str, raw: Mapping[str, Any], terms: Mapping[str, Code]) -> Family:
    return Family(
        name=name,
        words=raw["words"],
        series=raw["series"],
        method=_code(own, **raw["method"]),
        finding=_code(own, **raw["finding"]),
        procedure=_code(own, **raw["procedure"]),
        topography=terms[raw["topography"]] if "topography" in raw else None,
    )
