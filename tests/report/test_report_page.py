"""The page: what people see of a report, and what hostile input cannot do to it."""

from __future__ import annotations

import re

import pytest
from report_samples import findings, part10, photograph, request, requests, source
from shape_samples import outlined

from oculard.report import notices
from oculard.report.build import build_report
from oculard.report.lenient import Decoded, decoded
from oculard.report.page import render_page
from oculard.report.planned import planned_companions


@pytest.mark.parametrize("name", requests())
def test_every_outcome_has_a_page(name: str) -> None:
    """A page shows model, version, weights, quality and the remark, and says that these are estimates."""
    asked = requests()[name]

    page = render_page(build_report(asked).data)

    for text in (asked.origin.title, asked.origin.version, asked.origin.weights_sha256, asked.remark):
        assert text in page
    assert "estimates by an AI model, not measurements" in page
    assert "測定値ではなく" in page
    assert ("DEMONSTRATION MODEL" in page) is asked.origin.demonstration


def test_values_have_name_uncertainty_and_unit() -> None:
    """A value stands beside its name in both languages, with its uncertainty and unit."""
    words = " ".join(re.sub(r"<[^>]*>", " ", render_page(build_report(request()).data)).split())

    assert "推定年齢 Estimated age from fundus photograph 60.0 ± 4.5 歳 years" in words
    assert "推定性別 Estimated sex from fundus photograph 男性 Male 66.0 %" in words


def test_outlined_values_are_not_called_estimates() -> None:
    """The page of a shape says in both languages that an AI drew the outline, with measures, conditions and mask."""
    asked = outlined()
    page = render_page(build_report(asked).data)
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())

    for text in (notices.OUTLINE, notices.JAPANESE[notices.OUTLINE], notices.PROBABILITY, *asked.parameters):
        assert text in words
    assert notices.ESTIMATE not in words
    assert "中心窩無血管域の面積 Foveal avascular zone area 0.312 mm²" in words
    assert "緑内障型 Glaucomatous pattern 73.2 %" in words
    assert planned_companions(asked)[0].sop_instance_uid in words


def test_hostile_text_stays_text() -> None:
    """Markup in names, ids, descriptions and remarks is shown, never run."""
    attack = b'<script>alert("1")</script>'
    file = part10(
        photograph(), {"PatientName": attack, "PatientID": attack, "StudyDescription": b"<img src=x onerror=1>"}
    )
    one = source(file, reasons=("<b>dark</b>",))

    page = render_page(build_report(request(one, findings=findings((one,)), remark="<i>remark</i>")).data)

    for markup in ("<script", "<img", "<b>", "<i>"):
        assert markup not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_page_needs_nothing_from_outside() -> None:
    """A page holds all of itself: no address of anything that would be fetched."""
    page = render_page(build_report(request()).data)

    assert not re.search(r"(src|href)=|@import|url\(", page)


def jis(text: str) -> bytes:
    """Japanese in ISO 2022."""
    return text.encode("iso2022_jp")


@pytest.mark.parametrize(
    ("value", "declared", "text", "guessed"),
    [
        (b"Sample^Person", "", "Sample^Person", False),
        (b"Sample^Person ", "NONSENSE", "Sample^Person", False),
        (jis("Y^T=山田^太郎"), r"\ISO 2022 IR 87", "Y^T=山田^太郎", False),
        ("ﾔﾏﾀﾞ".encode("shift_jis") + b"=" + jis("山田"), r"ISO 2022 IR 13\ISO 2022 IR 87", "ﾔﾏﾀﾞ=山田", False),
        ("鄧".encode("iso2022_jp_2"), r"\ISO 2022 IR 87\ISO 2022 IR 159", "鄧", False),
        ("髙橋".encode(), "ISO_IR 192", "髙橋", False),
        ("Müller".encode("latin-1"), "ISO_IR 100", "Müller", False),
        ("山田".encode("cp932"), r"\ISO 2022 IR 87", "山田", True),
        ("山田".encode("cp932"), "", "山田", True),
        ("山田".encode("cp932"), "SHIFT_JIS", "山田", True),
        ("山田".encode(), "", "山田", True),
        (jis("山田"), "", "山田", True),
        (jis("山田"), "ISO_IR 87", "山田", True),
        (b"\xe9\xff", "ISO_IR 192", "éÿ", True),
    ],
)
def test_names_are_decoded_as_far_as_possible(value: bytes, declared: str, text: str, guessed: bool) -> None:
    """A text is read as declared, and where that fails by what fits, marked as guessed."""
    assert decoded(value, declared) == Decoded(text=text, guessed=guessed)


def test_guessed_names_are_marked() -> None:
    """A name that does not fit its declaration is shown with a mark."""
    file = part10(photograph(), {"PatientName": "山田^太郎".encode("cp932")})

    page = render_page(build_report(request(source(file))).data)

    assert "山田 太郎" in page
    assert "guessed" in page.split("</style>")[1]
