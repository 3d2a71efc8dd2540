"""Pictures: what a model outlined or saw in an image, and what came of it, for people who look at images.

Only what is ASCII is drawn, in the one font that comes with Pillow, and nothing that names a patient.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from oculard.report.envelope import local
from oculard.report.panels import panels
from oculard.report.request import ReportRequest
from oculard.report.rows import EYES, Row, rows_of
from oculard.report.shape import FoundShape

Colour = tuple[int, int, int]
Point = tuple[float, float]
Words = tuple[str, str, Colour]  # label, value, the value's colour
Cell = tuple[int, tuple[int, int], Words]  # line, left and right end, what is written

# Light blue on a dark casing: apart from red retina, white disc and grey vessels, also for the colour-blind.
OUTLINE: Colour = (86, 214, 255)
CASING: Colour = (0, 0, 0)
GROUND: Colour = (14, 18, 22)
INK: Colour = (236, 240, 242)
SOFT: Colour = (152, 164, 172)
RULE: Colour = (44, 52, 58)
WARNING: Colour = (255, 190, 92)
IMAGE_PX_MAX = (960, 680)  # width, height of the image within the picture
WIDTH_PX_MIN = 680
MARGIN_PX, LINE_PX, HEAD_PX, GAP_PX = 20, 26, 52, 16
TEXT_PX, TITLE_PX = 17, 21
OUTLINE_PX, CASING_PX = 2.0, 4.0
FINER = 4  # lines are drawn so many times larger and reduced, which smooths them
BARS_MM = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1)
BAR_SHARE_MAX = 0.25  # of the image's width
SQUARE = 0.01  # how far a pixel's sides may differ for one bar to be true


def draw(request: ReportRequest) -> Image.Image:
    """Draw the shape or the views of a request that has some, and a legend below; RGB, 680 to 960 pixels wide."""
    image = image_of(request)
    width = max(WIDTH_PX_MIN, image.width)
    cells = _laid_out([_written(row) for row in rows_of(request)], width)
    lines = 1 + max(line for line, _, _ in cells) + 2
    picture = Image.new("RGB", (width, HEAD_PX + image.height + lines * LINE_PX + 3 * MARGIN_PX), GROUND)
    picture.paste(image, ((width - image.width) // 2, HEAD_PX))
    pen = ImageDraw.Draw(picture)
    _write(pen, (MARGIN_PX, HEAD_PX / 2), request.headline[1], INK, TITLE_PX)
    _write(
        pen, (width - MARGIN_PX, HEAD_PX / 2), f"{EYES[request.eye][1]} ({request.eye})", OUTLINE, TITLE_PX, right=True
    )
    for line, (left, right), (label, value, colour) in cells:
        y = HEAD_PX + image.height + MARGIN_PX + (line + 0.5) * LINE_PX
        _write(pen, (left, y), label, SOFT, TEXT_PX)
        _write(pen, (right, y), value, colour, TEXT_PX, right=True)
    _write_origin(pen, request, picture.size)
    return picture


def image_of(request: ReportRequest) -> Image.Image:
    """Draw the outlined image, or the views side by side, of a request that has one of them."""
    if request.shape is not None:
        return outlined(request.shape)
    assert request.seen is not None, "a picture is of a shape or of views"
    return panels(request.seen)


def outlined(shape: FoundShape) -> Image.Image:
    """Enlarge or reduce the image to at most 960 x 680 pixels, and draw outline and scale bar on it."""
    rows, columns = shape.shape.mask.shape
    scale = min(IMAGE_PX_MAX[0] / columns, IMAGE_PX_MAX[1] / rows)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    image = Image.fromarray(shape.pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    points = shape.shape.outline * (size[0] / columns, size[1] / rows)
    _draw_line(image, [*map(tuple, points), tuple(points[0])], casing=0.6)
    if shape.spacing_mm is not None and abs(shape.spacing_mm[0] / shape.spacing_mm[1] - 1.0) <= SQUARE:
        _draw_bar(image, size[0] / (columns * shape.spacing_mm[1]))
    return image


def _draw_line(image: Image.Image, points: Sequence[Point], *, casing: float) -> None:
    """Draw a smooth line with a dark edge, which keeps it visible on what is as bright as itself."""
    finer = [(x * FINER, y * FINER) for x, y in points]
    for colour, width_px, strength in ((CASING, CASING_PX, casing), (OUTLINE, OUTLINE_PX, 1.0)):
        mask = Image.new("L", (image.width * FINER, image.height * FINER))
        ImageDraw.Draw(mask).line(finer, fill=round(255 * strength), width=round(width_px * FINER), joint="curve")
        image.paste(colour, mask=mask.reduce(FINER))


def _draw_bar(image: Image.Image, pixels_per_mm: float) -> None:
    """Draw how long a round number of millimetres is, into the lower right corner."""
    length_mm = next((mm for mm in BARS_MM if mm * pixels_per_mm <= BAR_SHARE_MAX * image.width), None)
    if length_mm is None:
        return
    right, y = image.width - MARGIN_PX, image.height - MARGIN_PX
    left = right - length_mm * pixels_per_mm
    pen = ImageDraw.Draw(image)
    pen.rectangle((left - 1, y - 1, right + 1, y + 4), fill=CASING)
    pen.rectangle((left, y, right, y + 3), fill=INK)
    middle = (left + right) / 2, y - 6
    pen.text(middle, f"{length_mm:g} mm", INK, _font(TEXT_PX), anchor="ms", stroke_width=2, stroke_fill=CASING)


def _written(row: Row) -> Words:
    """A value's name, and the value or why there is none."""
    if row.missing is not None:
        return row.english, row.missing[1], SOFT
    chosen = "" if row.choice is None else f"{row.choice[1]}  "
    spread = f" +/- {row.uncertainty}" if row.uncertainty else ""
    return row.english, f"{chosen}{row.value}{spread} {row.unit}".strip(), INK


