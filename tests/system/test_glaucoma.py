"""An OCT volume on the whole path: storescu sends it in full size, the daemon classifies it, Orthanc keeps the rest.

How long each stage takes and how much memory the worker needs is printed (`-s`), and decides nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit
from test_faz import Archive, referred
from test_real_peers import PEER, errors, validator

from daemons import Daemon
from glaucoma_bundle import glaucoma_bundle
from oculard_models.data.paint_oct import PaintedVolume, draw_eye, paint_volume
from oculard_models.data.painted_study import Visit, painted_uid
from oculard_models.data.painted_volume import Syntax, volume_study
from oculard_models.layer_manifest import NETWORKS, SHIPPED
from oculard_models.registry import BUNDLES
from peers import Orthanc, free_port, program

SERVES = """
expects = "oct-2"

[worker]
bundles = ["{folder}"]
estimators = {{ glaucoma = "{bundle}" }}

[[plan]]
sop_class_uid = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
families = ["glaucoma"]

[report]
pdf = true
"""
SIZE = {"frames": 128, "depth": 885, "columns": 512}  # as a Topcon Maestro2 writes them: 58 MB
PROPOSED = {ExplicitVRLittleEndian: "-xe", JPEG2000Lossless: "-xv", JPEGBaseline8Bit: "-xy"}  # storescu's words


@cache
def painted(eye: str) -> PaintedVolume:
    """A whole volume, painted once."""
    return paint_volume(draw_eye(11, "focal-ischemia", eye=eye), **SIZE)


@pytest.fixture
def working(make_daemon: Callable[..., Daemon], orthanc: Orthanc, tmp_path: Path) -> Daemon:
    """A daemon that serves the shipped bundle, or the test's where there is none, and delivers to Orthanc."""
    folder, shipped = tmp_path / "bundles", (BUNDLES / "glaucoma-demo").is_dir()
    bundle = "glaucoma-demo" if shipped else glaucoma_bundle(folder).manifest.name
    folder.mkdir(exist_ok=True)
    port = free_port()
    extra = SERVES.format(folder=folder, bundle=bundle) + PEER.format(port=orthanc.port)
    daemon = make_daemon(extra, OCULARD_INTAKE__PORT=str(port), OCULARD_SETTLING__QUIET_S="30")
    orthanc.introduce("OCULARD", port)
    daemon.start()
    return daemon


