"""Content items: the six value types that a report is made of, over highdicom's (PS3.3 C.17.3)."""

from __future__ import annotations

from collections.abc import Iterable

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)

from oculard.report.codes import Code, term
from oculard.report.planned import Planned
from oculard.report.source import Source

CONTAINS = RelationshipTypeValues.CONTAINS
HAS_ACQ_CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
HAS_CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_OBS_CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT
HAS_PROPERTIES = RelationshipTypeValues.HAS_PROPERTIES
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM


def coded(code: Code) -> CodedConcept:
    """A code of the table as highdicom wants it."""
    return CodedConcept(code.value, code.scheme, code.meaning, code.version or None)


def container(
    name: Code,
    content: Iterable[ContentItem],
    *,
    relation: RelationshipTypeValues | None = CONTAINS,
    template: str | None = None,
) -> ContainerContentItem:
    """A heading over other items. Never continuous: renderers print continuous values without their names."""
    item = ContainerContentItem(
        coded(name), is_content_continuous=False, template_id=template, relationship_type=relation
    )
    item.ContentSequence = ContentSequence(list(content))
    return item


def code(name: Code, value: Code, relation: RelationshipTypeValues, *children: ContentItem) -> ContentItem:
    """A coded answer."""
    return _with(CodeContentItem(coded(name), coded(value), relation), children)


def text(name: Code, value: str, relation: RelationshipTypeValues) -> ContentItem:
    """A text, which is ASCII."""
    return TextContentItem(coded(name), value, relation)


def uid(name: Code, value: str, relation: RelationshipTypeValues) -> ContentItem:
    """A unique identifier."""
    return UIDRefContentItem(coded(name), value, relation)


def image(name: Code, source: Source, relation: RelationshipTypeValues, *children: ContentItem) -> ContentItem:
    """A reference to an image."""
    return _with(
        ImageContentItem(coded(name), source.sop_class_uid, source.sop_instance_uid, relationship_type=relation),
        children,
    )


def frame(name: Code, segmentation: Planned, relation: RelationshipTypeValues) -> ContentItem:
    """A reference to the first frame of a segmentation.

    By frame only: a reference names frames or segments, not both (PS3.3 10.3).
    """
    return ImageContentItem(
        coded(name),
        segmentation.sop_class_uid,
        segmentation.sop_instance_uid,
        referenced_frame_numbers=1,
        relationship_type=relation,
    )


def number(
    name: Code, value: float, unit: Code, relation: RelationshipTypeValues, *children: ContentItem
) -> ContentItem:
    """A number with its unit."""
    item = NumContentItem(coded(name), value, coded(unit), relationship_type=relation)
    if isinstance(value, int):
        item.MeasuredValueSequence[0].NumericValue = str(value)  # highdicom writes 512 pixels as 512.0
    return _with(item, children)


def no_number(
    name: Code, unit: Code, why: Code, relation: RelationshipTypeValues, *children: ContentItem
) -> ContentItem:
    """A number that is not there, and why (CID 42). highdicom cannot leave the value out, so it is taken out again."""
    item = NumContentItem(coded(name), 0, coded(unit), coded(why), relation)
    item.MeasuredValueSequence = []
    return _with(item, children)


def comment(value: str) -> ContentItem:
    """A remark for people."""
    return text(term("comment"), value, CONTAINS)


def _with(item: ContentItem, children: Iterable[ContentItem]) -> ContentItem:
    below = list(children)
    if below:
        item.ContentSequence = ContentSequence(below)
    return item
