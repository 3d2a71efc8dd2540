"""The view `photograph` in the worker: the disc of the photograph that came with a volume, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oct_bench import OctBench, painted, scan, visit
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit
from worker_bench import shipped

from glaucoma_bundle import SIDE_PX, VIEWS
from oculard.inference.grading import QualityGate
from oculard_models.contract import EstimateFailed
from oculard_models.data.oct_photograph import paint_disc, paint_photograph, photograph_centre
from oculard_models.data.painted_study import FIELD_MM, painted_uid, wrap_fundus
from oculard_models.discs import DiscFinder, DiscPlace
from oculard_models.volumes.photograph import disc_square

BOTH = ("en-face", "photograph")
SIZE_PX = 720


def gate(discs: str = "disc-demo") -> QualityGate:
    """The shipped gate, with or without what finds discs."""
    return QualityGate(
        [shipped("fundus-quality"), shipped("disc-demo")], "fundus-quality", threads=1, disc_finder=discs
    )


@pytest.fixture(scope="module")
def shared() -> QualityGate:
    """A gate that is loaded once."""
    return gate()


@pytest.fixture
def make(tmp_path: Path, shared: QualityGate) -> Iterator[Callable[..., OctBench]]:
    """Makes a bench whose model reads the photograph; closes it in the end."""
    made: list[OctBench] = []

    def bench(views: tuple[str, ...] = BOTH, **settings: Any) -> OctBench:
        made.append(OctBench(tmp_path, views=views, gate=settings.pop("gate", shared), **settings))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


@pytest.fixture
def bench(make: Callable[..., OctBench]) -> OctBench:
    """A fresh bench."""
    return make()


def photograph(name: str = "p", eye: str = "R", *, at_s: float = 0.0, pixels: Any = None) -> FileDataset:
    """The photograph that a device takes with the volume of `oct_bench`."""
    shown = paint_photograph(painted(eye).eye, SIZE_PX) if pixels is None else pixels
    return wrap_fundus(shown, visit(at_s), eye=eye, uid=painted_uid(name), number=2)


@pytest.mark.parametrize("eye", ["R", "L"])
def test_the_disc_of_the_photograph_is_a_view(eye: str, bench: OctBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut where it is, it is the view that the painter paints, as a right eye; the report names the photograph."""
    tensors = watched(monkeypatch)
    monkeypatch.setattr(DiscFinder, "locate", lambda *_: true_place(eye))
    bench.receive(scan("a", eye), photograph(eye=eye))
    (report,) = bench.work()

    (view,) = (tensor[BOTH.index("photograph")] for tensor in tensors)
    wanted = paint_disc(painted(eye).eye, (0.0, 0.0), 6.0, SIDE_PX)
    alike, mirrored = (np.corrcoef(one.ravel(), wanted.ravel())[0, 1] for one in (view, view[:, ::-1]))
    assert alike > max(0.8, mirrored + 0.2)  # a photograph is darker towards its edge
    parameters = dict(one.split("=", 1) for one in report.model.parameters)
    assert parameters["photograph"].startswith("6 mm around the disc at column ")
    assert parameters["photograph"].endswith("by its pixel spacing")
    assert {image.sop_instance_uid: image.used for image in report.images} == {
        painted_uid("a"): True,
        painted_uid("p"): True,
    }
    assert "the photograph was graded by fundus-quality@" in report.remark
    assert (report.outcome, report.grader) == ("complete", None)
    assert bench.job()["state"] == "reported"


def test_the_picture_is_still_derived_from_the_volume(bench: OctBench) -> None:
    """The photograph stands behind the volume, wherever the first image counts."""
    bench.receive(photograph(), scan("a"))
    (report,) = bench.work()

    assert [image.sop_instance_uid for image in report.images] == [painted_uid("a"), painted_uid("p")]
    with bench.shelf.database.read() as connection:
        (row,) = connection.exec_driver_sql("SELECT path FROM report_object WHERE role = 'sc'").all()
    capture = dcmread(bench.shelf.vault.path(row.path))
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == painted_uid("a")


def test_a_photograph_without_spacing_is_cut_by_its_disc(bench: OctBench) -> None:
    """The disc is taken for a usual one, and the report says so."""
    picture = photograph()
    del picture.PixelSpacing
    bench.receive(scan("a"), picture)
    (report,) = bench.work()

    parameters = dict(one.split("=", 1) for one in report.model.parameters)
    assert parameters["photograph"].endswith("a disc taken for 1.8 mm, spacing-missing")
    assert report.outcome == "complete"


def test_a_model_that_reads_no_photograph_needs_none(make: Callable[..., OctBench]) -> None:
    """The volume is classified; that no photograph came is said."""
    bench = make(views=VIEWS)
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert "no photograph of this eye came with the volume" in report.remark


def left_blank(ds: FileDataset) -> FileDataset:
    """A photograph that does not say which eye it is."""
    ds.ImageLaterality = ""
    return ds


def broken() -> FileDataset:
    """A photograph whose JPEG is none."""
    ds = photograph()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([b"\xff\xd8 no picture \xff\xd9"])
    ds["PixelData"].VR = "OB"
    return ds


