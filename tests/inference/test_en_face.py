"""En face images of OCT angiography in the worker: what is measured, and what every bad one ends in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from faz_bench import MANIFEST, RADIUS, SIDE_MM, SIDE_PX, FazBench, flow_volume, slab, texture
from pydicom.dataset import Dataset, FileDataset

from oculard.inference import en_face, segmenting, worker
from oculard.report.read import ReadReport
from oculard.settings import Faz
from oculard_models.data.painted_study import painted_uid

AREA_MM2 = pi * (RADIUS * SIDE_MM) ** 2
MM = {"FAZ-AREA", "FAZ-PERIM", "FAZ-OFFSET"}


class Events:
    """Remembers what was logged."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.said.append({"event": event} | fields)

    warning = error = info

    def reasons(self) -> set[str]:
        """Every reason that was given."""
        return {str(event["reason"]) for event in self.said if event.get("reason")}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., FazBench]]:
    """Makes a bench; closes it in the end."""
    made: list[FazBench] = []

    def bench(**settings: Any) -> FazBench:
        made.append(FazBench(tmp_path, **settings))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


@pytest.fixture
def bench(make: Callable[..., FazBench]) -> FazBench:
    """A fresh bench."""
    return make()


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What the worker logs."""
    said = Events()
    for module in (worker, en_face, segmenting):
        monkeypatch.setattr(module, "logger", said)
    return said


def values(report: ReadReport) -> dict[str, float | None]:
    """The findings' values by concept."""
    return {finding.concept: finding.value for finding in report.findings}


