"""Printed pages: one page, both languages, nothing of a patient."""

from __future__ import annotations

import base64
import io
import re
import zlib
from dataclasses import replace

from pydicom import dcmread
from shape_samples import outlined

from oculard.report import notices
from oculard.report.companions import build_companions
from oculard.report.pdf import BOTTOM, print_page
from oculard.report.request import ReportRequest, unvalued
from oculard_models.contract import Qualifier

MOVED_TO = re.compile(rb"1 0 0 1 ([\d.]+) ([\d.]+) Tm")
LATIN = re.compile(rb"\(((?:[^()\\]|\\.)*)\) Tj")


def drawn(page: bytes) -> bytes:
    """What a page's stream draws."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", page, re.DOTALL)
    decoded = [zlib.decompress(base64.a85decode(one.strip(), adobe=False)) for one in map(unframed, streams) if one]
    (text,) = [one for one in decoded if b" Tj" in one]
    return text


def unframed(stream: bytes) -> bytes:
    """A stream without the mark of its end; images are left out."""
    body = stream.strip()
    return b"" if len(body) > 30_000 else body.removesuffix(b"~>")


def words(page: bytes) -> set[str]:
    """The Latin words of a page."""
    return {one.decode("latin-1").replace("\\(", "(").replace("\\)", ")") for one in LATIN.findall(drawn(page))}


def lowest(page: bytes) -> float:
    """How far down a page is written."""
    return min(float(y) for _, y in MOVED_TO.findall(drawn(page)))


def pages(page: bytes) -> int:
    """How many pages a file has."""
    return len(re.findall(rb"/Type /Page\b(?!s)", page))


def printed(asked: ReportRequest) -> bytes:
    """The page of a request."""
    return print_page(asked, "title")


def test_page_holds_names_values_and_notices() -> None:
    """The page has each value with its name and unit, the model, its parameters, and the notices."""
    asked = outlined()
    page = printed(asked)
    said = words(page)

    assert page.startswith(b"%PDF-")
    assert pages(page) == 1
    for text in ("Area", "0.312", "Axial ratio", "1.300", "Glaucomatous pattern", "73.2", "%", "Right eye"):
        assert text in said
    assert {notices.OUTLINE, notices.PROBABILITY} <= said
    assert any(asked.origin.name in line and asked.origin.version in line for line in said)
    assert f"sha256 {asked.origin.weights_sha256}" in said
    assert "pixel-spacing-mm=0.08 x 0.08" in said


def test_page_is_japanese_too() -> None:
    """Names of measures and notices stand in Japanese, in a font that readers bring along."""
    page = printed(outlined())
    text = drawn(page)

    assert b"/BaseFont /HeiseiKakuGo-W5" in page
    for japanese in ("面積", "周囲長", notices.JAPANESE[notices.OUTLINE]):
        assert escaped(japanese.encode("utf-16-be")) in text


def escaped(text: bytes) -> bytes:
    """Bytes as a PDF string holds them."""
    plain = range(32, 127)
    special = b"()\\"
    return b"".join(
        b"\\" + bytes([one]) if one in special else bytes([one]) if one in plain else b"\\%03o" % one for one in text
    )


def test_page_never_runs_over() -> None:
    """The longest remark and parameters end above the page's foot, and what is left out is said to be."""
    asked = outlined()
    full = replace(asked, remark="word " * 200, origin=replace(asked.origin, demonstration=True))
    more = replace(full, parameters=tuple(f"p{number}={'x' * 200}" for number in range(20)))

    for one in (full, more):
        page = printed(one)
        assert pages(page) == 1
        assert lowest(page) >= BOTTOM - 13
    assert "... (more in the structured report)" in words(printed(more))
    assert "... (more in the structured report)" not in words(printed(full))


def test_missing_values_are_said() -> None:
    """A page without values says so of each of them."""
    asked = outlined()
    page = printed(replace(asked, findings=unvalued(asked.outputs, Qualifier.INDETERMINATE)))

    assert drawn(page).count(escaped("判定不能".encode("utf-16-be"))) == 10
    assert "0.312" not in words(page)


def test_page_travels_whole() -> None:
    """The DICOM object holds the page to the byte, padded to an even length, whatever its own length is."""
    lengths = set()
    for number in range(1, 9):
        asked = outlined(remark="x" * number, with_pictures=False)
        report = build_companions(asked)[-1]
        ds = dcmread(io.BytesIO(report.data))
        lengths.add(ds.EncapsulatedDocumentLength % 2)
        assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == print_page(asked, report.title)
        assert len(ds.EncapsulatedDocument) % 2 == 0
        assert (ds.MIMETypeOfEncapsulatedDocument, ds.BurnedInAnnotation) == ("application/pdf", "NO")
        assert ds.DocumentTitle == report.title == "AI RESULTS PDF (research) OCTA R"
    assert lengths == {0, 1}, "the test is of no use without pages of odd and of even length"