BAD: dict[str, tuple[Callable[[], list[FileDataset]], str, str]] = {
    "none": (list, "no-photograph", "no photograph of this eye came"),
    "of the other eye": (lambda: [photograph(eye="L")], "no-photograph", "no photograph of this eye came"),
    "of an unknown eye": (lambda: [left_blank(photograph())], "no-photograph", "does not say which eye"),
    "of another hour": (lambda: [photograph(at_s=3600.0)], "no-photograph", "no photograph of this eye came"),
    "broken": (lambda: [broken()], "photograph-unusable", "cannot be decoded or is not good enough"),
    "black": (
        lambda: [photograph(pixels=np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8))],
        "photograph-unusable",
        "cannot be decoded or is not good enough",
    ),
}


@pytest.mark.parametrize(("pictures", "reason", "words"), BAD.values(), ids=list(BAD))
def test_a_volume_without_a_usable_photograph_says_so(
    pictures: Callable[[], list[FileDataset]], reason: str, words: str, bench: OctBench
) -> None:
    """The job is rejected with its reason, which the report says in words; no value, no view."""
    bench.receive(scan("a"), *pictures())
    (report,) = [one for one in bench.work() if one.eye == "R"]

    assert (bench.job()["state"], bench.job()["reason"]) == ("rejected", reason)
    assert words in report.remark
    assert all(finding.value is None for finding in report.findings)
    assert report.views == ()
    assert not any(image.used for image in report.images)


@pytest.mark.parametrize("found", [None, "implausible"])
def test_a_photograph_without_its_disc_says_so(found: Any, bench: OctBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No disc, or one of no disc's size: rejected, and the photograph has the reason."""
    if found is None:
        monkeypatch.setattr(DiscFinder, "locate", lambda *_: None)
        bench.receive(scan("a"), photograph())
    else:
        picture = photograph()
        picture.PixelSpacing = [1.5 / SIZE_PX, 1.5 / SIZE_PX]  # a field that can be, of a disc that cannot
        bench.receive(scan("a"), picture)
    (report,) = bench.work()

    assert bench.job()["reason"] == "photograph-no-disc"
    reasons = {image.sop_instance_uid: image.reasons for image in report.images}
    assert "photograph-no-disc" in reasons[painted_uid("p")]


def test_a_photograph_that_comes_later_amends_the_report(bench: OctBench) -> None:
    """What was rejected for want of it is classified then."""
    bench.receive(scan("a"))
    bench.work()
    bench.receive(photograph())
    reports = bench.work()

    assert [report.outcome == "complete" for report in reports] == [False, True]
    assert bench.job()["state"] == "reported"


def test_without_a_finder_of_discs_a_person_must_look(make: Callable[..., OctBench]) -> None:
    """The configuration lacks it: failed, not rejected."""
    bench = make(gate=gate(discs=""))
    bench.receive(scan("a"), photograph())
    bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "no-disc-finder")


def test_without_a_gate_a_person_must_look(make: Callable[..., OctBench]) -> None:
    """No photograph is used that nobody graded."""
    bench = make(gate=QualityGate([], "gone", threads=1))
    bench.receive(scan("a"), photograph())
    bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "quality-gate-refused")


def test_a_finder_that_fails_is_said(bench: OctBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails with the reason of every estimator that ends with an error."""

    def fails(*_: object) -> None:
        raise EstimateFailed("on purpose")

    monkeypatch.setattr(DiscFinder, "locate", fails)
    bench.receive(scan("a"), photograph())
    bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "estimator-failed")


def test_the_square_is_as_large_as_the_other_views() -> None:
    """6 mm by the spacing, in the middle the disc; beyond the photograph it is black."""
    pixels = np.full((400, 500, 3), 90, dtype=np.uint8)
    pixels[100:140, 30:70] = 200
    square = disc_square(pixels, centre=(50.0, 120.0), sides=(40.0, 40.0), spacing_mm=(0.04, 0.04))

    assert square is not None
    assert square.shape == (150, 150)
    assert square[75, 75] == 200
    assert (square[:, :25] == 0).all()
    assert square[75, 40] == 90


@pytest.mark.parametrize("sides", [(0.0, 0.0), (10.0, 10.0), (200.0, 40.0), (np.nan, 40.0)])
def test_what_is_no_disc_is_not_cut(sides: tuple[float, float]) -> None:
    """Of no size, too small, too wide, no number: no square."""
    pixels = np.zeros((400, 500, 3), dtype=np.uint8)
    assert disc_square(pixels, centre=(50.0, 120.0), sides=sides, spacing_mm=(0.04, 0.04)) is None


def true_place(eye: str) -> DiscPlace:
    """Where the disc is in the painted photograph: the demonstration's network is some tenths of a millimetre off."""
    away_mm = photograph_centre(painted(eye).eye)
    x, y = (SIZE_PX * (0.5 - at / FIELD_MM) for at in away_mm)
    side = 2.0 * painted(eye).eye.disc.radius_mm / FIELD_MM * SIZE_PX
    return DiscPlace(centre=(x if eye == "R" else SIZE_PX - x, y), sides=(side, side))


def watched(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray[Any, Any]]:
    """What the network is given, case by case."""
    from oculard.inference import volume

    given: list[np.ndarray[Any, Any]] = []
    whole = volume.Prepared

    def keep(**parts: Any) -> Any:
        given.append(parts["tensor"])
        return whole(**parts)

    monkeypatch.setattr(volume, "Prepared", keep)
    return given
