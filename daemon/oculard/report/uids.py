"""Identifiers that are a function of what they identify: the same inputs and the same model give the same UIDs."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid5

NAMESPACE = UUID("85cd734a-a2de-4c49-882a-30470a1676e8")


def report_uid(
    sources: Iterable[str], estimator: str, version: str, weights_sha256: str, generation: int, grader_sha256: str = ""
) -> str:
    """The SOP Instance UID of a report. The order of the sources does not matter."""
    return _uid(
        "report", *_inputs(sources), estimator, version, weights_sha256, str(generation), *_grader(grader_sha256)
    )


def series_uid(
    sources: Iterable[str], estimator: str, version: str, weights_sha256: str, generation: int, grader_sha256: str = ""
) -> str:
    """The Series Instance UID of a report: a series of its own, so that its attributes never clash."""
    return _uid(
        "series", *_inputs(sources), estimator, version, weights_sha256, str(generation), *_grader(grader_sha256)
    )


def tracking_uid(patient_key: str, eye: str, family: str) -> str:
    """What makes values of one patient, eye and family comparable over time (PS3.16 TID 1501)."""
    return _uid("tracking", patient_key, eye, family)


def device_uid(estimator: str, version: str, weights_sha256: str) -> str:
    """The Device UID of one trained model: a retrained model is another device (IHE AIR)."""
    return _uid("device", estimator, version, weights_sha256)


def variant_uid(sop_instance_uid: str, sop_class_uid: str) -> str:
    """The SOP Instance UID of a report rewritten as another SOP class."""
    return _uid("variant", sop_instance_uid, sop_class_uid)


def companion_uid(report_sop_instance_uid: str, role: str) -> str:
    """The SOP Instance UID of an object that travels with a report: another report, another companion."""
    return _uid("companion", report_sop_instance_uid, role)


def companion_series_uid(report_sop_instance_uid: str, role: str) -> str:
    """The Series Instance UID of such an object, of a modality of its own."""
    return _uid("companion-series", report_sop_instance_uid, role)


def dimension_uid(sop_instance_uid: str) -> str:
    """The Dimension Organization UID of a segmentation."""
    return _uid("dimension", sop_instance_uid)


def _inputs(sources: Iterable[str]) -> tuple[str, ...]:
    """The distinct sources in a fixed order, led by their number: no other list of parts can read the same."""
    ordered = sorted(set(sources))
    if not ordered:
        raise ValueError("a report needs at least one source")
    return (str(len(ordered)), *ordered)


def _grader(sha256: str) -> tuple[str, ...]:
    """The quality gate's weights decide what is estimated at all; nothing where no gate had a say."""
    return (sha256,) if sha256 else ()


def _uid(kind: str, *parts: str) -> str:
    """A UID under the arc of UUIDs (PS3.5 B.2): at most 44 characters."""
    name = "\x1f".join((kind, *parts))  # a separator that no part contains
    return f"2.25.{uuid5(NAMESPACE, name).int}"
