"""The envelope: patient and study stay the source's bytes, whatever their character set, syntax or completeness."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from report_samples import STUDY, errors, header, part10, photograph, request, source, validators

from oculard.report import raw
from oculard.report.build import build_report
from oculard.report.envelope import OPTIONAL, REQUIRED, patient_key
from oculard.report.raw import DamagedHeader
from oculard.report.source import Source
from oculard.report.variant import VARIANTS, as_variant


def jis(text: str) -> bytes:
    """Japanese in ISO 2022, as most Japanese devices write it."""
    return text.encode("iso2022_jp")


# charset, name, study description: clean ones, and those that contradict their declaration as seen in practice
CASES: dict[str, tuple[bytes | None, bytes, bytes]] = {
    "IR 87": (rb"\ISO 2022 IR 87", jis("Yamada^Tarou=山田^太郎=やまだ^たろう"), jis("眼底検査")),
    "IR 13 and IR 87": (
        rb"ISO 2022 IR 13\ISO 2022 IR 87",
        "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis") + b"=" + jis("山田^太郎").replace(b"\x1b(B", b"\x1b(J"),
        jis("眼底検査"),
    ),
    "IR 87, NEC row": (
        rb"\ISO 2022 IR 87",
        b"T^T=\x1b$B\x7c\x62\x36\x36\x1b(B^\x1b$BB@O:\x1b(B",
        jis("眼底検査"),
    ),
    "IR 87, Shift-JIS bytes": (rb"\ISO 2022 IR 87", "Y^T=山田^太郎".encode("cp932"), "眼底検査".encode("cp932")),
    "none, Shift-JIS bytes": (None, "Y^T=山田^太郎".encode("cp932"), "眼底検査".encode("cp932")),
    "none, escapes": (None, jis("Y^T=山田^太郎"), jis("眼底検査")),
    "IR 13, Shift-JIS kanji": (b"ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎".encode("cp932"), "眼底検査".encode("cp932")),
    "ISO_IR 87, no such term": (b"ISO_IR 87", jis("Y^T=山田^太郎"), jis("眼底検査")),
    "SHIFT_JIS, no such term": (b"SHIFT_JIS", "Y^T=山田^太郎".encode("cp932"), "眼底検査".encode("cp932")),
    "UTF-8": (b"ISO_IR 192", "Y^T=髙橋^﨑".encode(), "眼底".encode()),
}


def file_of(case: str, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The photograph of a device that writes so."""
    charset, name, description = CASES[case]
    elements = {"PatientName": name, "StudyDescription": description}
    return part10(photograph(), elements | ({"SpecificCharacterSet": charset} if charset else {}), syntax=syntax)


def value(data: bytes, keyword: str) -> bytes | None:
    """An element's bytes in a file, None when it is absent."""
    element = dcmread(io.BytesIO(data)).get_item(keyword)
    return None if element is None else raw.value_bytes(dcmread(io.BytesIO(data)), raw.tag_of(keyword))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("case", CASES)
def test_bytes_stay_the_same(case: str, syntax: str, tmp_path: Path) -> None:
    """Name, description and character set arrive byte for byte, in the report and in its variants."""
    file = file_of(case, syntax)
    report = build_report(request(source(file)))

    for data in (report.data, *(as_variant(report.data, sop_class_uid).data for sop_class_uid in VARIANTS)):
        for keyword in ("PatientName", "StudyDescription", "SpecificCharacterSet", "PatientID", "AccessionNumber"):
            assert value(data, keyword) == value(file, keyword)


@pytest.mark.parametrize("keyword", [*REQUIRED, *OPTIONAL])
def test_every_attribute_of_patient_and_study_is_copied(keyword: str) -> None:
    """Whatever attribute of patient or study a source has, its report has, with the same bytes."""
    if keyword.endswith("Sequence"):
        item = Dataset()
        item.LongCodeValue = "x"
        ds = photograph()
        setattr(ds, keyword, [item])
        file = part10(ds)
    elif keyword.endswith("UID"):
        file = part10(photograph())
    else:
        file = part10(photograph(), {keyword: b"x\xff"})
    tag = raw.tag_of(keyword)

    report = build_report(request(source(file)))

    assert raw.copied(header(report.data), tag) == raw.copied(header(file), tag)
    assert raw.value_bytes(header(report.data), tag)


@pytest.mark.parametrize("validator", validators())
@pytest.mark.parametrize("case", CASES)
def test_report_has_no_error_of_its_own(case: str, validator: str, tmp_path: Path) -> None:
    """dciodvfy finds no error but in the copied bytes, where the source has the same one."""
    file = file_of(case)

    found = errors(build_report(request(source(file))).data, tmp_path, validator)

    assert set(found) <= set(errors(file, tmp_path, validator))
    assert not found or "Shift-JIS" in case or "no such term" in case


