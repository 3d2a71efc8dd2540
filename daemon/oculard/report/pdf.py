"""Printed reports: picture and values on one page, for archives and people that show nothing else.

In Japanese and English, and nothing on the page names a patient: whose it is, the DICOM object around it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING

from oculard.report import notices
from oculard.report.envelope import local
from oculard.report.picture import image_of
from oculard.report.request import ReportRequest
from oculard.report.rows import EYES, Row, rows_of

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

Colour = tuple[float, float, float]

LATIN, BOLD, JAPANESE = "Helvetica", "Helvetica-Bold", "HeiseiKakuGo-W5"  # readers bring these: no font file is needed
PAGE = (595.28, 841.89)  # A4, in points
LEFT, RIGHT, TOP, BOTTOM = 48.0, 547.28, 794.0, 36.0
ENGLISH, VALUE_END, UNIT = 218.0, 505.0, 510.0  # columns of the table
IMAGE_HEIGHTS = (120.0, 320.0)  # least, most
LINE, ROW, BELOW_IMAGE = 12.0, 17.0, 26.0
INK: Colour = (0.11, 0.16, 0.20)
SOFT: Colour = (0.36, 0.42, 0.46)
RULE: Colour = (0.85, 0.88, 0.90)
ACCENT: Colour = (0.12, 0.44, 0.47)
WARNING: Colour = (0.60, 0.30, 0.00)
JPEG_QUALITY = 92
CHARS_A_LINE = 105  # of the small print


def print_page(request: ReportRequest, title: str) -> bytes:
    """Print picture and values of a request that has a picture; the same request gives the same bytes."""
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfgen.canvas import Canvas

    registerFont(UnicodeCIDFont(JAPANESE))
    file = BytesIO()
    canvas = Canvas(file, pagesize=PAGE, invariant=1, lang="ja")
    canvas.setTitle(title)
    canvas.setAuthor(request.origin.manufacturer)
    sheet, rows, small_print = _Sheet(canvas), rows_of(request), list(_small_print(request))
    _print_head(sheet, request)
    below = BELOW_IMAGE + ROW * (len(rows) + sum(row.choice is not None for row in rows)) + LINE * len(small_print)
    _print_image(sheet, request, sheet.y - BOTTOM - below)
    for row in rows:
        _print_row(sheet, row)
    _print_small(sheet, small_print)
    canvas.showPage()
    canvas.save()
    return file.getvalue()


@dataclass(slots=True)
class _Sheet:
    """A page that is written from the top down; `y` is where the next line stands, from the bottom."""

    canvas: Canvas
    y: float = TOP

    def write(self, x: float, text: str, font: str, size: float, colour: Colour, *, right: bool = False) -> None:
        """Write from x, or up to it."""
        self.canvas.setFont(font, size)
        self.canvas.setFillColorRGB(*colour)
        (self.canvas.drawRightString if right else self.canvas.drawString)(x, self.y, text)

    def rule(self) -> None:
        """Draw a thin line across."""
        self.canvas.setStrokeColorRGB(*RULE)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(LEFT, self.y, RIGHT, self.y)


def _print_head(sheet: _Sheet, request: ReportRequest) -> None:
    """What was looked at in which eye, and what must be read before the values."""
    headline = request.headline
    sheet.write(LEFT, headline[0], JAPANESE, 17, INK)
    japanese, english = EYES[request.eye]
    sheet.write(RIGHT, japanese, JAPANESE, 15, ACCENT, right=True)
    sheet.y -= 18
    sheet.write(LEFT, f"{headline[1]} - AI result", LATIN, 11, SOFT)
    sheet.write(RIGHT, english, LATIN, 11, SOFT, right=True)
    sheet.y -= 10
    sheet.rule()
    for notice in notices.notices(request):
        sheet.y -= 17
        sheet.write(LEFT, notices.JAPANESE[notice], JAPANESE, 9.5, WARNING)
        sheet.y -= 12
        sheet.write(LEFT, notice, LATIN, 8.5, WARNING)
    sheet.y -= 14


def _print_image(sheet: _Sheet, request: ReportRequest, room: float) -> None:
    """The picture without its legend, as large as the rest of the page allows."""
    from reportlab.lib.utils import ImageReader

    image, file = image_of(request), BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    height_max = min(max(room, IMAGE_HEIGHTS[0]), IMAGE_HEIGHTS[1])
    scale = min(height_max / image.height, (RIGHT - LEFT) / image.width)
    width, height = image.width * scale, image.height * scale
    sheet.y -= height
    sheet.canvas.drawImage(ImageReader(file), (PAGE[0] - width) / 2, sheet.y, width, height)
    sheet.y -= BELOW_IMAGE


def _print_row(sheet: _Sheet, row: Row) -> None:
    """One finding: its names, its value and unit, or why it has none."""
    sheet.write(LEFT, row.japanese, JAPANESE, 9.5, INK)
    sheet.write(ENGLISH, row.english, LATIN, 8.5, SOFT)
    if row.missing is not None:
        sheet.write(RIGHT, row.missing[0], JAPANESE, 9.5, WARNING, right=True)
    else:
        spread = f" \u00b1 {row.uncertainty}" if row.uncertainty else ""
        sheet.write(VALUE_END, row.value + spread, BOLD, 10.5, INK, right=True)
        sheet.write(UNIT, row.unit, LATIN, 9, SOFT)
    sheet.y -= 6
    sheet.rule()
    sheet.y -= ROW - 6
    if row.choice is not None:
        sheet.write(LEFT, row.choice[0], JAPANESE, 9.5, INK)
        sheet.write(ENGLISH, row.choice[1], BOLD, 8.5, INK)
        sheet.y -= ROW


def _small_print(request: ReportRequest) -> Iterator[tuple[str, str]]:
    """Which model, on what it depends, and when, a line at a time: Japanese label and English text."""
    origin = request.origin
    moment = local(request.created_at, request.sources[0].header)
    lines = {
        "モデル": f"{origin.title} ({origin.name} {origin.version}), {origin.manufacturer}",
        "重み": f"sha256 {origin.weights_sha256}",
        "条件": "; ".join(request.parameters),
        "備考": request.remark,
        "作成": f"{moment:%Y-%m-%d %H:%M}, {request.device.model} {request.device.software_version}",
    }
    for label, text in lines.items():
        for at, line in enumerate(wrap(text, CHARS_A_LINE)):
            yield (label if at == 0 else ""), line


def _print_small(sheet: _Sheet, lines: Sequence[tuple[str, str]]) -> None:
    """What stands below the table; where a page does not hold it, the structured report does."""
    sheet.y -= LINE / 2
    for label, text in lines:
        full = sheet.y < BOTTOM
        sheet.write(LEFT, label, JAPANESE, 8, SOFT)
        sheet.write(LEFT + 44, "... (more in the structured report)" if full else text, LATIN, 8, SOFT)
        if full:
            return
        sheet.y -= LINE
