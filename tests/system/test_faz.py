"""OCT angiography on the whole path: DCMTK sends slabs, the daemon outlines and measures, Orthanc keeps all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset
from test_real_peers import PEER, errors, storescu, validator

from daemons import Daemon
from faz_bundle import faz_bundle
from oculard.report.read import ReadReport, read_report
from oculard_models.data.paint_octa import PaintedOcta, paint_octa
from oculard_models.data.painted_enface import wrap_en_face
from oculard_models.data.painted_study import Visit, painted_uid
from oculard_models.registry import BUNDLES
from peers import Orthanc, free_port

SERVES = """
[worker]
bundles = ["{folder}"]
estimators = {{ faz = "{bundle}" }}

[[plan]]
sop_class_uid = "1.2.840.10008.5.1.4.1.1.77.1.5.7"
families = ["faz"]

[[plan]]
sop_class_uid = "1.2.840.10008.5.1.4.1.1.77.1.5.8"
families = ["faz"]

[report]
pdf = true
"""
SCANS = {"R": 1, "L": 3}  # seeds of painted eyes whose zones a threshold finds, too
REAL = "superficial_866"  # a published 3 x 3 mm scan
OBJECTS = {"SR": 1, "SEG": 1, "OT": 1, "DOC": 1}  # of one report


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What Orthanc has: every instance by modality, as files."""

    files: dict[str, list[Path]]

    @classmethod
    def of(cls, orthanc: Orthanc, folder: Path) -> Archive:
        """Fetch everything."""
        folder.mkdir(exist_ok=True)
        files: dict[str, list[Path]] = {}
        for instance in orthanc.get("/instances"):
            path = folder / f"{instance}.dcm"
            path.write_bytes(orthanc.raw(f"/instances/{instance}/file"))
            files.setdefault(str(dcmread(path, stop_before_pixels=True).Modality), []).append(path)
        return cls(files=files)

    def counts(self) -> dict[str, int]:
        """How many of each modality."""
        return {modality: len(paths) for modality, paths in self.files.items()}

    def reports(self) -> dict[str, ReadReport]:
        """The reports by SOP Instance UID."""
        read = [read_report(path.read_bytes()) for path in self.files.get("SR", [])]
        return {report.sop_instance_uid: report for report in read}

    def paths(self) -> list[str]:
        """All files."""
        return [str(path) for paths in self.files.values() for path in paths]


@pytest.fixture
def working(make_daemon: Callable[..., Daemon], orthanc: Orthanc, tmp_path: Path) -> Daemon:
    """A daemon that serves the shipped bundle, or the test's where there is none, and delivers to Orthanc."""
    folder, shipped = tmp_path / "bundles", (BUNDLES / "faz").is_dir()
    bundle = "faz" if shipped else faz_bundle(folder).manifest.name
    folder.mkdir(exist_ok=True)
    port = free_port()
    extra = SERVES.format(folder=folder, bundle=bundle) + PEER.format(port=orthanc.port)
    daemon = make_daemon(extra, OCULARD_INTAKE__PORT=str(port))
    orthanc.introduce("OCULARD", port)
    daemon.start()
    return daemon


def visit(eye: str) -> Visit:
    """One study of an invented patient with a Japanese name; each eye has a series and a frame of reference."""
    return Visit(study_uid=painted_uid("faz"), series_uid=painted_uid("faz", "series", eye))


def painted(eye: str, plexus: str = "superficial") -> tuple[FileDataset, PaintedOcta]:
    """A painted scan of one eye, and what is true of it."""
    octa = paint_octa(SCANS[eye], 320, plexus=plexus, faults=False)
    uid = painted_uid("faz", eye, plexus)
    ds = wrap_en_face(octa.pixels, visit(eye), eye=eye, uid=uid, plexus=plexus, side_mm=octa.side_mm)
    return ds, octa


def send(images: list[FileDataset], folder: Path, *peers: tuple[str, int]) -> list[Path]:
    """Write the images and send them with storescu to each peer (AE title, port)."""
    folder.mkdir(exist_ok=True)
    paths = []
    for ds in images:
        paths.append(folder / f"{ds.SOPInstanceUID}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    for called, port in peers:
        storescu(paths, called=called, port=port, syntax="-R")
    return paths


def value(report: ReadReport, concept: str) -> float:
    """One finding's value, which must be there."""
    (found,) = (finding.value for finding in report.findings if finding.concept == concept)
    assert found is not None, report.remark
    return found


def look_at_objects(archive: Archive) -> None:
    """Valid, of one patient and one study, and what the report refers to is there."""
    assert [error for path in archive.paths() for error in errors([validator("dciodvfy"), path])] == []
    # The scans name a volume and surfaces that were never painted; nothing of ours may add to that.
    sources = errors([validator("dcentvfy"), *map(str, archive.files.get("OPTENF", []))])
    assert set(errors([validator("dcentvfy"), *archive.paths()])) <= set(sources)
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in archive.paths()}
    for path in archive.files["SR"]:
        assert referred(dcmread(path).ContentSequence) <= uids
    segmentations = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in archive.files["SEG"]}
    assert segmentations <= {uid for path in archive.files["SR"] for uid in referred(dcmread(path).ContentSequence)}