@pytest.mark.parametrize(
    "charset", [None, rb"\ISO 2022 IR 87", b"ISO_IR 192", b"ISO_IR 100", b"GB18030", b"NONSENSE", b"ISO_IR 13 "]
)
def test_character_set_is_copied_as_it_is(charset: bytes | None) -> None:
    """Whatever the source declares, the report declares, and where it declares nothing neither does the report."""
    file = part10(photograph(), {"SpecificCharacterSet": charset} if charset else {})

    assert value(build_report(request(source(file))).data, "SpecificCharacterSet") == value(
        file, "SpecificCharacterSet"
    )


@pytest.mark.parametrize("removed", [False, True])
def test_missing_attributes_are_no_reason_to_stop(removed: bool, tmp_path: Path) -> None:
    """A source whose type 2 attributes are empty or missing still gives a valid report, in which they are empty."""
    keywords = (
        "AccessionNumber StudyID StudyDate StudyTime PatientSex PatientBirthDate ReferringPhysicianName PatientID"
    )
    ds = photograph(**dict.fromkeys([*keywords.split(), "PatientName"], None if removed else ""))

    report = build_report(request(source(part10(ds, syntax=ImplicitVRLittleEndian))))

    assert errors(report.data, tmp_path, validators()[0]) == []
    for keyword in keywords.split():
        assert value(report.data, keyword) == b""


@pytest.mark.parametrize(
    ("keyword", "garbage"),
    [("PatientSex", b"m"), ("StudyTime", b"09:00:00"), ("StudyDate", b"2026-11-20"), ("PatientBirthDate", b"1960.1.2")],
)
def test_garbage_is_kept_as_garbage(keyword: str, garbage: bytes) -> None:
    """A malformed attribute of the source is copied, neither repaired nor a reason to refuse."""
    file = part10(photograph(), {keyword: garbage})

    assert value(build_report(request(source(file))).data, keyword) == value(file, keyword)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_sequences_keep_their_contents(syntax: str) -> None:
    """Nested attributes arrive with their values, from any transfer syntax."""
    other, issuer, order = Dataset(), Dataset(), Dataset()
    name = jis("別^名") + b" "
    other.PatientID, other.TypeOfPatientID, other.PatientName = "77", "TEXT", "N" * len(name)
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    order.RequestedProcedureID, order.StudyInstanceUID = "P1", "1.2.4"
    ds = photograph(
        OtherPatientIDsSequence=[other],
        IssuerOfPatientIDQualifiersSequence=[issuer],
        ReferencedRequestSequence=[order],
        PregnancyStatus=4,
    )
    file = part10(ds, syntax=syntax).replace(b"N" * len(name), name)
    data = build_report(request(source(file))).data
    got = dcmread(io.BytesIO(data))

    assert data.count(name) == 1
    assert got.OtherPatientIDsSequence[0].PatientID == "77"
    assert got.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.3"
    assert got.ReferencedRequestSequence[0].StudyInstanceUID == "1.2.4"
    assert got.PregnancyStatus == 4


def test_decoded_header_is_refused() -> None:
    """A header from which somebody asked pydicom for the name is refused, because its bytes are lost."""
    ds = header(file_of("IR 87"))
    assert str(ds.PatientName)

    with pytest.raises(ValueError, match="read it from the file again"):
        Source(header=ds, grade="good", used=True)


def test_damaged_sequence_is_a_permanent_failure() -> None:
    """A sequence that cannot be read and must be re-encoded is a failure that names the tag and no value."""
    ds = header(part10(photograph(), syntax=ImplicitVRLittleEndian))
    tag = Tag("OtherPatientIDsSequence")
    ds[tag] = RawDataElement(tag, None, 2, b"\x01\x02", 0, True, True)

    with pytest.raises(DamagedHeader, match="1002"):
        build_report(request(Source(header=ds, grade="good", used=True)))


def test_patients_are_told_apart_by_bytes() -> None:
    """The same id of the same issuer is one patient, another issuer is another, and no id at all is one study only."""
    key = patient_key(header(part10(photograph())))

    assert key == patient_key(header(part10(photograph(2, PatientName="Other^Spelling"))))
    assert key != patient_key(header(part10(photograph(IssuerOfPatientID="ELSEWHERE"))))
    assert patient_key(header(part10(photograph(PatientID="")))) == f"study {STUDY}"