def _laid_out(rows: Sequence[Words], width: int) -> list[Cell]:
    """Two values a line where both fit into half of it, else one."""
    half = (width - 3 * MARGIN_PX) // 2
    cells: list[Cell] = []
    line, right = 0, False
    for words in rows:
        fits = sum(_font(TEXT_PX).getlength(text) for text in words[:2]) + GAP_PX <= half
        if right and not fits:
            line, right = line + 1, False
        left = MARGIN_PX + (half + MARGIN_PX if right else 0)
        cells.append((line, (left, left + half if fits else width - MARGIN_PX), words))
        line, right = (line, True) if fits and not right else (line + 1, False)
    return cells


def _write_origin(pen: ImageDraw.ImageDraw, request: ReportRequest, size: tuple[int, int]) -> None:
    """Write what the picture is, and which model drew it when, at the foot."""
    width, height = size
    first, second = height - MARGIN_PX - 1.5 * LINE_PX, height - MARGIN_PX - 0.5 * LINE_PX
    rule = first - 0.75 * LINE_PX
    pen.line((MARGIN_PX, rule, width - MARGIN_PX, rule), RULE)
    words = "AI RESULT - research, not for diagnosis"
    if request.origin.demonstration:
        words = "DEMONSTRATION MODEL - values mean nothing for this person"
    _write(pen, (MARGIN_PX, first), words, WARNING, TEXT_PX)
    made = "Outline" if request.seen is None else "Model"
    _write(pen, (MARGIN_PX, second), f"{made}: {request.origin.name} {request.origin.version}", SOFT, TEXT_PX)
    moment = local(request.created_at, request.sources[0].header)
    _write(pen, (width - MARGIN_PX, second), f"{moment:%Y-%m-%d %H:%M}", SOFT, TEXT_PX, right=True)


def _write(
    pen: ImageDraw.ImageDraw, at: Point, text: str, colour: Colour, size_px: int, *, right: bool = False
) -> None:
    """Write text from or up to a point at half its height. The font has no raised 2, so it is drawn small and high."""
    body, raised, _ = text.partition("\u00b2")
    small = _font(size_px * 2 // 3)
    x, y = at
    if raised:
        x -= small.getlength("2") if right else 0.0
        end = x if right else x + _font(size_px).getlength(body)
        pen.text((end + 1, y - size_px // 4), "2", colour, small, anchor="lm")
    pen.text((x, y), body, colour, _font(size_px), anchor="rm" if right else "lm")


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow was built with FreeType, as its wheels are
    return font
