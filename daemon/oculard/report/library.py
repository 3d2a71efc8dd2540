"""The image library: every image that was looked at, its quality and whether it was used (PS3.16 TID 1600).

Our own builder, because highdicom's refuses SOP classes that are not in its table, OCT en face images among them.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import ContentItem

from oculard.report import items, raw
from oculard.report.codes import Code, table, term, unit
from oculard.report.items import CONTAINS, HAS_ACQ_CONTEXT
from oculard.report.source import Grade, Source


def image_library(sources: Sequence[Source]) -> ContentItem:
    """All images, in one group."""
    group = items.container(term("image-library-group"), [_entry(source) for source in sources])
    return items.container(term("image-library"), [group], template="1600")


def grade_code(grade: str) -> Code | None:
    """The code of a grade (CID 7036); None for an image that nobody graded."""
    return None if grade == Grade.NOT_ASSESSED else term(f"quality-{grade}")


def _entry(source: Source) -> ContentItem:
    children = [items.code(term("modality"), _modality(source), HAS_ACQ_CONTEXT)]
    laterality = raw.text(source.header, "ImageLaterality").lower()
    if laterality in ("r", "l"):
        children.append(items.code(term("image-laterality"), term(f"eye-{laterality}"), HAS_ACQ_CONTEXT))
    for role, keyword in (("rows", "Rows"), ("columns", "Columns")):
        size = raw.number(source.header, keyword)
        if size is not None:
            children.append(items.number(term(role), size, unit("{pixels}"), HAS_ACQ_CONTEXT))
    children += _judgement(source)
    return items.image(term("source-image"), source, CONTAINS, *children)


def _judgement(source: Source) -> list[ContentItem]:
    """What we found about the image: its use, its quality and the reasons."""
    use = term("image-used" if source.used else "image-unused")
    found = [items.code(term("image-use"), use, HAS_ACQ_CONTEXT)]
    quality = grade_code(source.grade)
    if quality is not None:
        found.append(items.code(term("quality"), quality, HAS_ACQ_CONTEXT))
    return found + [items.text(term("quality-reason"), reason, HAS_ACQ_CONTEXT) for reason in source.reasons]


def _modality(source: Source) -> Code:
    known = table().terms
    return known.get(f"modality-{raw.text(source.header, 'Modality').lower()}", known["modality-ot"])
