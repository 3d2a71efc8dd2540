"""The optic disc on the whole path: a photograph is sent, graded, outlined and measured; Orthanc keeps all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from test_faz import Archive, referred, send, value
from test_real_peers import PEER, errors, validator

from daemons import Daemon
from oculard_models.data.paint import paint_with_disc
from oculard_models.data.painted_study import FIELD_MM, Visit, painted_uid, wrap_fundus
from oculard_models.data.person import sample_people
from peers import Orthanc, free_port

PX = 512
SERVES = """
[worker]
estimators = { disc = "disc-demo" }
disc_finder = "disc-demo"

[[plan]]
sop_class_uid = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
families = ["disc"]
"""


@pytest.fixture
def working(make_daemon: Callable[..., Daemon], orthanc: Orthanc) -> Daemon:
    """A daemon that serves the shipped demonstration and delivers to Orthanc, which knows it."""
    port = free_port()
    daemon = make_daemon(SERVES + PEER.format(port=orthanc.port), OCULARD_INTAKE__PORT=str(port))
    orthanc.introduce("OCULARD", port)
    daemon.start()
    return daemon


def test_a_photograph_in_reports_in_orthanc(working: Daemon, orthanc: Orthanc, tmp_path: Path) -> None:
    """Area in mm2 near the painted one, mask and picture in the same study, every object valid, the gate named."""
    pixels, disc = paint_with_disc(sample_people(1, 11)[0], "R", 5, PX)
    visit = Visit(study_uid=painted_uid("disc"), series_uid=painted_uid("disc", "series"))
    ds = wrap_fundus(pixels, visit, eye="R", uid=painted_uid("disc", "R"), compression="raw")
    send([ds], tmp_path / "sent", ("ORTHANC", orthanc.port), ("OCULARD", working.port()))
    working.wait_for(working.ended(1))

    archive = Archive.of(orthanc, tmp_path / "archive")
    assert archive.counts() == {"OP": 1, "SR": 1, "SEG": 1, "OT": 1}
    assert len(orthanc.get("/studies")) == 1
    assert [error for path in archive.paths() for error in errors([validator("dciodvfy"), path])] == []
    assert errors([validator("dcentvfy"), *archive.paths()]) == []
    (report,) = archive.reports().values()
    assert (report.outcome, report.eye, report.model.demonstration) == ("complete", "R", True)
    assert report.grader is not None
    assert value(report, "DISC-AREA") == pytest.approx(disc.sum() * (FIELD_MM / PX) ** 2, rel=0.25)
    mask = dcmread(archive.files["SEG"][0])
    found = mask.pixel_array.reshape(disc.shape).astype(bool)
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.75
    assert str(mask.SOPInstanceUID) in referred(dcmread(archive.files["SR"][0]).ContentSequence)
