"""OCT volumes in the worker: what is classified of them, and what every bad one ends in."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from oct_bench import COLUMNS, DEPTH, FRAMES, MACULA, Change, OctBench, painted, scan, visit
from pydicom import dcmread
from pydicom.dataset import FileDataset
from worker_bench import photograph

from glaucoma_bundle import SIDE_PX, VIEWS, expected, glaucoma_bundle
from oculard.errors import Misconfigured
from oculard.inference import volume, volume_photograph
from oculard.inference.case import Case, Stopwatch
from oculard.inference.estimators import EstimatorRefused, Estimators, families
from oculard.inference.layer_finder import LayerFinder, layer_finder
from oculard.inference.refused import refused_models
from oculard.report.panels import LINE_PX
from oculard.report.read import ReadReport
from oculard.settings import Glaucoma, Settings
from oculard_models import dicom_geometry
from oculard_models.contract import Classified, EstimateFailed, said_alone
from oculard_models.data.painted_layers import wrap_surfaces
from oculard_models.data.painted_study import code, painted_uid
from oculard_models.layer_manifest import NETWORKS, SHIPPED, read_layer_folder
from oculard_models.runners.layer_network import LayerNetwork, load_layer_folder
from oculard_models.volumes.centres import find_centres
from oculard_models.volumes.grid import sampled
from oculard_models.volumes.learned import BATCH, BOUNDARIES, in_grid, learned_layers, network_grid
from oculard_models.volumes.normative import (
    FEWEST_EYES,
    NORMATIVE_MAPS,
    NORMATIVE_PX,
    make_normative,
    read_normative,
    to_bytes,
)
from oculard_models.volumes.types import DISC_TYPES
from oculard_models.volumes.views import make_views
from oculard_models.volumes.volume import Scan

MANIFEST = read_layer_folder(NETWORKS / SHIPPED).manifest
BY_NETWORK = (
    f"found by oculard with the network {SHIPPED} {MANIFEST.version}, sha256 {MANIFEST.weights.sha256},"
    " learnt from painted volumes alone"
)
CONCEPTS = dict(zip(DISC_TYPES, ("GL-P-NO", "GL-P-FI", "GL-P-GE", "GL-P-MY", "GL-P-SS"), strict=True))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., OctBench]]:
    """Makes a bench; closes it in the end."""
    made: list[OctBench] = []

    def bench(**settings: Any) -> OctBench:
        made.append(OctBench(tmp_path, **settings))
        return made[-1]

    yield bench
    for one in made:
        one.shelf.database.close()


@pytest.fixture
def bench(make: Callable[..., OctBench]) -> OctBench:
    """A fresh bench."""
    return make()


def probabilities(report: ReadReport) -> dict[str, float | None]:
    """The probability of each class; that of the class that was found stands under the class."""
    values = {finding.concept: finding.value for finding in report.findings}
    (found,) = (finding.choice for finding in report.findings if finding.concept == "GL-CLASS")
    return {name: values["GL-CLASS" if name == found else concept] for name, concept in CONCEPTS.items()}


def truth(eye: str) -> tuple[Any, Any]:
    """What the test's bundle says of the views that are made of the painted volume of an eye."""
    shown = painted(eye).volume
    layers = learned_layers(shown, load_layer_folder(NETWORKS / SHIPPED))
    views = make_views(shown, layers, find_centres(shown, layers), VIEWS, SIDE_PX)
    return expected(np.stack([views[name] for name in VIEWS]))


@pytest.mark.parametrize("eye", ["R", "L"])
def test_a_volume_becomes_a_class(eye: str, bench: OctBench) -> None:
    """Five probabilities, the class and what each view says alone, as the network says of its views; job reported."""
    bench.receive(scan("a", eye), photograph("p", eye))
    (report,) = bench.work()

    whole, by_view = truth(eye)
    assert report.eye == eye
    assert ("shown=as a right eye, mirrored" in report.model.parameters) == (eye == "L")
    assert list(probabilities(report).values()) == pytest.approx(list(100 * whole), abs=0.06)
    assert [view.name for view in report.views] == list(VIEWS)
    for view, numbers in zip(report.views, by_view, strict=True):
        assert list(view.probabilities.values()) == pytest.approx(list(100 * numbers), abs=0.06)
    agree = np.mean([said_alone(view) == whole.argmax() for view in by_view])
    assert report.certainty == pytest.approx(100 * whole.max() * agree, abs=0.06)
    assert (report.outcome, report.quality, report.grader) == ("complete", "good", None)
    assert bench.job()["state"] == "reported"


