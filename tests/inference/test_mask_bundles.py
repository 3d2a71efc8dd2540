"""Bundles that segment in the daemon: which are loaded, which are refused, and a disc on a photograph."""

from __future__ import annotations

from collections.abc import Iterator
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faz_bench import MANIFEST, RADIUS, StagedSegmenter, slab
from worker_bench import Bench, StagedGate, photograph

from faz_bundle import faz_bundle
from oculard.inference.estimators import EstimatorRefused, Estimators, Served, families, name_of
from oculard.settings import Faz, Rule
from oculard.settings import Worker as WorkerSettings
from oculard_models.contract import ImageInput
from oculard_models.data.paint import paint
from oculard_models.data.paint_octa import paint_octa
from oculard_models.data.painted_study import FIELD_MM, painted_uid
from oculard_models.data.person import sample_people
from oculard_models.manifest import Logistic, Manifest, Output
from oculard_models.quality import Grade, Quality
from oculard_models.registry import Bundle


def estimators(manifest: Manifest) -> Estimators:
    """A process that could serve this bundle, were its weights there."""
    bundle = Bundle(folder=Path("/nowhere"), manifest=manifest, card="none")
    return Estimators([bundle], providers=["cpu"], threads=1)


def with_output(**changes: Any) -> Manifest:
    """The staged bundle with its first output changed."""
    first = MANIFEST.output[0].model_copy(update=changes)
    return MANIFEST.model_copy(update={"output": (first, *MANIFEST.output[1:])})


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (with_output(name="volume"), "`volume` in `mm2`"),
        (with_output(name="perimeter"), "`perimeter` in `mm2`"),
        (with_output(unit="mm"), "`FAZ-AREA` is not in `mm`"),
        (with_output(concept="FAZ-LUCK"), "FAZ-LUCK"),
        (MANIFEST.model_copy(update={"family": "luck"}), "luck"),
    ],
)
def test_what_no_report_can_carry_is_refused(manifest: Manifest, words: str) -> None:
    """An unknown measure, unit, concept or family is found when the bundle is loaded, not when a patient waits."""
    with pytest.raises(EstimatorRefused, match="cannot be reported") as why:
        estimators(manifest).get(name_of(manifest))
    assert words in str(why.value)


def test_classes_that_no_report_can_name_are_refused() -> None:
    """The classes of a logistic output are those of its concept."""
    logistic = Output(
        name="class",
        concept="FAZ-GL",
        kind="logistic",
        choices=("fine", "bad"),
        logistic=Logistic(intercept=0.0, coefficients={"area": 1.0}),
    )
    manifest = MANIFEST.model_copy(update={"output": (*MANIFEST.output, logistic)})

    with pytest.raises(EstimatorRefused, match="the classes of `FAZ-GL`"):
        estimators(manifest).get(name_of(manifest))


def test_a_bundle_that_segments_is_served(tmp_path: Path) -> None:
    """Loaded, self-tested on its golden image, and planned for the slabs that it reads."""
    bundle = faz_bundle(tmp_path)
    served = Estimators([bundle], providers=["cpu"], threads=1).get("faz-test@1.0.0")
    octa = paint_octa(3, 160, plexus="superficial", faults=False)
    image = ImageInput(sop_instance_uid="1", eye="R", pixels=np.repeat(octa.pixels[..., None], 3, axis=2))
    (mask,) = served.estimator.segment(served.estimator.prepare(image)[None])

    assert (mask[octa.mask] > 0.5).mean() > 0.8
    family = families([bundle], {"faz": "faz-test"})["faz"]
    assert (family.slabs, family.instead) == (("128265", "128269"), ("flow-volume",))


DISC = MANIFEST.model_copy(
    update={
        "name": "disc-staged",
        "family": "disc",
        "input": MANIFEST.input.model_copy(update={"kind": "fundus", "slabs": ()}),
        "mask": MANIFEST.mask.model_copy(update={"structure": "optic-disc"}) if MANIFEST.mask else None,
        "output": (MANIFEST.output[0].model_copy(update={"concept": "DISC-AREA"}),),
    }
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A worker that outlines discs on photographs, with a gate that finds every one of 320 pixels good."""
    bundle = Bundle(folder=tmp_path, manifest=DISC, card="staged")
    made = Bench(
        tmp_path,
        [bundle],
        StagedGate({200: Quality(grade=Grade.UNGRADABLE, reasons=("too-dark",))}),
        serving={"disc": DISC.name},
        worker=WorkerSettings(estimators={"disc": DISC.name}),
        plan=[Rule(families=["disc"])],
        faz=Faz(axial_length_device_mm=24.0),
    )
    served = Served(manifest=DISC, estimator=StagedSegmenter())  # type: ignore[arg-type]  # it segments
    made.estimators.get = lambda name: served  # type: ignore[method-assign]  # no weights are loaded
    yield made
    made.shelf.database.close()


def test_a_disc_is_measured_on_the_newest_good_photograph(bench: Bench) -> None:
    """One photograph a mask, graded by the gate; the correction of OCT angiography is not applied to it."""
    person = sample_people(1, 11)[0]
    first, second = (photograph(name, pixels=paint(person, "R", 5, 320, shot=n)) for n, name in enumerate("ab"))
    second.AcquisitionDateTime = "20261120100000"
    dark = photograph("dark", pixels=np.zeros((200, 200, 3), np.uint8))
    dark.AcquisitionDateTime = "20261120110000"
    bench.receive(first, second, dark)
    (report,) = bench.work()

    assert report.grader is not None
    assert {image.sop_instance_uid: image.used for image in report.images} == {
        painted_uid("dark"): False,
        painted_uid("b"): True,
    }
    (found,) = report.findings
    assert found.value == pytest.approx(pi * (RADIUS * FIELD_MM) ** 2, rel=0.02)
    assert "magnification" not in report.remark


def test_a_slab_is_nothing_for_a_disc(bench: Bench) -> None:
    """A family that reads photographs has no job on OCT angiography."""
    bench.receive(slab("a"))

    assert bench.work() == []
