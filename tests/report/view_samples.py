"""Samples for the tests of classified views: an OCT volume's header, four views, and requests with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.uid import OphthalmicTomographyImageStorage
from report_samples import ORIGIN, part10, photograph, request, source

from oculard.report.request import ReportRequest
from oculard.report.source import Source
from oculard.report.views import SeenView, SeenViews
from oculard_models.contract import Finding
from oculard_models.manifest import Output, OutputKind
from oculard_models.volumes.types import DISC_TYPES

SIDE_PX = 32
VIEWS = ("rnfl-thickness", "gcc-thickness", "en-face", "bscan-disc")
CONCEPTS = ("GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS")
PROBABILITIES = (6.0, 71.5, 12.5, 4.0, 6.0)  # of the whole
ALONE = (
    (5.0, 80.0, 5.0, 5.0, 5.0),
    (10.0, 60.0, 20.0, 5.0, 5.0),
    (20.0, 20.0, 50.0, 5.0, 5.0),
    (4.0, 90.0, 2.0, 2.0, 2.0),
)
OUTPUTS = (
    Output(name="class", concept="GL-CLASS", tensor="probability", kind=OutputKind.CLASS, choices=DISC_TYPES),
    *(
        Output(name=f"p-{name}", concept=concept, tensor="probability", kind=OutputKind.PROBABILITY, index=index)
        for index, (name, concept) in enumerate(zip(DISC_TYPES, CONCEPTS, strict=True))
    ),
)


def volume_source(**changes: Any) -> Source:
    """An OCT volume that was looked at."""
    file = part10(photograph(SOPClassUID=OphthalmicTomographyImageStorage, Modality="OPT", ICCProfile=None))
    return source(file, **changes)


def view(name: str, probabilities: tuple[float, ...]) -> SeenView:
    """A view with a bright ring, and an activation in one corner of it."""
    rows, columns = (np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5) / SIDE_PX - 0.5
    away = np.hypot(rows, columns)
    ring = np.exp(-(((away - 0.25) / 0.1) ** 2)).astype(np.float32)
    activation = np.zeros((8, 8), dtype=np.float32)
    activation[1:3, 4:7] = (0.4, 1.0, 0.4)
    return SeenView(name=name, pixels=ring, activation=activation, probabilities=probabilities)


def seen_views(names: tuple[str, ...] = VIEWS) -> SeenViews:
    """All views; three of the default four say what was found."""
    shown = tuple(view(name, ALONE[number % len(ALONE)]) for number, name in enumerate(names))
    return SeenViews(classes="GL-CLASS", choices=DISC_TYPES, views=shown, found="focal-ischemia", certainty=71.5 * 0.75)


def classified(image: Source) -> tuple[Finding, ...]:
    """The class and its probability, then all five."""
    uids = (image.sop_instance_uid,)
    return (
        Finding(name="class", unit="%", value=71.5, choice="focal-ischemia", sources=uids),
        *(
            Finding(name=output.name, unit="%", value=value, sources=uids)
            for output, value in zip(OUTPUTS[1:], PROBABILITIES, strict=True)
        ),
    )


def with_views(**changes: Any) -> ReportRequest:
    """A request with four views and all companions, with some fields changed."""
    image = volume_source()
    fields: dict[str, Any] = {
        "origin": replace(ORIGIN, family="glaucoma", name="views-sample", title="Views sample"),
        "outputs": OUTPUTS,
        "findings": classified(image),
        "grader": None,
        "seen": seen_views(),
        "with_pictures": True,
        "with_pdf": True,
    }
    return request(image, **(fields | changes))