def test_what_the_class_depends_on_is_a_parameter(bench: OctBench) -> None:
    """Size, spacing, who found the layers, the views, where the disc is, how the certainty is made."""
    bench.receive(scan("a"), photograph("p"))
    (report,) = bench.work()

    parameters = dict(one.split("=", 1) for one in report.model.parameters)
    assert parameters["volume"] == f"{FRAMES} frames of {DEPTH} x {COLUMNS}"
    assert parameters["spacing-um"] == "150 x 8.988 x 62.5"
    assert parameters["layers"] == BY_NETWORK
    assert parameters["views"] == ", ".join(VIEWS)
    assert parameters["disc-center"].startswith("frame ")
    assert "share of views" in parameters["certainty"]
    assert "no quality gate" in report.remark


def test_picture_comes_with_it(bench: OctBench) -> None:
    """A Secondary Capture of the volume's study shows the views; its report names it as evidence."""
    bench.receive(scan("a"), photograph("p"))
    bench.work()

    with bench.shelf.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT role, path FROM report_object ORDER BY ordinal").all()
    assert [role for role, _ in rows] == ["sc"]
    capture = dcmread(BytesIO(bench.shelf.vault.path(rows[0].path).read_bytes()))
    assert capture.StudyInstanceUID == painted_uid("s")
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == painted_uid("a")
    assert (capture.Columns, capture.Laterality) == (960, "R")


def test_seconds_are_told_by_stage(bench: OctBench) -> None:
    """Reading, layers, views, network and report each have their seconds, and none is counted twice."""
    bench.receive(scan("a"))
    bench.work()

    took = _took(bench)
    assert {"read", "layers", "views", "examine", "estimate", "report"} == set(took)
    assert took["layers"] > took["examine"]


def _took(bench: OctBench) -> dict[str, float]:
    """The seconds of the one report."""
    with bench.shelf.database.read() as connection:
        (row,) = connection.exec_driver_sql("SELECT took FROM report").all()
    return dict(json.loads(row.took))


def test_a_stage_within_a_stage_is_taken_out_of_it() -> None:
    """The seconds of all stages add up to those that went by."""
    case = Case.__new__(Case)
    case.took = {}
    with Stopwatch([case], "outer"), Stopwatch([case], "inner"):
        sum(range(200_000))

    assert case.took["outer"] < case.took["inner"]


def without(*keywords: str) -> Change:
    """A change that removes elements."""

    def change(ds: FileDataset) -> None:
        for keyword in keywords:
            del ds[keyword]

    return change


def region(ds: FileDataset) -> None:
    """The macula as the region that is imaged."""
    ds.AnatomicRegionSequence = [code(*MACULA)]
    ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0].AnatomicRegionSequence = [code(*MACULA)]


def spaced(millimetres: list[float]) -> Change:
    """Another spacing of pixels."""

    def change(ds: FileDataset) -> None:
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = millimetres

    return change


def no_spacing(ds: FileDataset) -> None:
    """No spacing of pixels at all."""
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing


def a_gap(ds: FileDataset) -> None:
    """One frame is said to lie a good deal lower."""
    for frame in ds.PerFrameFunctionalGroupsSequence[20:]:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, round(float(z) - 1.0, 6)]


def cut_short(ds: FileDataset) -> None:
    """Fewer pixels than the frames that are counted."""
    ds.PixelData = ds.PixelData[: 30 * DEPTH * COLUMNS]


def one_frame(ds: FileDataset) -> None:
    """One B-scan."""
    ds.NumberOfFrames, ds.PixelData = 1, ds.PixelData[: DEPTH * COLUMNS]
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:1]


def of_eye(laterality: str) -> Change:
    """Another eye, or none, wherever the header says one."""

    def change(ds: FileDataset) -> None:
        ds.ImageLaterality = laterality
        ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0].FrameLaterality = laterality

    return change


def black(ds: FileDataset) -> None:
    """No signal."""
    ds.PixelData = bytes(len(ds.PixelData))