def referred(items: Any) -> set[str]:
    """Every instance that a content tree names."""
    found = {str(ref.ReferencedSOPInstanceUID) for item in items for ref in item.get("ReferencedSOPSequence", [])}
    return found.union(*(referred(item.get("ContentSequence", [])) for item in items))


def test_slabs_in_reports_in_orthanc(working: Daemon, orthanc: Orthanc, tmp_path: Path) -> None:
    """Both eyes: area in mm2 near the painted one, mask, picture and PDF in the same study, committed, valid."""
    scans = {eye: painted(eye) for eye in SCANS}
    deep, _ = painted("R", "deep")
    images = [*(ds for ds, _ in scans.values()), deep]
    send(images, tmp_path / "sent", ("ORTHANC", orthanc.port), ("OCULARD", working.port()))
    working.wait_for(working.ended(2))

    archive = Archive.of(orthanc, tmp_path / "archive")
    assert archive.counts() == {"OPTENF": 3} | {modality: 2 * count for modality, count in OBJECTS.items()}
    assert (len(orthanc.get("/studies")), len(orthanc.get("/patients"))) == (1, 1)
    for report in archive.reports().values():
        truth = scans[report.eye][1].area_mm2
        assert value(report, "FAZ-AREA") == pytest.approx(truth, rel=0.2)
        assert [image.sop_instance_uid for image in report.images] == [painted_uid("faz", report.eye, "superficial")]
    look_at_objects(archive)


def test_a_real_scan_in_a_report_in_orthanc(working: Daemon, orthanc: Orthanc, data: Path, tmp_path: Path) -> None:
    """A published scan of 3 x 3 mm: the mask in Orthanc covers what an expert outlined, the area follows from it."""
    with Image.open(data / "octa-faz" / "images" / f"{REAL}.jpg") as picture:
        pixels = np.asarray(picture.convert("L"))
    with Image.open(data / "octa-faz" / "masks" / f"{REAL}.png") as picture:
        truth = np.asarray(picture.convert("L")) > 127
    ds = wrap_en_face(pixels, visit("L"), eye="L", uid=painted_uid(REAL), plexus="superficial", side_mm=3.0)
    send([ds], tmp_path / "sent", ("ORTHANC", orthanc.port), ("OCULARD", working.port()))
    working.wait_for(working.ended(1))

    archive = Archive.of(orthanc, tmp_path / "archive")
    assert archive.counts() == {"OPTENF": 1} | OBJECTS
    look_at_objects(archive)
    mask = dcmread(archive.files["SEG"][0]).pixel_array.reshape(truth.shape).astype(bool)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
    (report,) = archive.reports().values()
    assert value(report, "FAZ-AREA") == pytest.approx(mask.sum() * (3.0 / 512) ** 2, rel=0.02)


def test_a_better_slab_amends_all_of_it(working: Daemon, orthanc: Orthanc, tmp_path: Path) -> None:
    """A flow cube is rejected with a report alone; its slab brings a whole new report that names the first."""
    (ds, _), (cube, _) = painted("R"), painted("R")
    cube.SOPClassUID = cube.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.8"
    cube.SOPInstanceUID = cube.file_meta.MediaStorageSOPInstanceUID = painted_uid("cube")
    del cube.OphthalmicImageTypeCodeSequence
    send([cube], tmp_path / "sent", ("OCULARD", working.port()))
    working.wait_for(working.ended(1))
    archive = Archive.of(orthanc, tmp_path / "first")
    assert archive.counts() == {"SR": 1}
    (first,) = archive.reports().values()
    assert first.outcome == "ungradable"
    assert "not-a-slab" in first.remark
    assert any(event.get("reason") == "not-a-slab" for event in working.log())

    send([ds], tmp_path / "sent", ("OCULARD", working.port()))
    working.wait_for(working.ended(2))
    archive = Archive.of(orthanc, tmp_path / "second")
    assert archive.counts() == OBJECTS | {"SR": 2}
    (second,) = (report for uid, report in archive.reports().items() if uid != first.sop_instance_uid)
    assert second.predecessor is not None
    assert second.predecessor.sop_instance_uid == first.sop_instance_uid
    assert second.outcome == "complete"
