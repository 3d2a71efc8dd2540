"""The table of codes: every code within its limits, and confirmed where it says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom.sr._concepts_dict import concepts as standard
from shape_samples import MEASURES

from oculard.report import uids
from oculard.report.codes import Code, concept, family, read_table, table, unit
from oculard_models import structures
from oculard_models.manifest import Structure


def dictionary() -> set[tuple[str, str, str]]:
    """The Standard's codes as pydicom packs them: scheme, value and meaning, of which a few codes have two."""
    packed: Any = standard
    return {
        (scheme, value, meaning)
        for scheme, keywords in packed.items()
        for values in keywords.values()
        for value, (meaning, _) in values.items()
    }


@pytest.mark.parametrize("code", list(table()), ids=lambda code: f"{code.scheme}-{code.value}")
def test_every_code_is_within_its_limits(code: Code) -> None:
    """Values have at most 16 characters and meanings 64, in ASCII, and each says where it was confirmed."""
    assert 0 < len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    assert code.meaning.isascii()
    assert code.source
    assert (code.version == "") == (code.scheme != table().own.designator)


@pytest.mark.parametrize(
    "code", [code for code in table() if code.source == "PS3.16"], ids=lambda code: f"{code.scheme}-{code.value}"
)
def test_codes_of_the_standard_are_in_its_dictionary(code: Code) -> None:
    """A code that claims PS3.16 is in the Standard's dictionary with just this meaning."""
    assert (code.scheme, code.value, code.meaning) in dictionary()


def test_scheme_is_private_and_has_a_uid() -> None:
    """Our designator starts with 99 and fits, and the scheme has a UID of its own."""
    assert table().own.designator.startswith("99")
    assert len(table().own.designator) <= 16
    assert table().own.uid.startswith("2.25.")
    assert len(table().own.uid) <= 64


def test_every_scheme_that_needs_it_is_declared() -> None:
    """Codes use only declared schemes, RFC 5646 aside, which TID 1204 takes for granted."""
    declared = {table().own.designator, *(scheme.designator for scheme in table().declared)}

    assert {code.scheme for code in table()} - declared == {"RFC5646"}


@pytest.mark.parametrize("name", ["EST-AGE", "EST-SBP", "EST-DBP", "EST-GLU", "EST-WC", "EST-BMI"])
def test_estimates_name_the_property_they_estimate(name: str) -> None:
    """A systemic number says which standard property it is an estimate of."""
    assert concept(name).estimates is not None
    assert concept(name).unit == unit(concept(name).unit.value)


def test_series_numbers_sort_last_and_never_clash() -> None:
    """Families and eyes have series numbers of their own, all above 9000."""
    numbers = [family(name).series_number(eye) for name in table().families for eye in "RLUB"]

    assert len(set(numbers)) == len(numbers)
    assert min(numbers) > 9000


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"value": "A" * 17}, "1 to 16"),
        ({"meaning": "m" * 65}, "1 to 64"),
        ({"meaning": "推定年齢"}, "plain ASCII"),
        ({"meaning": "\x1b$B"}, "plain ASCII"),
        ({"source": ""}, "where it was confirmed"),
    ],
)
def test_bad_codes_are_refused(wrong: dict[str, str], message: str) -> None:
    """A code beyond its limits, not in ASCII or of unknown origin cannot be made."""
    with pytest.raises(ValueError, match=message):
        Code(**({"value": "A", "scheme": "DCM", "meaning": "m", "source": "s"} | wrong))


def test_table_refuses_what_it_does_not_contain() -> None:
    """A class whose probability has no concept is refused when the table is read."""
    toml = """
    scheme = { designator = "99X", uid = "1.2", name = "x", version = "1", organisation = "x" }
    declared = []
    families = {}
    terms.estimated = { value = "1", scheme = "SCT", meaning = "Estimated", source = "s" }
    units."%" = { meaning = "Percent", source = "s" }
    [concepts.A]
    meaning = "A class"
    japanese = "A"
    unit = "%"
    [concepts.A.choices.x]
    code = { value = "X", scheme = "99X", meaning = "X", source = "s" }
    japanese = "X"
    probability = "MISSING"
    """
    with pytest.raises(ValueError, match="no concept `MISSING`"):
        read_table(toml)


def test_uids_are_deterministic_and_short() -> None:
    """A UID depends on all that it identifies and on nothing else, and fits into 64 characters."""
    one = uids.report_uid(["1.2", "1.3"], "a", "1.0.0", "f" * 64, 1)

    assert one == uids.report_uid(["1.3", "1.2"], "a", "1.0.0", "f" * 64, 1)
    assert one == "2.25.319856657064661423074951695440521289298"
    others = [
        uids.report_uid(["1.2"], "a", "1.0.0", "f" * 64, 1),
        uids.series_uid(["1.2", "1.3"], "a", "1.0.0", "f" * 64, 1),
        uids.device_uid("a", "1.0.0", "f" * 64),
        uids.tracking_uid("patient", "R", "systemic"),
        uids.tracking_uid("patient", "L", "systemic"),
        uids.variant_uid(one, "1.2"),
    ]
    assert len({one, *others}) == len(others) + 1
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in others)
    with pytest.raises(ValueError, match="at least one source"):
        uids.report_uid([], "a", "1.0.0", "f" * 64, 1)


@pytest.mark.parametrize("prefix", ["FAZ", "DISC"])
def test_every_measure_has_a_concept(prefix: str) -> None:
    """Each measure of a structure has a concept in its unit, calculated and not estimated, with a Japanese name."""
    for name, (concept_name, unit_name, _) in MEASURES.items():
        known = concept(f"{prefix}-{concept_name}")
        assert (known.unit.value, known.derivation.meaning) == (unit_name, "Calculated"), name
        assert known.estimates is None or known.estimates.meaning in known.code.meaning.title()
        assert not known.choices


def test_samples_know_every_measure() -> None:
    """The measures of the samples are those that are made, so that none of them lacks a concept."""
    for structure in Structure:
        assert {name: unit for name, (_, unit, _) in MEASURES.items()} == dict(structures.MEASURES[structure])


def test_shape_of_the_zone_is_no_diagnosis() -> None:
    """The class by shape has private codes, says that it is an estimate, and each class has its own probability."""
    known = concept("FAZ-GL")

    assert {choice.code.scheme for choice in known.choices.values()} == {table().own.designator}
    assert {name: choice.probability for name, choice in known.choices.items()} == {
        "normal": "FAZ-GL-P-NO",
        "glaucoma": "FAZ-GL-P",
    }
    for name in ("FAZ-GL", "FAZ-GL-P", "FAZ-GL-P-NO"):
        assert concept(name).code.meaning.startswith("Estimated")


def test_families_leave_room_for_companions() -> None:
    """A family whose series numbers would run into those of companions is refused."""
    assert family("disc").series_number("R", 3) == 9331
    with pytest.raises(ValueError, match="0 to 9"):
        replace(family("disc"), series=10)