def misplaced(ds: FileDataset) -> None:
    """Nothing says where the frames lie."""
    for frame in ds.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence


BAD = [
    ("one-frame", one_frame),
    ("frames-missing", cut_short),
    ("frames-missing", a_gap),
    ("frames-missing", without("PerFrameFunctionalGroupsSequence")),
    ("frames-unordered", misplaced),
    ("spacing-missing", no_spacing),
    ("spacing-implausible", spaced([0.5, 0.5])),
    ("macula-volume", region),
    ("no-signal", black),
]


@pytest.mark.parametrize(("reason", "change"), BAD, ids=[f"{reason}-{at}" for at, (reason, _) in enumerate(BAD)])
def test_bad_volumes_are_said(reason: str, change: Change, bench: OctBench) -> None:
    """Nothing is estimated, the report gives the reason in words, and the job is rejected for it."""
    bench.receive(scan("a", change=change))
    (report,) = bench.work()

    assert report.outcome == "ungradable"
    assert {finding.qualifier for finding in report.findings} == {"not-attempted"}
    assert f"{reason} ({volume.WORDS[reason]})" in report.remark
    assert [image.reasons for image in report.images] == [(reason,)]
    assert (bench.job()["state"], bench.job()["reason"]) == ("rejected", reason)
    assert (report.certainty, report.views) == (None, ())


def test_every_reason_of_a_bad_geometry_has_words() -> None:
    """Whatever is wrong with a header, the report can say it."""
    source = Path(dicom_geometry.__file__).read_text(encoding="utf-8")
    constants = {name for line in re.findall(r"Unfit\(([^)]*)\)", source) for name in re.findall(r"[A-Z_]{4,}", line)}

    reasons = {getattr(dicom_geometry, name) for name in constants} - {dicom_geometry.FRAMES_MIN}
    assert len(reasons) >= 7
    assert reasons <= set(volume.WORDS)


def test_a_macula_scan_is_told_by_its_looks(bench: OctBench) -> None:
    """Where the header does not say so: without a disc, and with a fovea."""
    bench.receive(scan("a", shown=painted("R", Scan.MACULA)))
    (report,) = bench.work()

    assert bench.job()["reason"] == "macula-volume"
    assert "optic disc is wanted" in report.remark


def test_noise_is_no_retina(bench: OctBench) -> None:
    """A scan without any layers is not classified."""
    noise = np.random.default_rng(3).integers(0, 256, (FRAMES, DEPTH, COLUMNS)).astype(np.uint8)
    bench.receive(scan("a", pixels=noise))
    (report,) = bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("rejected", "no-retina")
    assert report.views == ()


@pytest.mark.parametrize(
    ("laterality", "reason", "words"),
    [("", "eye-unknown", "no laterality"), ("B", "both-eyes", "both eyes")],
)
def test_unknown_eyes_are_not_guessed(laterality: str, reason: str, words: str, bench: OctBench) -> None:
    """A volume without an eye, or of both: said, and nothing is decoded for it."""
    bench.receive(scan("a", change=of_eye(laterality)))
    (report,) = bench.work()

    assert (report.eye, report.outcome) == ("U", "eye-unknown")
    assert words in report.remark
    assert bench.job()["reason"] == reason


def test_a_missing_photograph_is_said(bench: OctBench) -> None:
    """The views need none: the eye is classified all the same, and the report says that none came."""
    bench.receive(scan("a"), photograph("p", "L"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert volume_photograph.NONE_CAME in report.remark


def test_a_photograph_that_came_is_not_missed(bench: OctBench) -> None:
    """One of the same eye and the same minute belongs to the volume; it is no image of the report."""
    bench.receive(scan("a"), photograph("p"))
    (report,) = bench.work()

    assert volume_photograph.NONE_CAME not in report.remark
    assert [image.sop_instance_uid for image in report.images] == [painted_uid("a")]


def test_the_newest_good_scan_counts(bench: OctBench) -> None:
    """Of three scans of an eye the newest that is one of the disc is classified, and the older are left out."""
    bench.receive(scan("old"), scan("good", at_s=60), scan("macula", at_s=120, change=region), photograph("p"))
    (report,) = bench.work()

    used = {image.sop_instance_uid: (image.used, image.reasons) for image in report.images}
    assert used == {painted_uid("macula"): (False, ("macula-volume",)), painted_uid("good"): (True, ())}
    assert "1 further images" in report.remark
    assert report.outcome == "complete"


def test_deviation_needs_a_normative_set(make: Callable[..., OctBench]) -> None:
    """A bundle that reads deviations fails where no normative set is configured: a person must name one."""
    bench = make(views=("rnfl-deviation", "rnfl-thickness"))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "no-normative")
    assert report.outcome == "failed"


def test_large_volumes_are_not_decoded(make: Callable[..., OctBench]) -> None:
    """Beyond the configured number of voxels nothing is read."""
    bench = make()
    object.__setattr__(bench.worker, "volumes", volume.volumes(Glaucoma(volume_voxels_max=1000)))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "size-implausible")
    assert "size-implausible" in report.remark


