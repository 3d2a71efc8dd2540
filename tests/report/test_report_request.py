"""Requests: what contradicts itself cannot be built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from report_samples import (
    CREATED,
    DEVICE,
    ORIGIN,
    OUTPUTS,
    PREDECESSOR,
    findings,
    header,
    part10,
    photograph,
    requests,
    source,
)
from report_samples import request as whole
from shape_samples import en_face, outlined, shape_in

from oculard.report.request import Outcome, unvalued
from oculard.report.source import Grade, Source
from oculard_models.contract import Qualifier

GOOD = source()
UNUSED = source(grade="ungradable", used=False)
VALUES = findings((GOOD,))


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("complete", Outcome.COMPLETE),
        ("partial", Outcome.PARTIAL),
        ("ungradable", Outcome.UNGRADABLE),
        ("eye unknown", Outcome.EYE_UNKNOWN),
        ("failed", Outcome.FAILED),
    ],
)
def test_outcome_follows_from_the_findings(name: str, outcome: Outcome) -> None:
    """Nobody states how a job ended: it is what the findings, the eye and the images say."""
    assert requests()[name].outcome is outcome


WRONG: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "no eye": (lambda: {"eye": ""}, "expected eye"),
    "valued without an eye": (lambda: {"eye": "U"}, "nothing was attempted"),
    "failed without an eye": (
        lambda: {"eye": "U", "sources": (UNUSED,), "findings": unvalued(OUTPUTS, Qualifier.FAILURE)},
        "nothing may be attempted",
    ),
    "no source": (lambda: {"sources": ()}, "at least one source"),
    "source twice": (lambda: {"sources": (GOOD, GOOD)}, "only once"),
    "finding from an unused image": (lambda: {"sources": (replace(GOOD, used=False),)}, "was not used"),
    "value from nowhere": (lambda: {"findings": (replace(VALUES[0], sources=()), *VALUES[1:])}, "no source"),
    "a finding is left out": (lambda: {"findings": VALUES[1:]}, "one finding for each output"),
    "no outputs": (lambda: {"outputs": (), "findings": ()}, "at least one output"),
    "another unit": (lambda: {"findings": (replace(VALUES[0], unit="cm"), *VALUES[1:])}, "unit `cm`"),
    "negative uncertainty": (
        lambda: {"findings": (replace(VALUES[0], uncertainty=-1.0), *VALUES[1:])},
        "above 0",
    ),
    "unknown class": (lambda: {"findings": (*VALUES[:-1], replace(VALUES[-1], choice="X"))}, "not a choice"),
    "class of a number": (lambda: {"findings": (replace(VALUES[0], choice="M"), *VALUES[1:])}, "has no choice"),
    "choices that have no code": (
        lambda: {"outputs": (*OUTPUTS[:-1], OUTPUTS[-1].model_copy(update={"choices": ("M", "X")}))},
        "not those of `EST-SEX`",
    ),
    "naive time": (lambda: {"created_at": datetime(2026, 11, 20)}, "time zone"),  # noqa: DTZ001  that is the test
    "created before started": (lambda: {"created_at": CREATED - timedelta(days=1)}, "before its analysis"),
    "amends as the first": (lambda: {"predecessor": PREDECESSOR}, "amends nothing"),
    "generation 0": (lambda: {"generation": 0}, "the first report is 1"),
    "remark in Japanese": (lambda: {"remark": "左右不明"}, "printable ASCII"),
    "remark with an escape": (lambda: {"remark": "a\x1b$B"}, "printable ASCII"),
}


@pytest.mark.parametrize("name", WRONG)
def test_contradictions_are_refused(name: str) -> None:
    """A request that contradicts itself, or that a report could not express, is refused at once."""
    changes, message = WRONG[name]

    with pytest.raises(ValueError, match=message):
        whole(**({"findings": VALUES, "sources": (GOOD,)} | changes()))


def test_unknown_names_are_refused() -> None:
    """A family or concept that the table does not know is refused."""
    with pytest.raises(KeyError):
        replace(ORIGIN, family="palmistry")
    output = OUTPUTS[0].model_copy(update={"concept": "EST-LUCK"})
    with pytest.raises(KeyError):
        whole(outputs=(output, *OUTPUTS[1:]))


@pytest.mark.parametrize("field", ["manufacturer", "software_version", "serial_number", "station_name"])
def test_device_texts_are_ascii_and_fit(field: str) -> None:
    """A device's texts are plain and of DICOM's length, so that they are valid beside any character set."""
    for text in ("眼科", "x" * 65, "a\\b"):
        with pytest.raises(ValueError, match="printable ASCII"):
            replace(DEVICE, **{field: text})


def test_source_needs_its_uids_and_a_grade() -> None:
    """A header without a UID, or a grade that nobody knows, is refused."""
    file = header(part10(photograph()))
    with pytest.raises(ValueError, match="is not a valid Grade"):
        Source(header=file, grade="excellent", used=True)
    del file["SeriesInstanceUID"]
    with pytest.raises(ValueError, match="four UIDs"):
        Source(header=file, grade=Grade.GOOD, used=True)


OUTLINED_WRONG: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "shape in no source": (lambda: {"shape": shape_in(source(part10(en_face(2))))}, "was not used"),
    "shape in both eyes": (lambda: {"eye": "B"}, "lies in one eye"),
    "shape without measures": (lambda: {"outputs": OUTPUTS, "findings": VALUES}, "without an output that is measured"),
    "parameter without a value": (lambda: {"parameters": ("spacing",)}, "name=value"),
    "parameter of the model": (lambda: {"parameters": ("weights-sha256=0",)}, "name=value"),
    "parameter in Japanese": (lambda: {"parameters": ("spacing=狭い",)}, "printable ASCII"),
}


@pytest.mark.parametrize("name", OUTLINED_WRONG)
def test_shapes_that_fit_nothing_are_refused(name: str) -> None:
    """A shape needs an image that was used, one eye and measures; a parameter a name of its own and a value."""
    changes, message = OUTLINED_WRONG[name]

    with pytest.raises(ValueError, match=message):
        outlined(**changes())