def coloured() -> npt.NDArray[np.uint8]:
    """The same texture in false colours."""
    grey = texture()
    return np.stack([grey, 255 - grey, grey // 2], axis=2)


def rgb(ds: FileDataset, pixels: npt.NDArray[Any]) -> FileDataset:
    """An image of three channels."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = pixels.tobytes()
    return ds


def sixteen_bit(ds: FileDataset, pixels: npt.NDArray[np.uint16]) -> FileDataset:
    """An image of 16 bit values."""
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelData = 15, pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def spaced(spacing: Any) -> FileDataset:
    """An image whose header says this spacing."""
    return slab("a", PixelSpacing=spacing)


def with_slab(value: str, scheme: str = "DCM") -> FileDataset:
    """An image of another coded image type."""
    ds = slab("a")
    item = ds.OphthalmicImageTypeCodeSequence[0]
    item.CodeValue, item.CodingSchemeDesignator = value, scheme
    return ds


def test_a_slab_becomes_measures(bench: FazBench) -> None:
    """Area, perimeter and circularity of the outlined zone in mm, stored and reported alike, graded by no gate."""
    bench.receive(slab("a"))
    (report,) = bench.work()

    found = values(report)
    assert report.outcome == "complete"
    assert found["FAZ-AREA"] == pytest.approx(AREA_MM2, rel=0.02)
    assert found["FAZ-AREA-PX"] == pytest.approx(AREA_MM2 / (SIDE_MM / SIDE_PX) ** 2, rel=0.02)
    assert found["FAZ-CIRC"] == pytest.approx(1.0, abs=0.02)
    assert (report.quality, report.grader) == ("good", None)
    assert "no quality gate" in report.remark
    assert bench.job()["state"] == "reported"


def test_what_the_values_depend_on_is_a_parameter(bench: FazBench) -> None:
    """Spacing, magnification, slab and threshold stand in the report's algorithm parameters."""
    bench.receive(slab("a"))
    bench.work()

    parameters = algorithm_parameters(bench)
    assert "pixel-spacing-mm=0.01875 x 0.01875" in parameters
    assert "magnification=1" in parameters
    assert "mask-threshold=0.5" in parameters
    assert "slab=128265 DCM superficial retina vasculature flow" in parameters


def algorithm_parameters(bench: FazBench) -> set[str]:
    """Every algorithm parameter of the newest report."""
    from pydicom import dcmread

    with bench.shelf.database.read() as connection:
        (path,) = connection.exec_driver_sql("SELECT path FROM report ORDER BY id DESC LIMIT 1").one()

    def texts(items: Any) -> Iterator[str]:
        for item in items:
            if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "111002":
                yield str(item.TextValue)
            yield from texts(item.get("ContentSequence", []))

    return set(texts(dcmread(bench.shelf.vault.path(path)).ContentSequence))


def test_both_eyes_are_two_reports(bench: FazBench) -> None:
    """One batch of two images, a report for each eye."""
    bench.receive(slab("a"), slab("b", "L"))

    assert sorted(report.eye for report in bench.work()) == ["L", "R"]
    assert bench.network.batches == [2]


def test_a_batch_that_fails_is_taken_apart(bench: FazBench) -> None:
    """Both eyes are measured, one by one, and nothing is said twice."""
    bench.network.fails_on = 2
    bench.receive(slab("a"), slab("b", "L"))
    reports = bench.work()

    assert [report.outcome for report in reports] == ["complete", "complete"]
    assert bench.network.batches == [2, 1, 1]
    assert all(report.remark.count("Pixel spacing") == 1 for report in reports)


UNFIT = {
    "colour": (lambda: rgb(slab("a"), coloured()), "ungradable", "colour-en-face"),
    "all black": (lambda: slab("a", pixels=np.zeros((160, 160), np.uint8)), "ungradable", "no-signal"),
    "flat": (lambda: slab("a", pixels=np.full((160, 160), 90, np.uint8)), "ungradable", "no-signal"),
    "black in 16 bit": (
        lambda: sixteen_bit(slab("a"), np.full((160, 160), 900, np.uint16)),
        "ungradable",
        "no-signal",
    ),
    "small": (lambda: slab("a", pixels=texture(120, 120)), "ungradable", "wrong-size"),
    "long": (lambda: slab("a", pixels=texture(160, 320)), "ungradable", "wrong-size"),
    "huge": (lambda: slab("a", Rows=60000, Columns=60000), "ungradable", "wrong-size"),
    "a stack": (lambda: slab("a", NumberOfFrames=2, PixelData=bytes(2 * 160 * 160)), "not-a-slab", "not-a-slab"),
    "a flow cube": (lambda: flow_volume("a"), "not-a-slab", "not-a-slab"),
    "a flow cube of one frame": (lambda: flow_volume("a", frames=1), "not-a-slab", "not-a-slab"),
    "another slab": (lambda: with_slab("128273"), "no-wanted-slab", "128273 DCM choriocapillaris vasculature flow"),
    "a foreign code": (lambda: with_slab("128265", "99X"), "no-wanted-slab", "what came: 128265 99X)"),
    "a strange code": (lambda: with_slab("a~b\u00e4", "99X"), "no-wanted-slab", "a?b? 99X"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_measured_is_rejected_aloud(bench: FazBench, events: Events, name: str) -> None:
    """Report and log say why, no number is given, and nobody is alarmed: the job is rejected, not failed."""
    image, reason, words = UNFIT[name]
    bench.receive(image())
    (report,) = bench.work()

    assert (report.outcome, report.quality, report.grader) == ("ungradable", "ungradable", None)
    assert words in report.remark
    assert {finding.qualifier for finding in report.findings} == {"not-attempted"}
    assert (bench.job()["state"], bench.job()["reason"]) == ("rejected", reason)
    assert report.images[0].reasons[0] in events.reasons()
    assert reason in events.reasons()
    assert bench.network.batches == []


def test_the_site_limits_the_size(bench: FazBench) -> None:
    """What is above the site's limit of pixels is not decoded."""
    settings = bench.worker.settings.model_copy(update={"images_pixels_max": SIDE_PX**2 - 1})
    bench.worker = replace(bench.worker, settings=settings)
    bench.receive(slab("a"))
    (report,) = bench.work()

    assert report.images[0].reasons == ("wrong-size",)


def test_pixels_that_cannot_be_decoded_fail(bench: FazBench, events: Events) -> None:
    """That is no judgement of the scan: a person must look."""
    bench.receive(slab("a", BitsAllocated=32))
    (report,) = bench.work()

    assert report.outcome == "failed"
    assert "pixels-unsupported" in report.remark
    assert "pixels-unsupported" in events.reasons()


@pytest.mark.parametrize(
    ("spacing", "reason"),
    [
        (None, "spacing-missing"),
        ([0.0, 0.0], "spacing-implausible"),
        ([-0.01875, 0.01875], "spacing-implausible"),
        ([0.00001, 0.00001], "spacing-implausible"),
        ([3.0, 3.0], "spacing-implausible"),
    ],
)
def test_without_a_spacing_there_are_pixels_only(bench: FazBench, events: Events, spacing: Any, reason: str) -> None:
    """Nothing in mm is attempted; the pixels are counted; report, parameters and log say why."""
    bench.receive(slab("a", side_mm=None) if spacing is None else spaced(spacing))
    (report,) = bench.work()

    found = values(report)
    assert {concept for concept, value in found.items() if value is None} == MM
    assert {finding.qualifier for finding in report.findings if finding.value is None} == {"not-attempted"}
    assert report.outcome == "partial"
    assert reason in report.remark
    assert f"pixel-spacing-mm={reason}" in algorithm_parameters(bench)
    assert reason in events.reasons()
    assert bench.job()["state"] == "reported"


def test_spacing_of_the_frames_counts(bench: FazBench) -> None:
    """A spacing in the functional groups is as good as one at the root; two that differ are none."""
    measures, group = Dataset(), Dataset()
    measures.PixelSpacing = [0.01875, 0.01875]
    group.PixelMeasuresSequence = [measures]
    bench.receive(slab("a", side_mm=None, SharedFunctionalGroupsSequence=[group]))
    bench.receive(slab("b", "L", side_mm=6.0, SharedFunctionalGroupsSequence=[group]))
    reports = {report.eye: report for report in bench.work()}

    assert values(reports["R"])["FAZ-AREA"] == pytest.approx(AREA_MM2, rel=0.02)
    assert values(reports["L"])["FAZ-AREA"] is None
    assert "spacing-implausible" in reports["L"].remark


def test_grey_in_three_channels_is_grey(bench: FazBench) -> None:
    """An RGB image of equal channels is measured like the grey one."""
    bench.receive(rgb(slab("a"), np.repeat(texture()[..., None], 3, axis=2)))
    (report,) = bench.work()

    assert report.outcome == "complete"


def test_a_little_colour_in_sixteen_bit_is_grey(bench: FazBench) -> None:
    """How far channels are apart is judged in their own range."""
    grey = np.repeat(texture().astype(np.uint16)[..., None] * 250, 3, axis=2)
    grey[..., 0] += 1000
    bench.receive(sixteen_bit(rgb(slab("a"), grey), grey))
    (report,) = bench.work()

    assert report.outcome == "complete"


def test_sixteen_bit_is_scaled_and_said(bench: FazBench) -> None:
    """The used range becomes 8 bit, and the report names it."""
    bench.receive(sixteen_bit(slab("a"), texture().astype(np.uint16) * 16 + 100))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert "values 100 to 4180 of 16 bit were scaled to 8 bit" in report.remark


def test_a_zone_that_is_not_found_is_a_result(bench: FazBench, events: Events) -> None:
    """No value and the reason in words; the job has done its work, and nobody needs to look."""
    bench.network.gives = np.zeros((80, 80), np.float32)
    bench.receive(slab("a"))
    (report,) = bench.work()

    assert report.outcome == "nothing"
    assert {finding.value for finding in report.findings} == {None}
    assert "no-structure: no foveal avascular zone was found" in report.remark
    assert (bench.job()["state"], bench.job()["reason"]) == ("reported", "no-structure")
    assert "no-structure" in events.reasons()
    assert [image.used for image in report.images] == [True]


def test_a_zone_at_the_border_is_not_measured(bench: FazBench) -> None:
    """What is cut would measure too little: every value is indeterminate."""
    bench.network.centre, bench.network.radius = (0.5, 0.3), 0.35
    bench.receive(slab("a"))
    (report,) = bench.work()

    assert report.outcome == "nothing"
    assert {finding.qualifier for finding in report.findings} == {"indeterminate"}
    assert "touches-border" in report.remark
    assert (bench.job()["state"], bench.job()["reason"]) == ("reported", "touches-border")


def test_a_mask_of_no_numbers_fails(bench: FazBench) -> None:
    """A network that gives what is no probability is broken: a person must look."""
    bench.network.gives = np.full((80, 80), np.nan, np.float32)
    bench.receive(slab("a"))
    (report,) = bench.work()

    assert {finding.qualifier for finding in report.findings} == {"failure"}
    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "no-numbers")


def test_superficial_comes_before_deep(bench: FazBench) -> None:
    """The deep slab of the same eye is not looked at."""
    bench.receive(slab("deep", plexus="deep", at_s=60), slab("superficial"))
    (report,) = bench.work()

    assert [image.sop_instance_uid for image in report.images] == [painted_uid("superficial")]


def test_deep_is_measured_where_it_is_alone(bench: FazBench) -> None:
    """And the report says that it is the second choice."""
    bench.receive(slab("deep", plexus="deep"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert "no preferred slab came, this is 128269 DCM deep retina vasculature flow" in report.remark


def test_the_newest_good_slab_is_measured(bench: FazBench) -> None:
    """A black one that came later is named and not used; an older one is left out aloud."""
    black = np.zeros((160, 160), np.uint8)
    for image in (slab("black", at_s=120, pixels=black), slab("new", at_s=60), slab("old")):
        bench.receive(image)  # in the wrong order
    (report,) = bench.work()

    assert {image.sop_instance_uid: image.used for image in report.images} == {
        painted_uid("black"): False,
        painted_uid("new"): True,
    }
    assert "1 further images of this eye were left out" in report.remark


def test_a_late_slab_amends_the_report(bench: FazBench) -> None:
    """A flow cube alone is rejected; with a slab the report is made anew and names the first, and again by a better."""
    bench.receive(flow_volume("cube"))
    (rejected,) = bench.work()
    bench.receive(slab("deep", plexus="deep"))
    _, deep = bench.work()
    bench.receive(slab("superficial"))
    _, _, last = bench.work()

    assert [report.outcome for report in (rejected, deep, last)] == ["ungradable", "complete", "complete"]
    for report, earlier in ((deep, rejected), (last, deep)):
        assert report.predecessor is not None
        assert report.predecessor.sop_instance_uid == earlier.sop_instance_uid
    assert [image.sop_instance_uid for image in last.images] == [painted_uid("superficial")]
    bench.receive(slab("superficial"))
    assert len(bench.work()) == 3, "the same images again give nothing new"


def test_a_bundle_may_read_every_slab(make: Callable[..., FazBench]) -> None:
    """Where its manifest names none, whatever slab came newest is measured."""
    every = MANIFEST.model_copy(update={"input": MANIFEST.input.model_copy(update={"slabs": ()})})
    bench = make(manifest=every)
    bench.receive(with_slab("128273"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert "preferred" not in report.remark


def test_an_unknown_eye_is_not_measured(bench: FazBench) -> None:
    """Whatever the image is like, its eye is unknown."""
    bench.receive(slab("a", eye=""))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == ("U", "eye-unknown")
    assert bench.network.batches == []


@pytest.mark.parametrize(
    ("axial_length", "factor", "words"),
    [
        (26.0, (26.0 - 1.82) / (24.0 - 1.82), "Lengths multiplied by 1.0902"),
        (None, 1.0, "not corrected for magnification"),
        (99.0, 1.0, "not corrected for magnification"),
    ],
)
def test_lengths_are_corrected_by_the_axial_length(
    make: Callable[..., FazBench], axial_length: float | None, factor: float, words: str
) -> None:
    """Where the device's own is set and the header has the eye's; else the report says that nothing was corrected."""
    bench = make(faz=Faz(axial_length_device_mm=24.0))
    image = slab("a") if axial_length is None else slab("a", AxialLengthOfTheEye=axial_length)
    bench.receive(image)
    (report,) = bench.work()

    assert values(report)["FAZ-AREA"] == pytest.approx(AREA_MM2 * factor**2, rel=0.02)
    assert words in report.remark
    assert f"magnification={factor:.6g}" in algorithm_parameters(bench)


def test_without_a_spacing_nothing_is_corrected(make: Callable[..., FazBench]) -> None:
    """There is no length to correct, and the report claims no correction."""
    bench = make(faz=Faz(axial_length_device_mm=24.0))
    bench.receive(slab("a", side_mm=None, AxialLengthOfTheEye=26.0))
    bench.work()

    assert "magnification=1" in algorithm_parameters(bench)


def test_nothing_is_corrected_unasked(bench: FazBench) -> None:
    """An axial length in the header alone changes nothing."""
    bench.receive(slab("a", AxialLengthOfTheEye=30.0))
    (report,) = bench.work()

    assert values(report)["FAZ-AREA"] == pytest.approx(AREA_MM2, rel=0.02)