def surfaces(name: str, of: FileDataset, **changes: Any) -> FileDataset:
    """The true layers of the painted volume as its device found them."""
    return wrap_surfaces(painted("R"), of, visit(), uid=painted_uid(name), **changes)


def layers(report: ReadReport) -> str:
    """Who found the layers, as the report says it."""
    (said,) = (one.partition("=")[2] for one in report.model.parameters if one.startswith("layers="))
    return said


def test_the_devices_own_layers_are_read(bench: OctBench) -> None:
    """Where the device sent surfaces of this volume, ours are not looked for, and the report names them."""
    seen = scan("a")
    bench.receive(seen, surfaces("s", seen))
    (report,) = bench.work()

    assert layers(report) == f"found by the device, {painted_uid('s')}"
    assert report.outcome == "complete"
    assert [image.sop_instance_uid for image in report.images] == [painted_uid("a")]


def test_layers_of_another_volume_are_not_read(bench: OctBench) -> None:
    """Surfaces that refer to another volume are left alone, in silence."""
    bench.receive(scan("a"), surfaces("s", scan("b")))
    (report,) = bench.work()

    assert layers(report) == BY_NETWORK


def test_layers_that_contradict_themselves_are_said(bench: OctBench) -> None:
    """Surfaces that cross are not used: ours are, and the report says why."""
    seen, true = scan("a"), painted("R").layers
    wrong = replace(true, rnfl_gcl=true.bm, bm=true.rnfl_gcl)
    bench.receive(seen, surfaces("s", seen, layers=wrong))
    (report,) = bench.work()

    assert layers(report) == f"{BY_NETWORK}, the device's own are not usable: layers-implausible"
    assert report.outcome == "complete"


def test_layers_that_come_later_amend_the_report(bench: OctBench) -> None:
    """The surfaces of a volume that was classified already make a new report of it."""
    seen = scan("a")
    bench.receive(seen)
    (first,) = bench.work()
    bench.receive(surfaces("s", seen))
    _, second = bench.work()

    assert second.predecessor is not None
    assert second.predecessor.sop_instance_uid == first.sop_instance_uid
    assert layers(second).startswith("found by the device")