def send(eye: str, syntax: Syntax, folder: Path, *peers: tuple[str, int], segmented: bool = False) -> list[Path]:
    """Write a study and send it with storescu to each peer (AE title, port), each instance as it is compressed."""
    folder.mkdir(exist_ok=True)
    visit = Visit(study_uid=painted_uid("glaucoma"), series_uid=painted_uid("glaucoma", eye))
    paths = []
    for ds in volume_study(painted(eye), visit, syntax=syntax, segmented=segmented):
        paths.append(folder / f"{ds.SOPInstanceUID}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
        for called, port in peers:
            proposed = PROPOSED[ds.file_meta.TransferSyntaxUID]
            command = [program("storescu"), "-R", proposed, "-aet", "TOPCON", "-aec", called, "127.0.0.1", str(port)]
            done = subprocess.run([*command, str(paths[-1])], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return paths


def tell(daemon: Daemon, what: str) -> None:
    """Print the seconds of each stage, and the most memory that the worker ever had."""
    with daemon.app.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT took FROM report ORDER BY id").all()
    (worker,) = (role for role in daemon.app.roles.list() if role.role == "worker")
    status = Path(f"/proc/{worker.pid}/status").read_text(encoding="ascii")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(  # noqa: T201  for whoever asks with `-s`
        f"\n{what}: {json.loads(rows[-1].took)}, worker's peak memory {int(peak) / 1024:.0f} MiB"
    )


def look_at_objects(archive: Archive) -> None:
    """What we wrote is valid, of one patient and one study, and refers to nothing that is not there."""
    ours = [str(path) for modality in ("SR", "OT", "DOC") for path in archive.files[modality]]
    assert [error for path in ours for error in errors([validator("dciodvfy"), path])] == []
    # Of the device's objects, painted ones, nobody here is the judge; ours may add no error to theirs.
    theirs = [str(path) for modality in archive.files for path in archive.files[modality] if str(path) not in ours]
    known = set(errors([validator("dcentvfy"), *theirs]))
    assert set(errors([validator("dcentvfy"), *theirs, *ours])) <= known
    uids = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in archive.paths()}
    for path in archive.files["SR"]:
        assert referred(dcmread(path).ContentSequence) <= uids


@pytest.mark.parametrize("syntax", ["raw", "jpeg2000"])
def test_a_volume_in_a_report_in_orthanc(syntax: Syntax, working: Daemon, orthanc: Orthanc, tmp_path: Path) -> None:
    """58 MB of B-scans become one report with five probabilities, a picture and a page in the same study, all valid."""
    send("R", syntax, tmp_path / "sent", ("ORTHANC", orthanc.port), ("OCULARD", working.port()))
    working.wait_for(working.ended(1))
    tell(working, syntax)

    archive = Archive.of(orthanc, tmp_path / "archive")
    assert archive.counts() == {"OPT": 1, "OP": 1, "SR": 1, "OT": 1, "DOC": 1}
    assert (len(orthanc.get("/studies")), len(orthanc.get("/patients"))) == (1, 1)
    (report,) = archive.reports().values()
    assert (report.eye, report.outcome, report.quality) == ("R", "complete", "good"), report.remark
    numbers = [finding for finding in report.findings if finding.value is not None]
    assert sum(finding.value or 0.0 for finding in numbers) == pytest.approx(100.0, abs=0.3)
    assert len(numbers) == 5
    assert report.certainty is not None
    assert len(report.views) >= 2
    (layers,) = (one for one in report.model.parameters if one.startswith("layers="))
    assert layers.startswith("layers=found by oculard with the network oct-layers 1.0.0, sha256 ")
    look_at_objects(archive)
    capture = dcmread(archive.files["OT"][0])
    assert capture.pixel_array.shape[1] == 960
    assert np.ptp(capture.pixel_array) == 255 or capture.pixel_array.max() > 200


def test_the_doctor_reads_normative_set_and_network(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """What is named and is none is wrong, with a hint; by default there is a network and no normative set."""
    (tmp_path / "none").write_bytes(b"none")
    files = dict.fromkeys(("OCULARD_GLAUCOMA__NORMATIVE", "OCULARD_GLAUCOMA__LAYER_NETWORK"), str(tmp_path / "none"))
    wrong, fine = make_daemon(**files), make_daemon()

    done = wrong.run("doctor", "--json")
    for what, command in (
        ("normative set", "oculard-lab normative"),
        ("network for layers", "oculard-lab layers --bundle"),
    ):
        (check,) = (check for check in json.loads(done.stdout) if check["what"] == what)
        assert (done.returncode, check["state"]) == (1, "WRONG")
        assert command in check["hint"]
    checks = json.loads(fine.run("doctor", "--json").stdout)
    assert "normative set" not in {check["what"] for check in checks}
    (network,) = (check for check in checks if check["what"] == "network for layers")
    assert network["state"] == "fine"
    assert network["found"].startswith("oct-layers 1.0.0, sha256 ")
    (listed,) = (row for row in json.loads(fine.run("models", "--json").stdout) if row["bundle"] == "oct-layers@1.0.0")
    assert (listed["outlines"], listed["refused"]) == ("layers", None)


def test_a_network_that_is_another_is_an_alarm(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Whose digest is wrong: worker and doctor say so as of any bundle."""
    folder = tmp_path / "oct-ours"
    shutil.copytree(NETWORKS / SHIPPED, folder)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b" ")
    bundle = glaucoma_bundle(tmp_path / "bundles").manifest.name
    named = {"OCULARD_GLAUCOMA__LAYER_NETWORK": str(folder)}
    daemon = make_daemon(SERVES.format(folder=tmp_path / "bundles", bundle=bundle), **named)
    daemon.start()

    (alarm,) = daemon.wait_for(daemon.app.alarms.standing)
    assert (alarm.name, alarm.subject) == ("model-refused", "oct-ours")
    (said,) = (event for event in daemon.log() if event["event"] == "network for layers refused")
    assert "has the digest" in said["why"]
    checks = json.loads(daemon.run("doctor", "--json").stdout)
    (check,) = (check for check in checks if check["what"] == "network for layers")
    assert (check["state"], "has the digest" in check["found"]) == ("WRONG", True)