def test_a_scan_that_is_cut_is_limited(bench: OctBench) -> None:
    """Where a fifth of the scan shows no retina the image is limited, for that reason, and classified all the same."""
    cut = painted("R").volume.pixels.copy()
    cut[:, :, -COLUMNS // 5 :] = 12
    bench.receive(scan("a", pixels=cut))
    (report,) = bench.work()

    assert [(image.grade, image.reasons, image.used) for image in report.images] == [
        ("limited", (volume.RETINA_IN_PART,), True)
    ]
    assert (report.outcome, report.quality) == ("complete", "limited")


def test_a_normative_set_is_read_once_at_the_start(make: Callable[..., OctBench], tmp_path: Path) -> None:
    """The file that the settings name; with it deviations are views, and the report names the set by its digest."""
    healthy = {name: np.full((NORMATIVE_PX, NORMATIVE_PX), 90.0, dtype=np.float32) for name in NORMATIVE_MAPS}
    path = tmp_path / "normative.npz"
    path.write_bytes(to_bytes(make_normative([healthy] * FEWEST_EYES)))
    bench = make(views=("rnfl-deviation", "rnfl-thickness"))
    object.__setattr__(bench.worker, "volumes", volume.volumes(Glaucoma(normative=path)))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert f"normative=sha256 {read_normative(path).digest}, 20 eyes" in report.model.parameters


def test_a_wrong_normative_set_stops_the_start(tmp_path: Path) -> None:
    """A file that is none, or is not there, is a wrong configuration; so is a network that is no folder."""
    (tmp_path / "wrong").write_bytes(b"no archive")
    for name in ("wrong", "absent"):
        with pytest.raises(Misconfigured, match=r"\[glaucoma\] normative"):
            volume.volumes(Glaucoma(normative=tmp_path / name))
        with pytest.raises(Misconfigured, match=r"\[glaucoma\] layer_network.*not a folder"):
            volume.volumes(Glaucoma(layer_network=str(tmp_path / name)))


def layer_network(answer: Callable[[Any], Any]) -> LayerNetwork:
    """A network for layers whose session says what a test wants."""
    session = SimpleNamespace(run=lambda _, given: answer(given["seen"]))
    return LayerNetwork(
        session=session,  # type: ignore[arg-type]  # it runs
        sha256="0" * 64,
        command="",
        name="ours 2.0.0",
        learnt_from="nothing",
    )


def finds(bench: OctBench, finder: LayerFinder) -> None:
    """Let another find the layers of a bench."""
    object.__setattr__(bench.worker, "volumes", volume.Volumes(layers=finder))


def altered(tmp_path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the folder that comes with oculard in which one file is another."""
    folder = tmp_path / "oct-ours"
    shutil.copytree(NETWORKS / SHIPPED, folder)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    return folder


def test_the_search_finds_the_layers_where_it_is_named(make: Callable[..., OctBench]) -> None:
    """One word in the configuration, and no network is asked; the report says so."""
    bench = make()
    finds(bench, layer_finder(Glaucoma(layer_network="search"), threads=1))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert layers(report) == "found by oculard by graph search"
    assert report.outcome == "complete"


def test_the_network_that_comes_with_oculard_is_the_default() -> None:
    """What the settings name is the folder that is shipped."""
    assert Glaucoma().layer_network == SHIPPED


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("model.onnx", lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        ("model.onnx", lambda content: content[:1000]),
        ("manifest.toml", lambda content: content.replace(b"sha256", b"sha1")),
        ("card.md", lambda content: b" "),
    ],
)
def test_a_refused_network_fails_the_job_and_never_searches(
    name: str, change: Callable[[bytes], bytes], make: Callable[..., OctBench], tmp_path: Path
) -> None:
    """Another digest, or a part that is wrong: the job fails with the bundle's reason, and its report says why."""
    bench = make()
    finds(bench, layer_finder(Glaucoma(layer_network=str(altered(tmp_path, name, change))), threads=1))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", "bundle-refused")
    assert report.outcome == "failed"
    assert {finding.value for finding in report.findings} == {None}
    assert "the network for layers cannot be used" in report.remark


def test_the_devices_own_layers_need_no_network(make: Callable[..., OctBench], tmp_path: Path) -> None:
    """Where the device sent its layers, a refused network does not matter."""
    bench = make()
    wrong = altered(tmp_path, "model.onnx", lambda content: content[::-1])
    finds(bench, layer_finder(Glaucoma(layer_network=str(wrong)), threads=1))
    seen = scan("a")
    bench.receive(seen, surfaces("s", seen))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert layers(report).startswith("found by the device")


def test_a_refused_network_is_an_alarm_under_its_name(tmp_path: Path) -> None:
    """Whoever looks after the installation is told which folder it is."""
    wrong = altered(tmp_path, "model.onnx", lambda content: content[::-1])
    settings = Settings(glaucoma=Glaucoma(layer_network=str(wrong)))
    finder = layer_finder(settings.glaucoma, threads=1)
    gate = SimpleNamespace(is_refused=False)
    estimators = SimpleNamespace(refused=set())

    assert refused_models(settings, [], estimators, gate, finder) == set()  # type: ignore[arg-type]  # nothing loaded
    finder.load()
    assert refused_models(settings, [], estimators, gate, finder) == {"oct-ours"}  # type: ignore[arg-type]


def test_a_network_finds_the_layers_where_one_is_named(make: Callable[..., OctBench]) -> None:
    """What it says is what is classified, and the report names it by its digest."""
    one = painted()
    grid = network_grid(one.volume)
    truth = np.stack(
        [in_grid(sampled(getattr(one.layers, name), grid), grid, one.volume) for name in BOUNDARIES], axis=1
    )
    frames = iter(range(0, len(truth), BATCH))

    def answer(seen: Any) -> Any:
        part = truth[next(frames) :][: len(seen)]
        rows = np.pad(np.nan_to_num(part), ((0, 0), (0, 0), (0, seen.shape[3] - part.shape[2])), mode="edge")
        there = np.pad(np.isfinite(part[:, [0, 3]]), ((0, 0), (0, 0), (0, seen.shape[3] - part.shape[2])))
        return rows.astype(np.float32), there.astype(np.float32)

    bench = make()
    finds(bench, LayerFinder(lambda: layer_network(answer)))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert layers(report) == f"found by oculard with the network ours 2.0.0, sha256 {'0' * 64}, learnt from nothing"


@pytest.mark.parametrize("fault", ["error", "nonsense"])
def test_a_network_that_fails_gives_way_to_the_search(fault: str, make: Callable[..., OctBench]) -> None:
    """The search finds the layers, and the report says why."""

    def answer(seen: Any) -> Any:
        if fault == "error":
            raise RuntimeError("on purpose")
        return np.full((len(seen), 4, seen.shape[3]), np.nan), np.ones((len(seen), 2, seen.shape[3]))

    bench = make()
    finds(bench, LayerFinder(lambda: layer_network(answer)))
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert report.outcome == "complete"
    assert layers(report) == "found by oculard by graph search, because the network for layers ended with an error"


@pytest.mark.parametrize("name", ["tea-leaves", "photographs"])
def test_views_that_nobody_makes_are_refused(name: str, tmp_path: Path) -> None:
    """A bundle that reads a view which is not made here is refused before its first job."""
    estimators = Estimators([glaucoma_bundle(tmp_path, views=("en-face", name))], providers=["cpu"], threads=1)

    with pytest.raises(EstimatorRefused, match=f"no view {name}"):
        estimators.get("glaucoma-test@1.0.0")


def test_the_family_takes_what_stands_beside_a_volume(tmp_path: Path) -> None:
    """The plan learns that layers and photograph go with the volumes that the bundle reads."""
    bundle = glaucoma_bundle(tmp_path)

    (family,) = families([bundle], {"glaucoma": bundle.manifest.name}).values()
    assert (family.input_kind, family.beside) == ("oct-volume", ("oct-layers", "fundus"))


def fails(_: Any) -> Any:
    """A network that ends with an error."""
    raise EstimateFailed("on purpose")


def nonsense(batch: Any) -> list[Classified]:
    """A network whose probabilities are none."""
    none = np.full((len(VIEWS), 5), np.nan, dtype=np.float32)
    maps = np.zeros((len(VIEWS), 8, 8), dtype=np.float32)
    return [Classified(probability=none[0], by_view=none, activation=maps) for _ in batch]


@pytest.mark.parametrize(
    ("network", "reason"), [(fails, "estimator-failed"), (nonsense, "no-numbers")], ids=["error", "nonsense"]
)
def test_networks_that_fail_are_said(network: Any, reason: str, bench: OctBench, monkeypatch: Any) -> None:
    """The job fails, and its report has no value, no view and no picture."""
    served = bench.estimators.get("glaucoma-test@1.0.0")
    monkeypatch.setattr(served.estimator, "classify", network)
    bench.receive(scan("a"))
    (report,) = bench.work()

    assert (bench.job()["state"], bench.job()["reason"]) == ("failed", reason)
    assert {finding.qualifier for finding in report.findings} == {"failure"}
    assert report.views == ()


def test_both_eyes_are_two_reports(bench: OctBench) -> None:
    """Each eye of a study has its job, its report and its picture; that of the left says that it is mirrored."""
    bench.receive(scan("a", "R"), scan("b", "L"))
    reports = bench.work()

    assert sorted(report.eye for report in reports) == ["L", "R"]
    assert all(report.outcome == "complete" for report in reports)
    with bench.shelf.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT path FROM report_object").all()
    shown = [dcmread(bench.shelf.vault.path(row.path)) for row in rows]
    heights = {ds.Laterality: int(ds.Rows) for ds in shown}
    assert heights["L"] == heights["R"] + LINE_PX
